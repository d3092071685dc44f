"""Drift: what is dearer, slower or worse than when it was promoted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx
import psycopg
from psycopg import sql

from qafila.connections.settings import PostgresConnection
from qafila.decision import drift_rules as core
from qafila.decision.choice import choose
from qafila.decision.drift_rules import Finding, Floors, LineItem, PeriodSpend, Quote, Sample
from qafila.decision.patterns import assess_patterns
from qafila.decision.steps import load_price_book, measure_workload, newest_prices, store_prices
from qafila.errors import QafilaError, Refused
from qafila.ledger.certificates import newest_certificate
from qafila.ledger.connections import connection
from qafila.ledger.evidence import Evidence, evidence_of, latest_evidence, record_evidence
from qafila.ledger.ledger import Connection, list_workloads, read_workload
from qafila.ledger.promoted import serving_generation
from qafila.sql import statement
from qafila.statistics.ranking_metrics import ndcg_at_k
from qafila.text.foreign_text import markdown_text
from qafila.workload.model import Workload
from qafila.workload.verdict import Verdict

K = 10
GIVE_UP_AFTER = 3  # unanswered queries in a row: the service is down, the rest would say the same


@dataclass(frozen=True)
class Query:
    """One judged query with all its relevant keys and grades."""

    text: str
    grades: Mapping[str, float]


# --- ports -------------------------------------------------------------------------------------


def sample_queries(
    source: psycopg.Connection[Any], table: str, *, queries: int, seed: int
) -> list[Query]:
    """Return a fixed sample of judged queries: the same seed, the same queries."""
    text = sql.SQL(statement("drift", "sample_queries")).format(
        table=sql.Identifier(*table.split("."))
    )
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for query_id, words, relevant, grade in source.execute(
        text, {"seed": str(seed), "queries": queries}
    ):
        found.setdefault(str(query_id), (words, {}))[1][str(relevant)] = float(grade)
    return [Query(words, grades) for words, grades in found.values()]


def measure_service(url: str, queries: Sequence[Query], *, seconds: float) -> Sample:
    """Ask the service the queries, one at a time, for at most ``seconds``.

    A query that is not answered counts as failed, not as zero; after three in a row it stops.
    """
    ndcg: list[float] = []
    latencies: list[float] = []
    failed = in_a_row = 0
    end = time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=2.0) as client:
        for query in queries:
            if time.monotonic() >= end or in_a_row >= GIVE_UP_AFTER:
                break
            started = time.perf_counter()
            try:
                answer = client.get("/search", params={"q": query.text, "k": K})
                answer.raise_for_status()
                ranking = [str(r["id"]) for r in answer.json()["results"]]
            except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError):
                failed, in_a_row = failed + 1, in_a_row + 1
                continue
            latencies.append((time.perf_counter() - started) * 1000)
            in_a_row = 0
            if (value := ndcg_at_k(ranking, query.grades, K)) is not None:
                ndcg.append(value)
    return Sample(tuple(ndcg), tuple(latencies), failed)


def audited_spend(audits: Sequence[Evidence]) -> list[PeriodSpend]:
    """Return what audits say was spent, in the currency of each audit; a bill may hold several
    periods. An audit without a bill is left out."""
    found = []
    for audit in audits:
        body = audit.body
        currency = str(body.get("currency") or "")
        rows = [
            (row["period"], row.get("amount"), row.get("state") == "closed")
            for row in body.get("periods") or ()
            if row.get("currency") == currency and row.get("period") != body.get("period")
        ]
        rows.append((body.get("period"), body.get("spend_total"), bool(body.get("period_closed"))))
        for period, amount, closed in rows:
            total = _decimal(amount)
            if total is None or not period:
                continue
            own = period == body.get("period")
            found.append(
                PeriodSpend(
                    period=str(period),
                    closed=closed,
                    currency=currency,
                    total=total,
                    audited_on=audit.recorded_at.astimezone(UTC).date(),
                    items=_line_items(body.get("spend_by_service")) if own else None,
                )
            )
    return found


def _line_items(entries: object) -> tuple[LineItem, ...] | None:
    """Read spend by service: a list of rows, or amounts by name; None when there is none."""
    if isinstance(entries, Mapping):
        entries = [{"service": k, "amount": v} for k, v in entries.items()]
    if not isinstance(entries, list) or not entries:
        return None
    items = []
    for row in entries:
        cost = _decimal(row.get("amount"))
        name = row.get("service") or row.get("subject") or row.get("item")
        if cost is None or not name:
            return None
        items.append(
            LineItem(str(name), cost, _decimal(row.get("quantity")), str(row.get("unit") or ""))
        )
    return tuple(items)


def _decimal(value: object) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None


# --- findings ----------------------------------------------------------------------------------


def workloads_to_check(ledger: Connection, workload: str | None) -> list[str]:
    """Return the one workload asked for, or every one that was applied.

    Raises:
        Refused: the one asked for was never applied.
    """
    if workload is None:
        return list_workloads(ledger)
    return [read_workload(ledger, workload)[0].name]


def check_prices(ledger: Connection, absolute: str, relative: float) -> Finding:
    """Compare today's price book with the ledger's newest snapshot, then keep today's."""
    book = load_price_book()
    today = [Quote(p.item, p.unit, p.currency, p.amount) for p in book.prices.values()]
    before = [Quote(p.item, p.unit, p.currency, p.amount) for p in newest_prices(ledger)]
    store_prices(ledger, book, datetime.now(UTC))
    return core.compare_prices(before, today, Floors(Decimal(absolute), Decimal(str(relative))))


