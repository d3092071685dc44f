"""Read VPC flow logs: who talks to whom, and how many bytes.

Format: "Flow log records" of the Amazon VPC user guide, versions 2 to 5 and later: fields in the
order of the header line, or of the default format where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qafila.core.dependencies.directory import Directory
from qafila.core.dependencies.flows import Flow, FlowSums
from qafila.core.dependencies.traffic import Traffic
from qafila.core.estate import Collected, Outcome, Resource
from qafila.errors import BadInput
from tasks.observing.opening import CutShort, Gaps, files, lines, opened

NAME = "flow-logs"
_DEFAULT = (
    "version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport",
    "protocol", "packets", "bytes", "start", "end", "action", "log-status",
)  # fmt: skip
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")  # what CloudWatch puts before each line
_ICMP = frozenset({"1", "58"})
_LATEST = 253_402_300_799  # the last second of the year 9999
_STRANGERS_NAMED = 5


@dataclass(frozen=True)
class FlowLogs:
    """What flow logs say: edges in ``collected``, and the bytes of each pair and port."""

    collected: Collected
    traffic: tuple[Traffic, ...]


class _Columns:
    """Where each field stands in a line."""

    def __init__(self, names: Sequence[str]) -> None:
        self.count = len(names)
        place = {name: n for n, name in enumerate(names)}
        self.missing = [
            what
            for what, either in (
                ("srcaddr", ("srcaddr", "pkt-srcaddr")),
                ("dstaddr", ("dstaddr", "pkt-dstaddr")),
                ("srcport", ("srcport",)),
                ("dstport", ("dstport",)),
                ("bytes", ("bytes",)),
                ("action", ("action",)),
                ("end", ("end",)),
            )
            if not any(name in place for name in either)
        ]
        self.source = [place[n] for n in ("pkt-srcaddr", "srcaddr") if n in place]
        self.destination = [place[n] for n in ("pkt-dstaddr", "dstaddr") if n in place]
        self.ports = place.get("srcport", -1), place.get("dstport", -1)
        self.bytes, self.action = place.get("bytes", -1), place.get("action", -1)
        self.end, self.start = place.get("end", -1), place.get("start", place.get("end", -1))
        self.status, self.protocol = place.get("log-status"), place.get("protocol")
        self.interface, self.flags = place.get("interface-id"), place.get("tcp-flags")

    def flow(self, parts: Sequence[str]) -> Flow:
        """Return the record of one line that was accepted.

        Raises:
            ValueError: a number is none, or negative.
        """
        size, end, start = int(parts[self.bytes]), int(parts[self.end]), int(parts[self.start])
        if size < 0 or not 0 <= start <= end <= _LATEST:
            raise ValueError("bytes or times are out of range")
        return Flow(
            _known(parts, self.source), _known(parts, self.destination),
            _number(parts[self.ports[0]]), _number(parts[self.ports[1]]), size,
            "" if self.interface is None else parts[self.interface], start, end,
            0 if self.flags is None else _number(parts[self.flags]),
        )  # fmt: skip


def read_flow_logs(paths: Sequence[Path | str], resources: Sequence[Resource]) -> FlowLogs:
    """Return who opened connections to whom, with bytes; accepted traffic alone.

    Addresses become resources by their facts ``private_ip``, ``private_ips`` and ``public_ip``,
    and by the interfaces attached to them; other private ones become ``host:ADDRESS``; other
    public ones are the internet. Reading is line by line; sums are kept for a bounded number of
    pairs. Give each log once: the same record in two files is added twice.

    Raises:
        BadInput: a path is no file, or no line of any of them is a flow record.
    """
    sums, gaps, told = FlowSums(Directory(resources)), Gaps(), _Told()
    for path in files(paths, "flow logs"):
        with opened(path) as stream:
            _read(path, lines(stream), sums, gaps, told)
    if not told.readable:
        raise BadInput(
            "no line is a VPC flow log record:", gaps.examples or ["the files are empty"],
            remedy="give flow logs as text, plain or gzip, in the default format or with the "
            "header line that S3 delivery writes; Parquet is not read",
        )  # fmt: skip
    _note(sums, gaps, told)
    collected = Collected(NAME, "", gaps.outcome, (), sums.edges(), 0, gaps.missed)
    return FlowLogs(collected, sums.traffic())


@dataclass
class _Told:
    """What lines said beside flows."""

    readable: int = 0
    skipped: int = 0
    doubled: bool = False


def _read(path: Path, source: Iterable[str], sums: FlowSums, gaps: Gaps, told: _Told) -> None:
    columns, number = _Columns(_DEFAULT), 0
    try:
        for number, line in enumerate(source, 1):
            parts = line.split()
            if not parts:
                continue
            if _TIMESTAMP.match(parts[0]):
                del parts[0]
            if "srcaddr" in parts or "pkt-srcaddr" in parts:
                columns = _Columns([p.replace("_", "-").lower() for p in parts])
                if columns.missing:
                    gaps.wrong(path, number, f"the header lacks {', '.join(columns.missing)}")
                continue
            if columns.missing:
                continue  # said once, with the header
            if why := _take(parts, columns, sums, told):
                gaps.wrong(path, number, why)
    except CutShort as error:
        gaps.note(Outcome.TRUNCATED, f"{path.name} is cut off after line {number:,}: {error}")


def _take(parts: Sequence[str], columns: _Columns, sums: FlowSums, told: _Told) -> str | None:
    """Take one line; return what is wrong with it."""
    if len(parts) != columns.count:
        return f"{len(parts)} fields, not {columns.count}"
    status = parts[columns.status] if columns.status is not None else "OK"
    if status in ("NODATA", "SKIPDATA"):
        told.readable += 1
        told.skipped += status == "SKIPDATA"
        return None
    if parts[columns.action] != "ACCEPT":
        known = parts[columns.action] == "REJECT"
        told.readable += known
        return None if known else "the action is neither ACCEPT nor REJECT"
    try:
        flow = columns.flow(parts)
        if columns.protocol is None or parts[columns.protocol] not in _ICMP:
            sums.add(flow)
    except ValueError:
        return "a number or an address is none"
    told.readable += 1
    told.doubled |= columns.interface is None
    return None


def _note(sums: FlowSums, gaps: Gaps, told: _Told) -> None:
    if told.skipped:
        gaps.note(Outcome.TRUNCATED, f"AWS skipped records in {told.skipped:,} intervals")
    if told.doubled:
        gaps.note(
            Outcome.TRUNCATED,
            "without interface-id, bytes between two interfaces of a VPC may be counted twice",
        )
    if sums.left_out_bytes:
        gaps.note(
            Outcome.TRUNCATED, f"{sums.left_out_bytes:,} bytes of more pairs than can be kept"
        )
    if strangers := sums.strangers:
        shown = ", ".join(strangers[:_STRANGERS_NAMED])
        more = "" if len(strangers) <= _STRANGERS_NAMED else ", and more"
        gaps.note(
            Outcome.TRUNCATED,
            f"{len(strangers):,} private addresses belong to no resource: {shown}{more}",
        )


def _known(parts: Sequence[str], places: Sequence[int]) -> str:
    return next((parts[p] for p in places if parts[p] != "-"), "")


def _number(text: str) -> int:
    return 0 if text == "-" else int(text)
