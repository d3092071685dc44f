"""Read files: bills, traces, flow logs, code; and count the workload's own corpus.

Each gives what it found and how far it came. A file that cannot be read is an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from qafila.core.ai_need import CorpusVolume
from qafila.core.bills import Bill
from qafila.core.estate import Collected, Outcome
from qafila.core.workload import Workload
from qafila.errors import BadInput, Refused
from tasks import bills
from tasks.audit.collecting import broken
from tasks.audit.sources import Sources
from tasks.ledger import open_ledger
from tasks.opening import open_source, volume_of

T = TypeVar("T")


@dataclass(frozen=True)
class Read(Generic[T]):
    """What files gave, None when nothing, and how far they were read."""

    found: T | None
    outcome: Collected


@task(task_run_name="measure the corpus of {workload.name}", cache_policy=NO_CACHE)
def measure_corpus(workload: Workload) -> Read[CorpusVolume]:
    """Count the documents of a workload and the bytes of their text.

    Raises:
        BadInput: the source cannot be read as the workload says; names every problem.
        Refused: its connection does not exist.
    """

    def count() -> CorpusVolume:
        with open_ledger() as ledger, open_source(ledger, workload) as source:
            found = volume_of(source, workload.name)
        return CorpusVolume(rows=found.rows, size_bytes=found.text_bytes)

    return _read("corpus", workload.corpus.source.name, count, said=(BadInput, Refused))


@task(task_run_name="read {number} bill(s)", cache_policy=NO_CACHE)
def read_bills(paths: Sequence[Path], number: int) -> Read[Bill]:
    """Read one bill, or several as one, into exact amounts."""
    return _read("bills", names(paths), lambda: bills.read_bill(paths))


def names(paths: Sequence[Path]) -> str:
    """Return the names of files, the first few of many."""
    shown = ", ".join(path.name for path in paths[:3])
    return shown if len(paths) <= 3 else f"{shown} and {len(paths) - 3} more"


def _read(
    what: str,
    where: str,
    reader: Callable[[], T],
    *,
    said: tuple[type[Exception], ...] = (),
) -> Read[T]:
    """Return what a reader gives; what it raises is its outcome, but for errors in ``said``."""
    try:
        return Read(reader(), Collected(what, where, Outcome.COMPLETE, (), (), 0))
    except said:
        raise
    except Exception as error:  # noqa: BLE001  whatever broke one file, the audit goes on
        return Read(
            None, Collected(what, where, Outcome.UNSUPPORTED, (), (), 0, broken(what, error))
        )


class Files:
    """What is being read while collectors look: bills."""

    def __init__(self, bills: PrefectFuture[Read[Bill]] | None) -> None:
        self._bills = bills

    def wait(self) -> FilesRead:
        """Return what was read and how far, once all of it is there."""
        bill = None if self._bills is None else self._bills.result()
        told = [] if bill is None else [bill.outcome]
        return FilesRead(None if bill is None else bill.found, tuple(told))


@dataclass(frozen=True)
class FilesRead:
    """Everything that files gave; None: not named, or not readable."""

    bill: Bill | None
    read: tuple[Collected, ...]


def start_reading(sources: Sources) -> Files:
    """Start to read every file that is named."""
    paths = sources.bills
    return Files(read_bills.submit(paths, len(paths)) if paths else None)


def observe(sources: Sources, collected: Sequence[Collected]) -> list[Collected]:
    """Read traces and flow logs, which speak of what collectors have found."""
    return []