def check_spend(ledger: Connection, workload: str, absolute: str, relative: float) -> Finding:
    """Compare the newest closed period with those before it, from the audits' evidence."""
    audits = evidence_of(ledger, workload, "audit", limit=50)
    return core.compare_spend(
        audited_spend(audits), Floors(Decimal(absolute), Decimal(str(relative)))
    )


def check_forecast(ledger: Connection, workload: str, today: datetime) -> Finding:
    """Forecast what paid calls, and an open bill of this month, will come to."""
    month = f"{today:%Y-%m}"
    since = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    spec, _ = read_workload(ledger, workload)
    paid = ledger.execute(
        statement("drift", "paid_this_month"), {"workload": workload, "since": since}
    ).fetchall()
    periods = audited_spend(evidence_of(ledger, workload, "audit", limit=50))
    lines: list[str] = []
    numbers: dict[str, object] = {}
    alerts: list[core.Alert] = []
    for currency, spent in paid:
        ends = core.forecast(Decimal(spent), today.date())
        lines.append(f"paid calls: {spent} {currency} so far, {ends} by month's end")
        numbers[f"paid_calls_{currency}"] = str(ends)
        budget = Decimal(str(spec.budget.monthly))
        if currency == spec.budget.currency and ends > budget:
            alerts.append(
                core.Alert("forecast", f"{lines[-1]}; the budget is {budget}", dict(numbers))
            )
    current = [p for p in periods if not p.closed and p.period.startswith(month)]
    if current:
        newest = max(current, key=lambda p: p.audited_on)
        ends = core.forecast(newest.total, newest.audited_on)
        lines.append(
            f"open bill of {newest.period}: {newest.total} {newest.currency} when audited on "
            f"{newest.audited_on}, {ends} by month's end"
        )
        numbers[f"bill_{newest.currency}"] = str(ends)
    if not lines:
        lines = ["nothing to forecast: no paid call and no open bill this month"]
    return Finding("forecast", bool(numbers), tuple(lines), tuple(alerts), numbers)


def check_certificate(
    ledger: Connection, workload: str, warn_hours: float, now: datetime
) -> Finding:
    """Say how long the newest rollback certificate holds."""
    row = newest_certificate(ledger, workload)
    return core.check_certificate(
        None if row is None else row["expires_at"],
        now,
        warn_hours=warn_hours,
        drilled=None if row is None else row["generation"],
        serving=serving_generation(ledger, workload),
    )


def check_decision(workload: str, decided: Evidence | None) -> Finding:
    """Choose an architecture again on today's prices and volumes; say if it would change.

    ``decided``: the newest decision on the workload.
    """
    if decided is None or decided.body.get("chosen") is None:
        return core.compare_decision(None, None, "")
    try:
        need, _ = measure_workload(workload)
    except (QafilaError, psycopg.Error) as error:
        why = f"not compared: the corpus could not be measured ({type(error).__name__})"
        return Finding("decision", False, (why,))
    body = decided.body
    again = choose(
        assess_patterns(need, load_price_book(), seed=body["seed"], samples=body["samples"]), need
    )
    now = None if again.chosen is None else again.chosen.pattern.name
    return core.compare_decision(body["chosen"], now, again.sentence)


