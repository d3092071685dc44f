"""Ports (one file per system) and the steps that compose them with the core.

Whoever uses them writes no secret into a log, in whatever process: a flow run, a loading process, a
service, the command line.
"""

from qafila.masked_output import mask_logs

mask_logs()
