"""The engine of a load: claims, workers, what may be asked of them, and how far they are.

Nothing here imports Prefect: a worker starts as a small process of its own, and the same loop runs
in a thread, a Dask or Ray worker, or a flow run on a work pool. One protocol of claims serves all.
"""
