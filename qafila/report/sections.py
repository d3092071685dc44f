"""What stands behind the first page: a section a phase, each with the tables that prove it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qafila.report import charts, rollout_tables
from qafila.report.facts import EvidenceRow, Facts
from qafila.report.rung_queries import systems
from qafila.report.tables import Table, pairs, table
from qafila.text.figures import (
    duration,
    milliseconds,
    moment,
    money,
    number,
    percent,
    size,
    text,
)
from qafila.validation.check_labels import rung_lines


@dataclass(frozen=True)
class Section:
    """One phase: the newest verdict of its kind, tables, lists and a picture.

    ``row`` is None when the phase has left no evidence; it then has no tables either. ``whole`` is
    the command that shows more.
    """

    id: str
    title: str
    row: EvidenceRow | None
    tables: tuple[Table, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()
    picture: tuple[str, str] | None = field(default=None)  # address, what it shows
    whole: str = ""


def sections(facts: Facts) -> list[Section]:
    """Return all phases in their order, also those that were not run."""
    order: Sequence[Callable[[Facts], Section]] = (
        _audit,
        _decision,
        _preflight,
        _backfill,
        _validation,
        _drill,
        _canary,
        _rollback,
    )
    return [build(facts) for build in order]


def _audit(facts: Facts) -> Section:
    body = facts.body("audit")
    currency = text(body.get("currency"))
    spend = body.get("spend_by_service") or {}
    tables = [
        table(
            f"Spend by service, {text(body.get('period'))}, {currency}; "
            f"{money(body.get('spend_total'))} in all",
            ("service", "amount"),
            ((name, money(amount)) for name, amount in _dearest(spend.items(), key=1)),
            1,
        ),
        table(
            "Findings",
            ("kind", "resource", "amount", "what"),
            (
                (text(f.get("kind")), text(f.get("resource")), _amount(f), text(f.get("sentence")))
                for key in ("findings", "billed_not_found", "found_not_billed")
                for f in body.get(key) or []
            ),
            2,
        ),
        table(
            "Collectors",
            ("collector", "region", "outcome", "resources", "calls", "missed"),
            (
                (
                    o["collector"],
                    text(o["region"]),
                    o["outcome"],
                    number(o["resources"])
                    if o["outcome"] == "complete"
                    else f"{number(o['resources'])} seen",
                    number(o["calls"]),
                    text(o["missed"]),
                )
                for o in facts.outcomes
            ),
            3,
            4,
        ),
        table(
            "Resources by kind",
            ("kind", "count", "size", "without a size"),
            (
                (kind, number(v.get("count")), size(v.get("bytes")), number(v.get("without_size")))
                for kind, v in sorted((body.get("volumes") or {}).get("by_kind", {}).items())
            ),
            1,
            2,
            3,
        ),
        table(
            "Need for AI, scored from signals",
            ("subject", "owner", "score", "signals seen", "still to ask"),
            (
                (
                    text(c.get("subject")),
                    text(c.get("owner")),
                    number(c.get("score"), 2),
                    percent(c.get("coverage"), 0),
                    "; ".join(c.get("ask") or []) or "–",
                )
                for c in body.get("ai_need") or []
            ),
            2,
            3,
        ),
    ]
    return _section("audit", "Audit", facts, "audit", tables)


def _decision(facts: Facts) -> Section:
    body = facts.body("decision")
    chosen = body.get("chosen")
    tables = [
        table(
            f"Patterns compared, {text(body.get('currency'))} a month, P50–P90",
            ("pattern", "compute, storage, topology", "P50", "P90", "memory", "lock-in", "why"),
            (
                (
                    text(p.get("name")),
                    ", ".join(text(p.get(k)) for k in ("compute", "storage", "topology")),
                    money(p.get("monthly_p50")),
                    money(p.get("monthly_p90")),
                    size(p.get("memory_bytes")),
                    text(p.get("lock_in")),
                    "chosen" if p.get("name") == chosen else text(p.get("rejected_because")),
                )
                for p in body.get("patterns") or []
            ),
            2,
            3,
            4,
        ),
        table(
            "Prices used",
            ("item", "amount", "unit", "as of", "source"),
            (
                (
                    text(p.get("item")),
                    f"{text(p.get('amount'))} {text(p.get('currency'))}",
                    text(p.get("unit")),
                    text(p.get("as_of")),
                    text(p.get("source")),
                )
                for p in body.get("prices") or []
            ),
            1,
            3,
        ),
    ]
    drawn = charts.monthly_costs(body.get("patterns") or [], chosen)
    return _section(
        "decision",
        "Architecture",
        facts,
        "decision",
        tables,
        lists=[("What would change our mind", body.get("what_would_change_our_mind") or [])],
        picture=None if drawn is None else (drawn, "Monthly cost of each pattern, P50 to P90"),
    )


def _preflight(facts: Facts) -> Section:
    asked = table(
        "Questions",
        ("question", "answer", "because", "what would answer it"),
        (
            (
                text(q.get("question")),
                text(q.get("answer")),
                text(q.get("because")),
                text(q.get("remedy")),
            )
            for q in facts.body("preflight").get("questions") or []
        ),
    )
    return _section("preflight", "Preflight", facts, "preflight", [asked])


def _backfill(facts: Facts) -> Section:
    body = facts.body("backfill")
    seconds, attempts = body.get("seconds"), body.get("attempts")
    resumed = " (resumed after a stop)" if body.get("resumed") else ""
    compared = pairs(
        "Source and target compared, row by row",
        [
            ("rows in the source", number(body.get("rows_source"))),
            ("rows in the target", number(body.get("rows_target"))),
            ("chunks", number(body.get("chunks"))),
            ("missing", number(body.get("missing"))),
            ("twice", number(body.get("duplicates"))),
            ("stale", number(body.get("stale"))),
            ("extra", number(body.get("extra"))),
            ("dead letters", number(body.get("dead_letters"))),
            ("digests equal", text(body.get("digests_equal"))),
            ("runs that loaded", f"{number(attempts)}{resumed}"),
            ("rows loaded by the last run", number(body.get("rows_loaded_by_this_run"))),
            ("time of the last run", duration(seconds)),
            ("rows a second", number(body.get("rows_per_s"))),
            ("of that building the index", duration(body.get("index_seconds"))),
            ("fingerprint of the generation", facts.fingerprint),
        ],
        body,
    )
    lists = [("Examples of what differs", body.get("examples") or [])]
    return _section("backfill", "Backfill", facts, "backfill", [compared], lists=lists)


def _validation(facts: Facts) -> Section:
    body = facts.body("validation")
    paired, verdicts = body.get("paired") or {}, body.get("verdicts") or {}
    rungs = table(
        "Rungs",
        ("rung", "verdict", "what was compared", "on", "what was found"),
        (
            (f"{line.number} {line.name}".strip(), line.verdict, line.compared, line.on, line.found)
            for line in rung_lines(body)
        ),
    )
    least = facts.spec.get("objectives", {}).get("ndcg_at_10", {}).get("at_least_delta", 0.0)
    drawn = charts.quality_intervals(paired, verdicts, least)
    return _section(
        "validation",
        "Validation",
        facts,
        "validation",
        [*systems(body), rungs],
        picture=None
        if drawn is None
        else (drawn, "Gain in nDCG@10 over the baseline with its 95 % interval"),
        whole=f"qafila report {facts.workload} --generation {facts.generation} --validation",
    )


def _drill(facts: Facts) -> Section:
    body = facts.body("drill")
    to_zero = ("until nobody met the canary", duration(body.get("seconds_to_zero")))
    measured = pairs("Measured at the client", rollout_tables.drill_lines(body, [to_zero]), body)
    certificates = table(
        "Certificates",
        ("number", "router", "versions", "time to zero", "failed", "issued", "expires", "evidence"),
        (
            (
                text(c["id"]),
                c["router"],
                ", ".join(f"{k} {v}" for k, v in c["versions"].items()),
                duration(c["seconds_to_zero"]),
                number(c["failed_requests"]),
                moment(c["issued_at"]),
                moment(c["expires_at"]),
                text(c["evidence_number"]),
            )
            for c in facts.certificates
        ),
        3,
        4,
    )
    return _section("drill", "Rollback drill", facts, "drill", [measured, certificates])


def _canary(facts: Facts) -> Section:
    body, rollout = facts.body("rollout"), facts.rollout
    tables = [
        table(
            f"Steps of {text(body.get('rollout'))}",
            ("step", "weight", "requests", "verdict", "why"),
            (
                (
                    text(s.get("step")),
                    f"{number(s.get('weight'))} %",
                    number(s.get("requests")),
                    text(s.get("verdict")),
                    text(s.get("sentence")),
                )
                for s in body.get("steps") or []
            ),
            1,
            2,
        ),
        pairs(
            "The rollout in all",
            [
                ("requests judged", number(body.get("requests"))),
                ("failed for their users", number(body.get("failed_requests"))),
                ("saved by a retry", number(body.get("saved_by_retry"))),
                ("baseline's p95 in the A/A bake", milliseconds(body.get("p95_ms"))),
                ("approvals", number(body.get("approvals"))),
                ("weight at the end", f"{number(body.get('final_weight'))} %"),
                ("took", duration(body.get("seconds"))),
            ],
            body,
        ),
    ]
    if rollout is not None:
        tables += [
            rollout_tables.weights(rollout),
            rollout_tables.kinds(rollout),
            rollout_tables.looks(rollout),
        ]
    name = "" if rollout is None else f" --rollout {rollout.rollout}"
    return _section(
        "canary",
        "Canary",
        facts,
        "rollout",
        tables,
        whole=f"qafila evidence export {facts.workload}{name}",
    )


def _rollback(facts: Facts) -> Section:
    rows = table(
        "Ways back",
        (
            "time",
            "from",
            "to",
            "acknowledged",
            "until zero",
            "requests since",
            "on the candidate",
            "verdict",
            "why",
        ),
        (
            (
                moment(r.recorded_at),
                f"{text(r.body.get('from_weight'))} %",
                f"{text(r.body.get('final_weight'))} %",
                duration(r.body.get("acknowledged_s")),
                duration(r.body.get("seconds_to_zero")),
                number(r.body.get("requests_after")),
                number(r.body.get("canary_requests_after")),
                text(r.verdict),
                text(r.body.get("why")),
            )
            for r in facts.evidence
            if r.kind == "rollback"
        ),
        1,
        2,
        3,
        4,
        5,
        6,
    )
    return _section("rollback", "Rollback", facts, "rollback", [rows])


def _section(
    id: str,
    title: str,
    facts: Facts,
    kind: str,
    tables: Iterable[Table],
    *,
    lists: Iterable[tuple[str, Iterable[str]]] = (),
    picture: tuple[str, str] | None = None,
    whole: str = "",
) -> Section:
    return Section(
        id=id,
        title=title,
        row=facts.latest(kind),
        tables=tuple(table for table in tables if table.rows),
        lists=tuple((name, lines) for name, given in lists if (lines := tuple(given))),
        picture=picture,
        whole=whole,
    )


def _amount(finding: Mapping[str, Any]) -> str:
    if finding.get("amount") is None:
        return "–"
    return f"{money(finding['amount'])} {text(finding.get('currency'))}"


def _dearest(items: Iterable[tuple[str, Any]], *, key: int) -> list[tuple[str, Any]]:
    return sorted(items, key=lambda item: float(item[key]), reverse=True)
