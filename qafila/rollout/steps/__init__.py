"""The steps of a canary: the A/A bake, copies, weights, the cut-over, the way back.

``trial`` is one rollout in this process; ``looking`` is one look; ``baking``, ``shadowing`` and
``stepping`` are the steps; ``ending`` is how it ends.
"""
