"""Steps of target-architecture: measure the corpus, compare patterns, ask a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any

from prefect import get_run_logger, task
from psycopg.rows import class_row

from qafila.core import decision_record
from qafila.core.approving import approvers_needed
from qafila.core.choice import choose, what_would_change_our_mind
from qafila.core.corpus import QdrantTarget
from qafila.core.patterns import Need, assess_patterns
from qafila.core.phases import Event, Phase
from qafila.core.pricing import PriceBook, parse_price_book
from qafila.core.verdict import Verdict
from qafila.errors import BadInput, Refused
from qafila.sql import statement
from tasks.approvals import Approval, Question, read_approval
from tasks.artifact_tables import show_markdown, show_table
from tasks.asking import ask_person
from tasks.comparing_embedders.recording import latest_comparison
from tasks.evidence import Evidence, latest_evidence, record_evidence
from tasks.ledger import Connection, Generation, move_phase, open_ledger, read_workload
from tasks.opening import open_source, volume_of
from tasks.runs import current_run_id

POLL_S = 0.5
LINE_EVERY_S = 30.0


@dataclass(frozen=True)
class StoredPrice:
    """One row of a price snapshot in the ledger."""

    snapshot_at: datetime
    item: str
    unit: str
    currency: str
    amount: Decimal
    source: str
    as_of: Any


# --- ports -------------------------------------------------------------------------------------


def load_price_book() -> PriceBook:
    """Return the price book that ships with this version.

    Raises:
        BadInput: a row lacks source, date or amount, or is in another currency.
    """
    data = files("qafila.data")
    return parse_price_book(
        (data / "prices.toml").read_text(),
        (data / "models.toml").read_text(),
        (data / "egress.toml").read_text(),
    )


def measure_workload(workload: str) -> tuple[Need, str]:
    """Return what the workload needs, its corpus measured now, and how it was measured.

    Raises:
        BadInput: the budget is in a currency that the price book does not have.
    """
    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, workload)
        budget, projection = spec.budget, spec.projection
        if budget.currency != load_price_book().currency:
            raise BadInput(
                f"the budget of {workload} is in {budget.currency}, the price book in "
                f"{load_price_book().currency}; currencies are never mixed.",
                remedy="give budget.currency and budget.monthly in USD, then: qafila apply FILE",
            )
        with open_source(ledger, spec) as source:
            size = volume_of(source, workload)
    documents, how = size.rows, size.how
    if projection.documents is not None:
        documents, how = projection.documents, f"projected; {size.rows:,} {size.how}"
    each = size.text_bytes / max(size.rows, 1)
    return (
        Need(
            documents=documents,
            text_bytes=int(documents * each),
            dimensions=spec.corpus.embedder.dimensions,
            queries_per_month=projection.queries_per_month,
            growth_per_year=projection.growth_per_year,
            generated_tokens_per_query=projection.generated_tokens_per_query,
            hosting=tuple(spec.compliance.hosting),
            monthly_budget=Decimal(str(budget.monthly)),
            storage="Qdrant" if isinstance(spec.corpus.target, QdrantTarget) else "pgvector",
        ),
        how,
    )


def newest_prices(ledger: Connection) -> list[StoredPrice]:
    """Return the newest price snapshot of the ledger, empty when none was ever taken."""
    with ledger.cursor(row_factory=class_row(StoredPrice)) as cursor:
        return cursor.execute(statement("decision", "newest_prices")).fetchall()


def store_prices(ledger: Connection, book: PriceBook, at: datetime) -> bool:
    """Keep the book as a snapshot unless the newest one says the same; tell whether it was kept."""
    today = {(p.item, p.unit, p.currency, p.amount) for p in book.prices.values()}
    if {(p.item, p.unit, p.currency, p.amount) for p in newest_prices(ledger)} == today:
        return False
    with ledger.transaction(), ledger.cursor() as cursor:
        cursor.executemany(
            statement("decision", "insert_price"),
            [
                {
                    "snapshot_at": at, "item": p.item, "unit": p.unit, "currency": p.currency,
                    "amount": p.amount, "source": p.source, "as_of": p.as_of,
                }
                for p in book.prices.values()
            ],
        )  # fmt: skip
    return True


def open_question(ledger: Connection, base: str) -> tuple[str, Approval | None]:
    """Return the id under which to ask now, and that question if it was asked already.

    A question that was rejected or lapsed is over: the next one gets a number behind its id.
    """
    number, approval_id = 1, base
    while True:
        try:
            asked = read_approval(ledger, approval_id)
        except Refused:
            return approval_id, None
        if asked.state in ("pending", "approved"):
            return approval_id, asked
        number += 1
        approval_id = f"{base}-{number}"


def wait_for_answer(ledger: Connection, approval_id: str, say: Callable[[str], None]) -> Approval:
    """Read the ledger twice a second until the question is answered or has lapsed; ``say`` a line
    at once and then now and then."""
    next_line = 0.0
    while True:
        asked = read_approval(ledger, approval_id)
        if asked.state != "pending":
            return asked
        if time.monotonic() >= next_line:
            say(
                f"waiting for a person: {asked.subject}, lapses {asked.expires_at:%H:%M:%S %Z}; "
                f"qafila approve {approval_id} --by NAME"
            )
            next_line = time.monotonic() + LINE_EVERY_S
        time.sleep(POLL_S)


# --- steps -------------------------------------------------------------------------------------


@task(task_run_name="read audit of {workload}")
def read_audit(workload: str) -> Evidence:
    """Return the newest audit.

    Raises:
        Refused: there is none.
    """
    with open_ledger() as ledger:
        audit = latest_evidence(ledger, workload, "audit")
    if audit is None:
        raise Refused(
            f"{workload} was never audited, so there is nothing to decide on.",
            kept="everything; the phase is unchanged.",
            remedy=f"qafila run inventory-audit {workload}",
        )
    return audit


@task(task_run_name="measure corpus of {workload}")
def measure_need(workload: str) -> tuple[Need, str]:
    """Return what the workload needs, its corpus measured now, and how it was measured."""
    return measure_workload(workload)


@task(task_run_name="read comparison of embedders for {workload}")
def read_embedders(workload: str) -> dict[str, Any] | None:
    """Return the newest comparison of embedders on this corpus; None: there is none."""
    with open_ledger() as ledger:
        return latest_comparison(ledger, workload)


@task(task_run_name="compare patterns for {workload}")
def compare_patterns(
    workload: str,
    need: Need,
    how: str,
    audit: Evidence,
    seed: int,
    samples: int,
    embedders: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Cost every pattern, choose one, and return the body of the decision.

    ``embedders`` is what was found of them on this corpus, for the record; None: nothing was.
    """
    book = load_price_book()
    assessments = assess_patterns(need, book, seed=seed, samples=samples)
    choice = choose(assessments, need)
    changes = what_would_change_our_mind(need, book, choice, seed=seed, samples=samples)
    return decision_record.evidence_body(
        need, book, assessments, choice, changes,
        context={"measured": how, "audit": _audit_lines(audit), "audit_evidence": audit.number,
                 "embedders": embedders},
        seed=seed, samples=samples,
    )  # fmt: skip