def check_service(
    ledger: Connection, workload: str, queries: int, seconds: float, seed: int
) -> list[Finding]:
    """Ask the candidate service a bounded sample of judged queries; compare with the promotion."""
    spec, _ = read_workload(ledger, workload)
    serving = serving_generation(ledger, workload)
    if serving is None:
        none = ("nothing to compare yet: no generation is promoted",)
        return [Finding("quality", False, none), Finding("latency", False, none)]
    validated = latest_evidence(ledger, workload, "validation", generation=serving)
    promised = {} if validated is None else validated.body.get("systems", {}).get("candidate", {})
    sample, why = _sample(ledger, spec, queries, seconds, seed)
    found = [
        core.compare_quality(promised.get("ndcg_at_10"), sample),
        core.compare_latency(
            promised.get("p95_ms"), sample, ratio=spec.objectives.latency_p95.at_most_ratio
        ),
    ]
    if why:
        return [Finding(f.subject, False, (why,)) for f in found]
    return found


def _sample(
    ledger: Connection, spec: Workload, queries: int, seconds: float, seed: int
) -> tuple[Sample | None, str]:
    """Return the sample, or why there is none: a broken probe is not bad quality."""
    if spec.judged_table is None:
        return None, "not measured: nobody has judged queries for it"
    block, table = spec.judged_table
    try:
        with connection(ledger, block, PostgresConnection).connect() as source:
            judged = sample_queries(source, table, queries=queries, seed=seed)
    except (QafilaError, psycopg.Error) as error:
        return None, f"not measured: no judged queries could be read ({type(error).__name__})"
    sample = measure_service(spec.service.candidate.url, judged, seconds=seconds)
    if judged and not sample.latencies_ms:
        return None, f"not measured: {spec.service.candidate.url} did not answer"
    return sample, ""


# --- the night ---------------------------------------------------------------------------------


def keep_night(
    ledger: Connection, workload: str, findings: Sequence[Finding], run_id: str | None
) -> Verdict:
    """Write the night's evidence; return its verdict."""
    verdict = night_verdict(findings)
    record_evidence(
        ledger,
        "nightly",
        night_sentence(findings),
        workload=workload,
        generation=serving_generation(ledger, workload),
        verdict=verdict,
        body={
            "findings": [asdict(f) for f in findings],
            "alerts": [asdict(a) for a in alerts_of(findings)],
        },
        run_id=run_id,
    )
    return verdict


def require_quality(verdicts: Mapping[str, Verdict]) -> None:
    """Refuse to call a night good in which quality fell.

    Raises:
        Refused: quality of a workload fell past its floors; names each.
    """
    fallen = [name for name, verdict in verdicts.items() if verdict is Verdict.FAIL]
    if fallen:
        raise Refused(
            f"quality fell since promotion: {', '.join(fallen)}.",
            kept="everything; traffic was not touched.",
            remedy=" or ".join(f"qafila rollback {name}" for name in fallen)
            + ", after a look at the artifact `nightly`.",
        )


def alerts_of(findings: Sequence[Finding]) -> list[core.Alert]:
    """Return the alerts of all findings."""
    return [a for f in findings for a in f.alerts]


def night_verdict(findings: Sequence[Finding]) -> Verdict:
    """Return FAIL when quality fell, INCONCLUSIVE when nothing could be compared, else PASS."""
    if any(a.kind == "quality" for f in findings for a in f.alerts):
        return Verdict.FAIL
    return Verdict.PASS if any(f.compared for f in findings) else Verdict.INCONCLUSIVE


def night_sentence(findings: Sequence[Finding]) -> str:
    """Return one sentence: how many comparisons, how many alerts, what could not be compared."""
    compared = [f for f in findings if f.compared]
    missing = [f.subject for f in findings if not f.compared]
    alerts = sum(len(f.alerts) for f in findings)
    plural = "" if alerts == 1 else "s"
    text = f"{len(compared)} of {len(findings)} comparisons made, {alerts} alert{plural}"
    return f"{text}; not compared: {', '.join(missing)}." if missing else f"{text}."


def markdown(workload: str, findings: Sequence[Finding]) -> str:
    """Return the night as a page: alerts first, then every subject."""
    alerts = alerts_of(findings)
    lines = [f"# Night of {workload}", "", f"**{markdown_text(night_sentence(findings))}**", ""]
    lines += [*(f"- ⚠ {markdown_text(a.sentence)}" for a in alerts), ""] if alerts else []
    for finding in findings:
        lines += [f"## {markdown_text(finding.subject)}", ""]
        lines += [*(f"- {markdown_text(line)}" for line in finding.lines), ""]
    return "\n".join(lines)
