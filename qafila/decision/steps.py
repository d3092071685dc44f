"""What an architecture is decided from: prices and measured volumes; and the decision kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any

from psycopg.rows import class_row

from qafila.decision import record as decision_record
from qafila.decision.choice import choose, what_would_change_our_mind
from qafila.decision.patterns import Need, assess_patterns
from qafila.decision.prices import PriceBook, parse_price_book
from qafila.endpoints import open_source, volume_of
from qafila.errors import BadInput, Refused
from qafila.ledger.approvals import Question
from qafila.ledger.approvers import approvers_needed
from qafila.ledger.evidence import Evidence, latest_evidence, record_evidence
from qafila.ledger.ledger import Connection, Generation, open_ledger, read_workload
from qafila.ledger.open_questions import open_question
from qafila.sql import statement
from qafila.workload.corpus import QdrantTarget
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict


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
                    "snapshot_at": at,
                    "item": p.item,
                    "unit": p.unit,
                    "currency": p.currency,
                    "amount": p.amount,
                    "source": p.source,
                    "as_of": p.as_of,
                }
                for p in book.prices.values()
            ],
        )
    return True


def require_audit(ledger: Connection, workload: str) -> Evidence:
    """Return the newest audit.

    Raises:
        Refused: there is none.
    """
    audit = latest_evidence(ledger, workload, "audit")
    if audit is None:
        raise Refused(
            f"{workload} was never audited, so there is nothing to decide on.",
            kept="everything; the phase is unchanged.",
            remedy=f"qafila run inventory-audit {workload}",
        )
    return audit


def decide(
    need: Need,
    how: str,
    audit: Evidence,
    *,
    seed: int,
    samples: int,
    embedders: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Cost every pattern, choose one, and return the body of the decision.

    ``how`` says how the need was measured. ``embedders`` is what was found of them on this corpus,
    for the record; None: nothing was.
    """
    book = load_price_book()
    assessments = assess_patterns(need, book, seed=seed, samples=samples)
    choice = choose(assessments, need)
    changes = what_would_change_our_mind(need, book, choice, seed=seed, samples=samples)
    return decision_record.evidence_body(
        need,
        book,
        assessments,
        choice,
        changes,
        context={
            "measured": how,
            "audit": _audit_lines(audit),
            "audit_evidence": audit.number,
            "embedders": embedders,
        },
        seed=seed,
        samples=samples,
    )


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


def keep_decision(
    ledger: Connection, workload: str, number: int, body: dict[str, Any], *, run_id: str | None
) -> int:
    """Keep the prices used and the decision as evidence; return the evidence's number."""
    store_prices(ledger, load_price_book(), datetime.now(UTC))
    return record_evidence(
        ledger,
        "decision",
        body["sentence"],
        workload=workload,
        generation=number,
        verdict=Verdict.FAIL if body["chosen"] is None else Verdict.PASS,
        body=body,
        run_id=run_id,
    )


def decision_request(
    ledger: Connection, workload: str, number: int, body: dict[str, Any], *, expires_s: float
) -> Question:
    """Return what to ask a person about the decision; a question that stands keeps its id."""
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
    approval_id, _ = open_question(ledger, decision_question(workload, number))
    spec, _ = read_workload(ledger, workload)
    return Question(
        approval_id,
        workload,
        number,
        subject=f"architecture of {workload} g{number}: {chosen['name']}",
        question=question,
        expires_s=expires_s,
        needed=approvers_needed(spec.criticality),
    )


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


def is_designed(generation: Generation) -> bool:
    """Tell whether the decision on this generation was approved before."""
    return Phase(generation.phase) not in (Phase.REGISTERED, Phase.AUDITED)
