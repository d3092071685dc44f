"""Read files: bills, traces, flow logs, code; and count the workload's own corpus.

Each gives what it found and how far it came. A file that cannot be read is an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from qafila.audit.ai_need.assessment import CorpusVolume
from qafila.audit.bills.model import Bill, main_currency
from qafila.audit.bills.read import read_open
from qafila.audit.bills.relation import OpenBill, open_bill
from qafila.audit.code_scan.model import LockIn
from qafila.audit.code_scan.scan import scan
from qafila.audit.collection import broken
from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Collected, Outcome, Resource
from qafila.audit.inventory.difference import ServiceSpend
from qafila.audit.inventory.storable import storable_part
from qafila.audit.traffic.flow_logs import read_flow_logs
from qafila.audit.traffic.traces import read_traces
from qafila.connections.settings import AwsConnection
from qafila.decision.drift_rules import LineItem
from qafila.endpoints import open_source, volume_of
from qafila.errors import BadInput, Refused
from qafila.ledger.ledger import open_ledger
from qafila.sql import statement
from qafila.workload.model import Workload

T = TypeVar("T")
Note = Callable[[str], None]  # tells the run's log what broke, in the words of who broke it


@dataclass(frozen=True)
class Read(Generic[T]):
    """What files gave, None when nothing, and how far they were read."""

    found: T | None
    outcome: Collected


def measure_corpus(workload: Workload, note: Note) -> Read[CorpusVolume]:
    """Count the documents of a workload and the bytes of their text.

    Raises:
        BadInput: the source cannot be read as the workload says; names every problem.
        Refused: its connection does not exist.
    """

    def count() -> CorpusVolume:
        with open_ledger() as ledger, open_source(ledger, workload) as source:
            found = volume_of(source, workload.name)
        return CorpusVolume(rows=found.rows, size_bytes=found.text_bytes)

    return _read("corpus", workload.corpus.source.name, count, note, said=(BadInput, Refused))


@dataclass(frozen=True)
class Billed:
    """A bill, and what the month that figures are for is made of.

    ``currency``: the one that figures are in; other currencies are never added to it.
    """

    bill: Bill
    currency: str | None
    items: tuple[ServiceSpend, ...]


def read_bills(
    paths: Sequence[str], preferred: str, account: AwsConnection | None, note: Note
) -> Read[Billed]:
    """Read one bill, or several as one, into exact amounts.

    ``preferred``: the currency to give figures in, when the bill has it. ``account``: whose
    credentials fetch ``s3://…``; None: those of the usual boto3 chain.
    """

    def read() -> Billed:
        s3 = None
        if account is not None and any(path.startswith("s3:") for path in paths):
            s3 = account.session().client("s3", endpoint_url=account.endpoint_url)
        with open_bill(paths, s3=s3) as bill:
            values = read_open(bill)
            currency = main_currency(values, preferred)
            items = () if currency is None else _items(bill, values, currency)
            return Billed(values, currency, items)

    return _read("bills", names(paths), read, note)


def _items(bill: OpenBill, values: Bill, currency: str) -> tuple[ServiceSpend, ...]:
    period = values.reference_period(currency)
    if period is None:
        return ()
    found: dict[str, list[LineItem]] = {}
    for service, item, unit, amount, quantity, _ in bill.query(
        statement("audit", "spend_items"), [currency, period.start]
    ):
        found.setdefault(service, []).append(LineItem(item, amount, quantity, unit))
    return tuple(ServiceSpend(service, tuple(items)) for service, items in found.items())


def scan_code(paths: Sequence[Path], note: Note) -> Read[LockIn]:
    """Find where code calls a vendor's API; nothing of what is read is executed."""
    return _read("code", names(paths), lambda: scan(paths), note)


def read_trace_files(paths: Sequence[Path], resources: Sequence[Resource], note: Note) -> Collected:
    """Read who calls whom from traces, and when last."""
    read: Read[Collected] = _read(
        "traces", names(paths), lambda: read_traces(paths, resources), note
    )
    return read.outcome if read.found is None else storable_part(read.found)


@dataclass(frozen=True)
class Flows:
    """What flow logs say: edges, and the bytes that went along each."""

    collected: Collected
    traffic: tuple[Traffic, ...] = ()


def read_flow_log_files(paths: Sequence[Path], resources: Sequence[Resource], note: Note) -> Flows:
    """Read who talks to whom from flow logs, how much, and when last."""
    read = _read("flow-logs", names(paths), lambda: read_flow_logs(paths, resources), note)
    if read.found is None:
        return Flows(read.outcome)
    return Flows(storable_part(read.found.collected), tuple(read.found.traffic))


def names(paths: Sequence[str | Path]) -> str:
    """Return the names of files, the first few of many."""
    shown = ", ".join(str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths[:3])
    return shown if len(paths) <= 3 else f"{shown} and {len(paths) - 3} more"


def _read(
    what: str,
    where: str,
    reader: Callable[[], T],
    note: Note,
    *,
    said: tuple[type[Exception], ...] = (),
) -> Read[T]:
    """Return what a reader gives; what it raises is its outcome, but for errors in ``said``."""
    try:
        return Read(reader(), Collected(what, where, Outcome.COMPLETE, (), (), 0))
    except said:
        raise
    except Exception as error:  # noqa: BLE001  whatever broke one file, the audit goes on
        return Read(None, replace(unread(what, error, note), region=where))


# --- what they gave ------------------------------------------------------------------------------


@dataclass(frozen=True)
class FilesRead:
    """Everything that files gave; None: not named, or not readable. ``told``: how far each came."""

    billed: Billed | None
    code: LockIn | None
    told: tuple[Collected, ...]


@dataclass(frozen=True)
class Observed:
    """What was seen on the wire: edges of traces and flow logs, and the bytes along them."""

    parts: tuple[Collected, ...] = ()
    traffic: tuple[Traffic, ...] = ()


def unread(what: str, error: object, note: Note) -> Collected:
    """Return the outcome of something that broke before it could say how far it came."""
    return Collected(what, "", Outcome.UNSUPPORTED, (), (), 0, broken(what, error, note))
