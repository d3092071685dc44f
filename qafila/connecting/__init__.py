"""Open connections from plain settings, for processes that know no Prefect.

Settings are the fields of a model in ``settings`` with its secrets as plain text. They live in
memory and travel over a pipe to a child process; they are never written down or logged.
"""

from qafila.connecting.aws import aws_session, connect_s3
from qafila.connecting.kubernetes import connect_kubernetes
from qafila.connecting.postgres import connect_postgres
from qafila.connecting.qdrant import connect_qdrant

__all__ = [
    "aws_session",
    "connect_kubernetes",
    "connect_postgres",
    "connect_qdrant",
    "connect_s3",
]