def _audit_lines(audit: Evidence) -> list[str]:
    body = audit.body
    lines = [f"Audit (evidence {audit.number}): {audit.sentence}"]
    if (spend := body.get("spend_total")) is not None:
        state = "closed" if body.get("period_closed") else "still open"
        lines.append(
            f"Whole bill: {spend} {body.get('currency', '')} in {body.get('period', 'its period')},"
            f" {state}; it covers more than this workload."
        )
    if (share := body.get("network_share")) is not None:
        lines.append(f"Network is {float(share):.1%} of that bill.")
    unseen = [name for name, outcome in body.get("collectors", {}).items() if outcome != "complete"]
    if unseen:
        lines.append(f"Not fully seen: {', '.join(sorted(unseen))}.")
    return lines


@task(task_run_name="record decision for {workload} g{number}")
def record_decision(workload: str, number: int, body: dict[str, Any]) -> int:
    """Keep the prices used and the decision as evidence; return the evidence's number."""
    with open_ledger() as ledger:
        store_prices(ledger, load_price_book(), datetime.now(UTC))
        return record_evidence(
            ledger, "decision", body["sentence"], workload=workload, generation=number,
            verdict=Verdict.FAIL if body["chosen"] is None else Verdict.PASS, body=body,
            run_id=current_run_id(),
        )  # fmt: skip


