"""How much goes between two things, as flow logs count it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Traffic:
    """Bytes between two nodes at one port of ``to_id``; ``from_id`` opened the connection.

    ``sent_bytes`` go from ``from_id`` to ``to_id``, ``received_bytes`` come back. A node is a
    resource's id, "internet", or "host:ADDRESS" for an address that no resource has.
    """

    from_id: str
    to_id: str
    port: int
    sent_bytes: int
    received_bytes: int
    first_seen: datetime
    last_seen: datetime
