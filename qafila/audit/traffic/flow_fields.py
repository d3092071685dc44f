"""The fields of VPC flow logs by name, wherever they stand in a record.

Source: "Flow log records" of the Amazon VPC user guide; Parquet files of the same logs have the
same names with underscores.
"""

from __future__ import annotations

from collections.abc import Sequence

from qafila.audit.dependencies.flows import Flow

# By the version that brought them; a record may have any of them in any order.
FIELDS = {
    2: (
        "version",
        "account-id",
        "interface-id",
        "srcaddr",
        "dstaddr",
        "srcport",
        "dstport",
        "protocol",
        "packets",
        "bytes",
        "start",
        "end",
        "action",
        "log-status",
    ),
    3: ("vpc-id", "subnet-id", "instance-id", "tcp-flags", "type", "pkt-srcaddr", "pkt-dstaddr"),
    4: ("region", "az-id", "sublocation-type", "sublocation-id"),
    5: ("pkt-src-aws-service", "pkt-dst-aws-service", "flow-direction", "traffic-path"),
}
DEFAULT = FIELDS[2]
_EITHER = (
    ("srcaddr", ("srcaddr", "pkt-srcaddr")),
    ("dstaddr", ("dstaddr", "pkt-dstaddr")),
    *((name, (name,)) for name in ("srcport", "dstport", "bytes", "action", "end")),
)
_LATEST = 253_402_300_799  # the last second of the year 9999
# What AWS says an address belongs to, but anybody may stand behind it.
_ANYBODY = frozenset({"-", "", "AMAZON", "EC2", "EC2_INSTANCE_CONNECT", "GLOBALACCELERATOR"})


def is_header(parts: Sequence[str]) -> bool:
    """Tell whether a line names fields."""
    return "srcaddr" in parts or "pkt-srcaddr" in parts


class Columns:
    """Where each field that is read stands in a record; ``missing`` names what must be there."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(n.strip().lower().replace("_", "-") for n in names)
        self.count = len(self.names)
        place = {name: n for n, name in enumerate(self.names)}
        self.missing = [
            what for what, either in _EITHER if not any(name in place for name in either)
        ]
        self.source = [place[n] for n in ("pkt-srcaddr", "srcaddr") if n in place]
        self.destination = [place[n] for n in ("pkt-dstaddr", "dstaddr") if n in place]
        self.ports = place.get("srcport", -1), place.get("dstport", -1)
        self.bytes, self.action = place.get("bytes", -1), place.get("action", -1)
        self.end, self.start = place.get("end", -1), place.get("start", place.get("end", -1))
        self.status, self.protocol = place.get("log-status"), place.get("protocol")
        self.interface, self.flags = place.get("interface-id"), place.get("tcp-flags")
        self.services = place.get("pkt-src-aws-service"), place.get("pkt-dst-aws-service")

    def flow(self, parts: Sequence[str]) -> Flow:
        """Return the record of one line that was accepted.

        Raises:
            ValueError: a number is none, or negative.
        """
        size, end, start = int(parts[self.bytes]), int(parts[self.end]), int(parts[self.start])
        if size < 0 or not 0 <= start <= end <= _LATEST:
            raise ValueError("bytes or times are out of range")
        return Flow(
            _known(parts, self.source),
            _known(parts, self.destination),
            _number(parts[self.ports[0]]),
            _number(parts[self.ports[1]]),
            size,
            "" if self.interface is None else parts[self.interface],
            start,
            end,
            0 if self.flags is None else _number(parts[self.flags]),
            _service(parts, self.services[0]),
            _service(parts, self.services[1]),
        )


def _known(parts: Sequence[str], places: Sequence[int]) -> str:
    return next((parts[p] for p in places if parts[p] != "-"), "")


def _number(text: str) -> int:
    return 0 if text == "-" else int(text)


def _service(parts: Sequence[str], place: int | None) -> str:
    said = "-" if place is None else parts[place]
    return "" if said in _ANYBODY else said.lower().replace("_", "-")
