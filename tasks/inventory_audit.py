"""Steps of inventory-audit: collect, read files, reconcile, keep, show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from qafila.audit import (
    collection as collecting,
)
from qafila.audit import (
    files as reading,
)
from qafila.audit import (
    records as keeping,
)
from qafila.audit import (
    stocktake as stocktaking,
)
from qafila.audit.ai_need.assessment import CorpusVolume
from qafila.audit.code_scan.model import LockIn
from qafila.audit.estate import Collected, Resource
from qafila.audit.files import Billed, FilesRead, Flows, Observed, Read
from qafila.audit.inventory.whole import Inventory
from qafila.audit.places import Place
from qafila.audit.sources import Sources
from qafila.connections.settings import AwsConnection
from qafila.errors import Unavailable
from qafila.ledger.ledger import Connection
from qafila.report import audit_pages as showing
from qafila.report.audit_facts import AuditFacts
from qafila.text.foreign_text import markdown_text
from qafila.workload.model import Workload
from tasks.artifact_tables import show_markdown, show_table

T = TypeVar("T")


def _note(line: str) -> None:
    get_run_logger().error(line)


# --- places ------------------------------------------------------------------------------------


class Looking:
    """One collector that is on its way, and how to name it when it does not come back."""

    def __init__(self, collector: str, place: Place, future: PrefectFuture[Collected]) -> None:
        self.collector = collector
        self.place = place
        self.future = future


def _worth_again(_: Any, __: Any, state: Any) -> bool:
    """Tell whether a broken look is worth another: a connection that was lost, nothing else."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError | Unavailable | psycopg.OperationalError)


@task(
    task_run_name="collect {collector} in {place}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=_worth_again,
)
def collect(collector: str, place: str, at: Place) -> Collected:
    """Look at one thing in one place. A refusal is a result, not an error.

    What the system answers is retried by its own client, in one layer; this step runs a second
    time only when the connection broke in a way that the look did not foresee.
    """
    return collecting.collect(collector, at)


def start_collecting(places: Sequence[Place]) -> list[Looking]:
    """Start every collector of every place; the flow's task runner bounds how many at once.

    What is returned is in the order of the places.
    """
    looks = collecting.looks_at(places)
    begun = {
        turn: Looking(name, place, collect.submit(name, place.name, place))
        for turn in collecting.turns_of(looks)
        for name, place in [looks[turn]]
    }
    return [begun[turn] for turn in range(len(looks))]


def collected_of(looking: Sequence[Looking]) -> list[Collected]:
    """Wait for all and return what each saw; one that broke says so and hides no other."""
    return [
        collecting.collected_or_why(
            one.collector, one.place, one.future.result(raise_on_failure=False), _note
        )
        for one in looking
    ]


# --- files -------------------------------------------------------------------------------------


@task(task_run_name="measure the corpus of {workload.name}", cache_policy=NO_CACHE)
def measure_corpus(workload: Workload) -> Read[CorpusVolume]:
    """Count the documents of a workload and the bytes of their text.

    Raises:
        BadInput: the source cannot be read as the workload says; names every problem.
        Refused: its connection does not exist.
    """
    return reading.measure_corpus(workload, _note)


@task(task_run_name="read {number} bill(s)", cache_policy=NO_CACHE)
def read_bills(
    paths: Sequence[str], number: int, preferred: str, account: AwsConnection | None
) -> Read[Billed]:
    """Read one bill, or several as one, into exact amounts."""
    return reading.read_bills(paths, preferred, account, _note)


@task(task_run_name="scan {number} folder(s) of code for vendors' APIs", cache_policy=NO_CACHE)
def scan_code(paths: Sequence[Path], number: int) -> Read[LockIn]:
    """Find where code calls a vendor's API; nothing of what is read is executed."""
    return reading.scan_code(paths, _note)


@task(task_run_name="read {number} file(s) of traces", cache_policy=NO_CACHE)
def read_trace_files(
    paths: Sequence[Path], resources: Sequence[Resource], number: int
) -> Collected:
    """Read who calls whom from traces, and when last."""
    return reading.read_trace_files(paths, resources, _note)


