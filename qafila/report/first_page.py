"""The first page: one sentence, four numbers, and what could not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qafila.report.facts import EvidenceRow, Facts
from qafila.text import figures as wording
from qafila.text.figures import NOT_MEASURED
from qafila.workload.phases import Phase


@dataclass(frozen=True)
class Reading:
    """One value with its interval in words; either may be ``not measured``."""

    label: str
    value: str
    interval: str


@dataclass(frozen=True)
class Figure:
    """One of the four numbers: before, after, the difference line by line, the rows behind it."""

    name: str
    before: Reading
    after: Reading
    difference: tuple[str, ...]
    evidence: tuple[int, ...]


def sentence(facts: Facts) -> str:
    """Return what was moved and how it ended."""
    return f"{_subject(facts)} {_ending(facts)}"


def _subject(facts: Facts) -> str:
    corpus = facts.spec.get("corpus", {})
    embedder, target = corpus.get("embedder", {}), corpus.get("target", {})
    rows = facts.body("backfill").get("rows_target")
    table = corpus.get("source", {}).get("table")
    loaded = f"{wording.number(rows)} rows of {table}, " if rows is not None else ""
    return (
        f"Generation {facts.generation} of {facts.workload} ({loaded}{embedder.get('kind')} "
        f"{embedder.get('dimensions')} dimensions, in {target.get('kind')})"
    )


def _ending(facts: Facts) -> str:
    phase, since = facts.phase, wording.moment(facts.phase_since)
    rollout = facts.latest("rollout")
    if phase == Phase.ROLLED_BACK:
        return _way_back(facts, rollout)
    if phase in (Phase.PROMOTED, Phase.SETTLED, Phase.CLEANED):
        counted = "" if rollout is None else f"; {_users(rollout)} on the way up"
        now = {Phase.PROMOTED: "serves all users"}.get(Phase(phase), f"was promoted and is {phase}")
        return f"{now} since {since}{counted}."
    if phase == Phase.CANARY:
        looks = facts.rollout.looks if facts.rollout is not None else ()
        weight = looks[-1]["weight"] if looks else None
        share = "" if weight is None else f" with {weight} % of the users"
        return f"is on trial{share} since {since}; it has not ended yet."
    last = _last_judgement(facts)
    if last is not None and not last.holds:
        return f"has stopped at {last.kind}, {last.verdict}: {last.sentence}"
    onward = "" if facts.next_step is None else f"; next is {facts.next_step}"
    return f"is {phase} since {since}{onward}; it has not ended yet."


def _way_back(facts: Facts, rollout: EvidenceRow | None) -> str:
    back = facts.latest("rollback")
    seconds = facts.body("rollback").get("seconds_to_zero")
    took = "" if seconds is None else f", {wording.duration(seconds)} after the decision"
    why = str(facts.body("rollback").get("why") or "no cause is recorded").rstrip(".")
    if back is not None and back.verdict not in (None, "PASS"):
        return f"was to be taken back, which is not proven ({back.verdict}): {back.sentence}"
    if rollout is not None and rollout.verdict == "PASS":
        when = wording.moment(rollout.recorded_at)
        return (
            f"was promoted on {when}, {_users(rollout)} on the way up, and taken back to the "
            f"baseline{took}. Why: {why}."
        )
    weights = [w for w in (rollout.body.get("weights") or []) if w] if rollout else []
    tried = f"was tried on up to {max(weights)} % of the users and " if weights else "was "
    users = f"; {_users(rollout)}" if rollout else ""
    return f"{tried}taken back to the baseline{took}{users}. Why: {why}."


def _users(rollout: EvidenceRow) -> str:
    requests, failed = rollout.body.get("requests"), rollout.body.get("failed_requests")
    saved = rollout.body.get("saved_by_retry")
    retried = f" for their users ({wording.number(saved)} saved by a retry)" if saved else ""
    return f"{wording.number(failed)} of {wording.number(requests)} requests failed{retried}"


def _last_judgement(facts: Facts) -> EvidenceRow | None:
    phases = ("audit", "decision", "preflight", "backfill", "validation", "drill", "rollout")
    judged = [r for r in facts.evidence if r.kind in phases and r.verdict is not None]
    return judged[-1] if judged else None


def figures(facts: Facts) -> tuple[Figure, Figure, Figure, Figure]:
    """Return quality, latency, cost and the time to go back, in this order."""
    return _quality(facts), _latency(facts), _cost(facts), _way_back_time(facts)


def _systems(facts: Facts) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    systems = facts.body("validation").get("systems") or {}
    return systems.get("baseline") or {}, systems.get("candidate") or {}


def _quality(facts: Facts) -> Figure:
    body, (before, after) = facts.body("validation"), _systems(facts)
    pair = (body.get("paired") or {}).get("candidate") or {}
    gain = wording.number(pair.get("delta"), 3, sign=True)
    interval = wording.between(pair.get("ci_low"), pair.get("ci_high"), 3, sign=True)
    return Figure(
        name="Quality, nDCG@10",
        before=Reading("before, baseline", wording.number(before.get("ndcg_at_10"), 3), ""),
        after=Reading("after, candidate", wording.number(after.get("ndcg_at_10"), 3), ""),
        difference=(
            f"difference {gain}",
            f"95 %: {interval}",
            f"judged queries: {wording.number(pair.get('pairs'))}",
        )
        if pair
        else (f"difference {NOT_MEASURED}",),
        evidence=_numbers(facts, "validation"),
    )


def _latency(facts: Facts) -> Figure:
    before, after = (s.get("p95_ms") for s in _systems(facts))
    allowed = facts.spec.get("objectives", {}).get("latency_p95", {}).get("at_most_ratio")
    ratio = after / before if before and after is not None else None
    most = () if allowed is None else (f"at most {allowed:g} times is allowed",)
    return Figure(
        name="Latency, p95",
        before=Reading(
            "before, baseline", wording.milliseconds(before), f"interval {NOT_MEASURED}"
        ),
        after=Reading("after, candidate", wording.milliseconds(after), f"interval {NOT_MEASURED}"),
        difference=(f"ratio {NOT_MEASURED}",)
        if ratio is None
        else (f"{ratio:.2f} times the baseline's", *most),
        evidence=_numbers(facts, "validation"),
    )


def _cost(facts: Facts) -> Figure:
    decision = facts.body("decision")
    patterns = {p.get("name"): p for p in decision.get("patterns") or []}
    currency = str(decision.get("currency") or "")
    each = facts.body("validation").get("cost_per_1000_queries") or {}
    paid = [wording.money(each.get(name), places=6) for name in ("baseline", "candidate")]
    per_query = (
        f"per 1,000 queries {NOT_MEASURED}"
        if NOT_MEASURED in paid
        else f"per 1,000 queries {paid[0]} before, {paid[1]} after"
    )
    return Figure(
        name="Cost a month",
        before=_monthly("before, staying", patterns.get("stay"), currency),
        after=_monthly(
            f"after, {decision.get('chosen') or 'chosen'}",
            patterns.get(decision.get("chosen")),
            currency,
        ),
        difference=(per_query,),
        evidence=_numbers(facts, "decision", "validation"),
    )


def _monthly(label: str, pattern: Mapping[str, Any] | None, currency: str) -> Reading:
    if pattern is None:
        return Reading(label, NOT_MEASURED, "")
    p50, p90 = (wording.money(pattern.get(key)) for key in ("monthly_p50", "monthly_p90"))
    return Reading(label, f"{p50} {currency}", f"P50–P90 {p50}–{p90}, estimated")


def _way_back_time(facts: Facts) -> Figure:
    drill, back = facts.body("drill"), facts.body("rollback")
    flips = drill.get("flips")
    rehearsed = "" if flips is None else f"the slowest of {flips}, under load"
    if facts.latest("rollback") is None:
        needed = "it was not needed so far"
    else:
        needed = (
            f"from {wording.text(back.get('from_weight'))} % of the users; of "
            f"{wording.number(back.get('requests_after'))} requests since, "
            f"{wording.number(back.get('canary_requests_after'))} on the candidate"
        )
    certificate = facts.certificates[-1] if facts.certificates else None
    return Figure(
        name="Time to go back",
        before=Reading("rehearsed", wording.duration(drill.get("seconds_to_zero")), rehearsed),
        after=Reading("in earnest", wording.duration(back.get("seconds_to_zero")), needed),
        difference=("no certificate",)
        if certificate is None
        else (f"certificate until {wording.moment(certificate['expires_at'])}",),
        evidence=_numbers(facts, "drill", "rollback"),
    )


def _numbers(facts: Facts, *kinds: str) -> tuple[int, ...]:
    return tuple(row.number for kind in kinds if (row := facts.latest(kind)) is not None)


def unseen(facts: Facts) -> list[str]:
    """Return what nobody could see, so that nobody reads it as zero."""
    return [*_unseen_estate(facts), *_unseen_traffic(facts)]


def _unseen_estate(facts: Facts) -> list[str]:
    if facts.latest("audit") is None:
        return ["The account: no audit of this generation is in the ledger."]
    audit, lines = facts.body("audit"), []
    missed = {
        o["collector"]: o["missed"].removeprefix(f"{o['collector']}: ")
        for o in facts.outcomes
        if o["missed"]
    }
    notes = [str(n) for n in audit.get("notes") or []]
    for name, outcome in sorted((audit.get("collectors") or {}).items()):
        if outcome != "complete":
            why = f" ({missed[name]})" if name in missed else ""
            lines.append(f"Audit of {name}: {outcome}{why}. What it holds is unknown, not nothing.")
            notes = [n for n in notes if not n.startswith((f"{name} is ", f"{name} in "))]
    lines += [f"Audit: {note.rstrip('.')}." for note in notes]
    for found in audit.get("billed_not_found") or []:
        lines.append(
            f"Billed but not found: {found.get('resource')}, {wording.money(found.get('amount'))} "
            f"{found.get('currency') or audit.get('currency') or ''}."
        )
    for found in audit.get("found_not_billed") or []:
        lines.append(f"Found but not billed: {found.get('resource')}.")
    questions = sum(len(c.get("ask") or []) for c in audit.get("ai_need") or [])
    if questions:
        lines.append(f"{questions} questions about the need for AI wait for their owners' answer.")
    if audit.get("spend_total") is None:
        lines.append("Spend: no bill was read.")
    elif audit.get("period_closed") is False:
        lines.append(f"The bill of {audit.get('period')} is still open: its total will rise.")
    return lines


def _unseen_traffic(facts: Facts) -> list[str]:
    lines = []
    validation = facts.body("validation")
    if facts.latest("validation") is None:
        lines.append("Quality, latency and recall: not validated yet.")
    elif validation.get("recall_at_10") is None:
        lines.append("Recall@10 against exact search: not measured.")
    if facts.latest("drill") is None:
        lines.append("The way back: not rehearsed yet.")
    rollout = facts.latest("rollout")
    if rollout is None:
        lines.append("Real users: no rollout of this generation has ended.")
    else:
        thin = [
            s["step"]
            for s in rollout.body.get("steps") or []
            if "proved nothing" in str(s.get("sentence"))
        ]
        if thin:
            lines.append(
                f"The canary at {' and '.join(thin)}: too few requests to prove anything; it "
                "passed on exposure without harm."
            )
    return lines