@task(task_run_name="show decision for {workload} g{number}")
def show_decision(workload: str, number: int, body: dict[str, Any]) -> None:
    """Put the decision record and its table into the run."""
    show_markdown(
        key="decision",
        markdown=decision_record.markdown(workload, number, body),
        description=f"Architecture of {workload}, generation {number}",
    )
    show_table(key="patterns", rows=decision_record.table(body), description="Patterns compared")


@task(task_run_name="ask about decision for {workload} g{number}")
def ask_for_decision(
    workload: str, number: int, body: dict[str, Any], timeout_minutes: float
) -> Approval:
    """Ask a person and wait for the answer in the ledger; a question asked before is picked up."""
    costs = {row["name"]: row for row in body["patterns"]}
    chosen = costs[body["chosen"]]
    stay = costs["stay"]
    currency = body["currency"]
    question = "\n".join(
        [
            f"**{workload}, generation {number}: build {chosen['name']}?**",
            "",
            f"- {chosen['compute']}, {chosen['storage']}, {chosen['topology']}",
            f"- {chosen['monthly_p50']}–{chosen['monthly_p90']} {currency} a month (P50–P90); "
            f"staying: {stay['monthly_p50']}–{stay['monthly_p90']}",
            f"- lock-in {chosen['lock_in']}: {chosen['lock_in_why']}",
            f"- data in {', '.join(chosen['countries'])}",
            "- the whole record is the artifact `decision` of the target-architecture run",
        ]
    )
    with open_ledger() as ledger:
        approval_id, _ = open_question(ledger, decision_question(workload, number))
        spec, _ = read_workload(ledger, workload)
        ask_person(
            ledger,
            Question(
                approval_id,
                workload,
                number,
                subject=f"architecture of {workload} g{number}: {chosen['name']}",
                question=question,
                expires_s=timeout_minutes * 60,
                needed=approvers_needed(spec.criticality),
            ),
        )
        return wait_for_answer(ledger, approval_id, get_run_logger().info)


def decision_question(workload: str, number: int) -> str:
    """Return the id of the question whether to build what was chosen."""
    return f"decision-{workload}-g{number}"


def standing_decision(ledger: Connection, generation: Generation) -> dict[str, Any] | None:
    """Return the decision a person is looking at or has approved already, if there is one.

    It is then not computed again: an answer belongs to what was shown.
    """
    _, asked = open_question(ledger, decision_question(generation.workload, generation.number))
    if asked is None:
        return None
    found = latest_evidence(ledger, generation.workload, "decision", generation=generation.number)
    return None if found is None or found.verdict != Verdict.PASS else found.body


@task(task_run_name="accept decision for {workload} g{number}")
def accept_decision(workload: str, number: int, generation: Generation) -> None:
    """Move the phase to designed. Idempotent: a generation that is designed already stays."""
    with open_ledger() as ledger:
        move_phase(ledger, generation, Event.DECISION_APPROVED)


def is_designed(generation: Generation) -> bool:
    """Tell whether the decision on this generation was approved before."""
    return Phase(generation.phase) not in (Phase.REGISTERED, Phase.AUDITED)