@task(task_run_name="read {number} flow log(s)", cache_policy=NO_CACHE)
def read_flow_log_files(paths: Sequence[Path], resources: Sequence[Resource], number: int) -> Flows:
    """Read who talks to whom from flow logs, how much, and when last."""
    return reading.read_flow_log_files(paths, resources, _note)


class Files:
    """What is being read while collectors look."""

    def __init__(
        self,
        bills: PrefectFuture[Read[Billed]] | None,
        code: PrefectFuture[Read[LockIn]] | None,
    ) -> None:
        self._bills = bills
        self._code = code

    def wait(self) -> FilesRead:
        """Return what was read and how far, once all of it is there."""
        bills = None if self._bills is None else _come_back("bills", self._bills)
        code = None if self._code is None else _come_back("code", self._code)
        told = [one.outcome for one in (bills, code) if one is not None]
        return FilesRead(
            None if bills is None else bills.found,
            None if code is None else code.found,
            tuple(told),
        )


def start_reading(sources: Sources, currency: str) -> Files:
    """Start to read every bill and every folder of code that is named."""
    account = None if sources.account is None else sources.account[1]
    bills, code = sources.bills, sources.code
    return Files(
        read_bills.submit(bills, len(bills), currency, account) if bills else None,
        scan_code.submit(code, len(code)) if code else None,
    )


def observe(sources: Sources, collected: Sequence[Collected]) -> Observed:
    """Read traces and flow logs, which speak of what collectors have found."""
    resources = [r for part in collected for r in part.resources]
    traces, logs = sources.traces, sources.flow_logs
    seen = read_trace_files.submit(traces, resources, len(traces)) if traces else None
    flows = read_flow_log_files.submit(logs, resources, len(logs)) if logs else None
    parts = [] if seen is None else [_told("traces", seen)]
    if flows is None:
        return Observed(tuple(parts))
    found = flows.result(raise_on_failure=False)
    if not isinstance(found, Flows):
        found = Flows(reading.unread("flow-logs", found, _note))
    return Observed((*parts, found.collected), found.traffic)


def _come_back(what: str, future: PrefectFuture[Read[T]]) -> Read[T]:
    """Return what a step gave; a step that itself broke gave nothing, and says so."""
    back = future.result(raise_on_failure=False)
    return back if isinstance(back, Read) else Read(None, reading.unread(what, back, _note))


def _told(what: str, future: PrefectFuture[Collected]) -> Collected:
    back = future.result(raise_on_failure=False)
    return back if isinstance(back, Collected) else reading.unread(what, back, _note)


# --- the inventory -----------------------------------------------------------------------------


@task(task_run_name="reconcile bill and account of {workload.name}", cache_policy=NO_CACHE)
def take_stock(
    workload: Workload,
    collected: Sequence[Collected],
    observed: Observed,
    files: FilesRead,
    corpus: Read[CorpusVolume],
    as_of: date,
) -> Inventory:
    """Put all collectors, what was seen on the wire, the files and the corpus together."""
    return stocktaking.take_stock(workload, collected, observed, files, corpus, as_of)


@task(task_run_name="keep the audit of {inventory.workload}", cache_policy=NO_CACHE)
def keep_audit(
    ledger: Connection,
    inventory: Inventory,
    *,
    started_at: datetime,
    generation: int | None,
    run_id: str | None,
) -> dict[str, Any]:
    """Write the snapshot and its evidence in one transaction; return the evidence's body.

    Not idempotent and not retried: each call is one more audit, and earlier ones stay.
    """
    return keeping.keep_audit(
        ledger, inventory, started_at=started_at, generation=generation, run_id=run_id
    )


@task(task_run_name="show the audit of {facts.workload}", cache_policy=NO_CACHE)
def show_audit(facts: AuditFacts) -> None:
    """Publish the artifact "inventory" and one table for each part that has rows."""
    show_markdown(
        key="inventory",
        markdown=showing.page_of(facts),
        description=markdown_text(facts.sentence),
    )
    for table in showing.tables_of(facts):
        show_table(key=table.key, rows=table.rows, description=table.description)


def say_judgement(verdict: str, sentence: str) -> None:
    """Tell the run's log what the audit came to."""
    get_run_logger().info("%s: %s", verdict, sentence)
