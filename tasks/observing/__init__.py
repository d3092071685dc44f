"""What was seen in use: traces and flow logs, read in pieces, as edges with their last time."""

from tasks.observing.flow_logs import FlowLogs, read_flow_logs
from tasks.observing.traces import read_traces

__all__ = ["FlowLogs", "read_flow_logs", "read_traces"]
