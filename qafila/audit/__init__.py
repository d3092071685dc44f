"""What an audit does: collect, read files, reconcile, keep, report. Nothing here knows Prefect."""
