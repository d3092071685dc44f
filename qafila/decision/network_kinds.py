"""What a bill charges for on the network: the kinds of a transfer line."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """One kind of network charge; the value is the word that reports use.

    ``OTHER`` is a line that speaks of a transfer without saying which: it is listed by itself,
    never dropped and never guessed. A bill cannot show that a stranger's address belongs to
    another cloud, so ``CROSS_CLOUD`` is only a line that names such a link; all other traffic to
    another cloud is billed as ``INTERNET_OUT``.
    """

    INTERNET_OUT = "internet out"
    INTERNET_IN = "internet in"
    INTER_REGION = "inter-region"
    CROSS_ZONE = "cross-AZ"
    WITHIN_REGION = "within a region"
    NAT_PROCESSING = "NAT processing"
    NAT_HOURS = "NAT hours"
    ENDPOINT = "endpoint"
    ENDPOINT_HOURS = "endpoint hours"
    CDN = "CDN"
    LOAD_BALANCER = "load balancer processing"
    CONNECTION = "private connection"
    CONNECTION_HOURS = "private connection hours"
    CROSS_CLOUD = "cross-cloud"
    OTHER = "other transfer"

    @property
    def by_bytes(self) -> bool:
        """Tell whether bytes are paid for; False: hours, which cost the same when nothing moves."""
        return self not in _BY_HOURS


_BY_HOURS = frozenset({Kind.NAT_HOURS, Kind.ENDPOINT_HOURS, Kind.CONNECTION_HOURS})
