"""Read VPC flow logs: who talks to whom, and how many bytes.

Format: "Flow log records" of the Amazon VPC user guide, versions 2 to 5 and later: fields in the
order of the header line, or of the default format where there is none, or a Parquet file's columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.flows import FlowSums
from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Collected, Outcome, Resource
from qafila.audit.traffic.files import CutShort, Gaps, files, lines, opened
from qafila.audit.traffic.flow_fields import DEFAULT, Columns, is_header
from qafila.audit.traffic.flow_parquet import is_parquet, opened_parquet
from qafila.errors import BadInput

NAME = "flow-logs"
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")  # what CloudWatch puts before each line
_ICMP = frozenset({"1", "58"})
_NAMED = 5
_NOTHING = frozenset({"NODATA", "SKIPDATA"})


@dataclass(frozen=True)
class FlowLogs:
    """What flow logs say: edges in ``collected``, and the bytes of each pair and port.

    ``records`` counts what was read: "accepted", "rejected", "NODATA" (an interval in which an
    interface had no traffic) and "SKIPDATA" (one in which AWS could not record all).
    """

    collected: Collected
    traffic: tuple[Traffic, ...]
    records: Mapping[str, int] = field(default_factory=dict)


def read_flow_logs(paths: Sequence[Path | str], resources: Sequence[Resource]) -> FlowLogs:
    """Return who opened connections to whom, with bytes; accepted traffic alone.

    Text, plain or gzip, in the default format or with a header line; and Parquet, whose columns
    or whole file may be gzip. Fields are found by their names, whatever their order and version.
    Addresses become resources by their facts ``private_ip``, ``private_ips`` and ``public_ip``,
    and by the interfaces attached to them; other private ones become ``host:ADDRESS``; other
    public ones are the internet. Reading is line by line; sums are kept for a bounded number of
    pairs. Give each log once: the same record in two files is added twice.

    Raises:
        BadInput: a path is no file, or no line of any of them is a flow record.
    """
    sums, gaps, told = FlowSums(Directory(resources)), Gaps(), _Told()
    for path in files(paths, "flow logs"):
        if is_parquet(path):
            _read_parquet(path, sums, gaps, told)
            continue
        with opened(path) as stream:
            _read(path, lines(stream), sums, gaps, told)
    if not told.readable:
        raise BadInput(
            "no line is a VPC flow log record:",
            gaps.examples or [why for _, why in gaps.noted] or ["the files are empty"],
            remedy="give flow logs as text, plain or gzip, in the default format or with the "
            "header line that S3 delivery writes, or as Parquet",
        )
    _note(sums, gaps, told)
    collected = Collected(NAME, "", gaps.outcome, (), sums.edges(), 0, gaps.missed)
    return FlowLogs(collected, sums.traffic(), dict(told.records))


@dataclass
class _Told:
    """What records said beside flows; ``silent`` and ``skipped`` count by network interface."""

    records: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    doubled: bool = False

    @property
    def readable(self) -> int:
        return self.records.total()


def _read_parquet(path: Path, sums: FlowSums, gaps: Gaps, told: _Told) -> None:
    number = 0
    try:
        with opened_parquet(path) as (names, records):
            columns = Columns(names)
            if columns.missing:
                gaps.wrong(path, 1, f"the columns lack {', '.join(columns.missing)}")
                return
            for number, parts in enumerate(records, 1):
                if why := _take(parts, columns, sums, told):
                    gaps.wrong(path, number, why)
    except CutShort as error:
        gaps.note(Outcome.TRUNCATED, f"{path.name} is cut off after record {number:,}: {error}")


def _read(path: Path, source: Iterable[str], sums: FlowSums, gaps: Gaps, told: _Told) -> None:
    columns, number = Columns(DEFAULT), 0
    try:
        for number, line in enumerate(source, 1):
            parts = line.split()
            if not parts:
                continue
            if _TIMESTAMP.match(parts[0]):
                del parts[0]
            if is_header(parts):
                columns = Columns(parts)
                if columns.missing:
                    gaps.wrong(path, number, f"the header lacks {', '.join(columns.missing)}")
                continue
            if columns.missing:
                continue  # said once, with the header
            if why := _take(parts, columns, sums, told):
                gaps.wrong(path, number, why)
    except CutShort as error:
        gaps.note(Outcome.TRUNCATED, f"{path.name} is cut off after line {number:,}: {error}")


def _take(parts: Sequence[str], columns: Columns, sums: FlowSums, told: _Told) -> str | None:
    """Take one record; return what is wrong with it."""
    if len(parts) != columns.count:
        return f"{len(parts)} fields, not {columns.count}"
    status = parts[columns.status] if columns.status is not None else "OK"
    if status in _NOTHING:
        whose = "" if columns.interface is None else parts[columns.interface]
        told.records[status] += 1
        (told.silent if status == "NODATA" else told.skipped)[whose] += 1
        return None
    if parts[columns.action] != "ACCEPT":
        if parts[columns.action] != "REJECT":
            return "the action is neither ACCEPT nor REJECT"
        told.records["rejected"] += 1
        return None
    try:
        flow = columns.flow(parts)
        if columns.protocol is None or parts[columns.protocol] not in _ICMP:
            sums.add(flow)
    except ValueError:
        return "a number or an address is none"
    told.records["accepted"] += 1
    told.doubled |= columns.interface is None
    return None


def _note(sums: FlowSums, gaps: Gaps, told: _Told) -> None:
    if told.skipped:
        gaps.note(
            Outcome.TRUNCATED,
            f"AWS could not record all in {_intervals(told.skipped)} (SKIPDATA)",
        )
    if told.silent:
        gaps.note(Outcome.COMPLETE, f"no traffic in {_intervals(told.silent)} (NODATA)")
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
        gaps.note(
            Outcome.TRUNCATED,
            f"{len(strangers):,} private addresses belong to no resource: {_first(strangers)}",
        )


def _intervals(by_interface: Counter[str]) -> str:
    total = by_interface.total()
    named = sorted(i for i in by_interface if i)
    return f"{total:,} interval{'' if total == 1 else 's'}" + (
        f" of {_first(named)}" if named else ""
    )


def _first(names: Sequence[str]) -> str:
    more = "" if len(names) <= _NAMED else ", and more"
    return ", ".join(names[:_NAMED]) + more
