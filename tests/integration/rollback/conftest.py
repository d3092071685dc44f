"""The edge, the workload behind it and its users, for tests of a rollback."""

from tests.support.routed_workload import edge, traffic, workload

__all__ = ["edge", "traffic", "workload"]
