"""The six questions before anything is loaded, each answered from facts, or "no" with the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qafila.workload.model import Workload
from qafila.workload.router import Route53Router
from qafila.workload.verdict import Verdict


@dataclass(frozen=True)
class Certificate:
    """A drill's certificate as far as the questions need it."""

    generation: int
    seconds_to_zero: float
    expires: str
    valid: bool


@dataclass(frozen=True)
class Facts:
    """What is known: the workload file, the newest audit and decision, the router, a drill."""

    workload: Workload
    generation: int
    audit: Mapping[str, Any] | None
    decision: Mapping[str, Any] | None
    router_kind: str | None
    certificate: Certificate | None
    way_back_is_fed: bool = True  # False: to a column whose model nobody named, so nobody feeds it


@dataclass(frozen=True)
class Answer:
    """One question, yes or no, why, and for a no what would make it a yes."""

    key: str
    question: str
    answer: bool
    because: str
    remedy: str = ""


def ask_all(facts: Facts) -> tuple[Answer, ...]:
    """Answer the six questions, in the order in which an operator would mend them."""
    return (
        _workloads_mapped(facts),
        _cost_estimated(facts),
        _monitored(facts),
        _assessed(facts),
        _can_roll_back(facts),
        _skilled(facts),
    )


def verdict(answers: Sequence[Answer]) -> Verdict:
    """Return PASS when every answer is yes; a single no is FAIL."""
    return Verdict.PASS if all(a.answer for a in answers) else Verdict.FAIL


def sentence(answers: Sequence[Answer]) -> str:
    """Return one sentence with the count and, where there are any, the open questions."""
    open_keys = [a.key for a in answers if not a.answer]
    done = f"{len(answers) - len(open_keys)} of {len(answers)} questions answered yes"
    return f"{done}." if not open_keys else f"{done}; no: {', '.join(open_keys)}."


def _workloads_mapped(facts: Facts) -> Answer:
    key, question = "workloads", "Are the AI workloads mapped?"
    name, audit = facts.workload.name, facts.audit
    command = f"qafila run inventory-audit {name}"
    if audit is None:
        return Answer(key, question, False, f"{name} was never audited", command)
    collectors = dict(audit.get("collectors", {}))
    seen = [c for c, outcome in collectors.items() if outcome == "complete"]
    if collectors and not seen:
        return Answer(
            key,
            question,
            False,
            "no collector saw everything it looked at",
            f"grant read access to the collectors that were denied, then: {command}",
        )
    blind = sorted(set(collectors) - set(seen))
    needs = len(audit.get("ai_need", []))
    because = f"{audit.get('resources', 0)} resources audited, {needs} AI-need candidates"
    if blind:
        because += f"; not fully seen: {', '.join(blind)}"
    return Answer(key, question, True, because)


def _cost_estimated(facts: Facts) -> Answer:
    key = "cost"
    question = "Is the cost of GPU or inference estimated for the projected volumes?"
    command = f"qafila run target-architecture {facts.workload.name}"
    decision = facts.decision
    if decision is None or not decision.get("chosen"):
        return Answer(key, question, False, "no architecture was decided on", command)
    rows = {row["name"]: row for row in decision["patterns"]}
    chosen, currency = rows[decision["chosen"]], decision.get("currency", "")
    asked = decision.get("need", {}).get("queries_per_month")
    if asked != facts.workload.projection.queries_per_month:
        return Answer(
            key,
            question,
            False,
            f"the estimate is for {asked} queries a month, the workload file now projects "
            f"{facts.workload.projection.queries_per_month}",
            f"apply the former projection, or open the next generation and: {command}",
        )
    return Answer(
        key,
        question,
        True,
        f"{len(rows)} patterns costed for {asked:,} queries a month; {chosen['name']}: "
        f"{chosen['monthly_p50']}–{chosen['monthly_p90']} {currency} a month (P50–P90)",
    )


def _monitored(facts: Facts) -> Answer:
    key = "monitoring"
    question = "Is there a monitoring strategy for model traces and infrastructure?"
    monitoring = facts.workload.monitoring
    missing = [
        f"monitoring.{field}"
        for field, value in (("traces", monitoring.traces), ("metrics", monitoring.metrics))
        if not value
    ]
    if missing:
        return Answer(
            key,
            question,
            False,
            f"the workload file does not say {' and '.join(missing)}",
            f"set {' and '.join(missing)} in the workload file, then: qafila apply FILE",
        )
    return Answer(
        key, question, True, f"traces to {monitoring.traces}, metrics to {monitoring.metrics}"
    )


def _assessed(facts: Facts) -> Answer:
    key, question = "compliance", "Are GDPR and the law 09-08 (CNDP) assessed?"
    facts_of = facts.workload.compliance
    if facts_of.personal_data != "none":
        form = "F112 (prior authorisation)" if facts_of.personal_data == "sensitive" else "F211"
        return Answer(
            key,
            question,
            False,
            f"the corpus holds {facts_of.personal_data} personal data, and the ledger has no "
            f"register entry or CNDP form {form} for it",
            "file them and name their numbers as the reason of an override: "
            f"qafila run preflight {facts.workload.name} with override set",
        )
    places = ", ".join(facts_of.hosting)
    decision = facts.decision
    if decision is not None and decision.get("chosen"):
        chosen = next(r for r in decision["patterns"] if r["name"] == decision["chosen"])
        outside = [c for c in chosen.get("countries", []) if c not in facts_of.hosting]
        if outside:
            return Answer(
                key,
                question,
                False,
                f"the chosen architecture puts data in {', '.join(outside)}; allowed: {places}",
                f"add the country to compliance.hosting, or: qafila run target-architecture "
                f"{facts.workload.name}",
            )
    return Answer(
        key,
        question,
        True,
        f"no personal data declared; purpose: {facts_of.purpose}; data may be in {places}",
    )


def _can_roll_back(facts: Facts) -> Answer:
    key, question = "rollback", "Is there a rollback plan for each critical service?"
    router, rollout = facts.workload.service.router, facts.workload.rollout
    if facts.router_kind is None:
        return Answer(
            key,
            question,
            False,
            f"the router's connection {router.block!r} was never recorded",
            f"create the block {router.block!r} in the Prefect UI, then: qafila apply FILE",
        )
    if not facts.way_back_is_fed:
        name = facts.workload.name
        return Answer(
            key,
            question,
            False,
            "nobody said which model made the application's own column, so live sync cannot feed "
            "it: after a rollback, rows written since the cut-over have no vector in it, or that "
            "of their former text",
            f"qafila abandon {name} --why TEXT; name that model in corpus.embedder and apply; "
            f"qafila adopt {name} --by NAME; apply the new model again, and migrate. Or override "
            "it with the reason: the application feeds both columns, say",
        )
    above = " %, ".join(str(weight) for weight in rollout.approval_weights)
    because = (
        f"weights back to the baseline on {router.block} ({router.kind}), a person above "
        f"{above} %, old index kept {rollout.hold_hours:g} h"
    )
    if isinstance(router, Route53Router):
        because += f"; by DNS, so never sooner than {router.ttl_seconds} s"
    if facts.certificate is None:
        return Answer(key, question, True, f"{because}; to be drilled before the canary")
    c = facts.certificate
    state = "certificate until" if c.valid else "its certificate expired"
    drilled = f"drilled with generation {c.generation} in {c.seconds_to_zero:.2f} s"
    return Answer(key, question, True, f"{because}; {drilled}, {state} {c.expires}")


def _skilled(facts: Facts) -> Answer:
    key, question = "skills", "Are the skills there, and does every gap have a plan?"
    skills = facts.workload.skills
    missing = [
        f"skills.{field}"
        for field, people in (("ai", skills.ai), ("infrastructure", skills.infrastructure))
        if not any(p.strip() for p in people)
    ]
    unplanned = [g for g in skills.gaps if not g.partition(":")[2].strip()]
    if missing or unplanned:
        parts = [f"nobody is named under {m}" for m in missing]
        parts += [f"the gap {g!r} has no plan" for g in unplanned]
        return Answer(
            key,
            question,
            False,
            "; ".join(parts),
            "name who, and write each gap with its plan ('GPU operations: course in June'), in "
            "the workload file; then: qafila apply FILE",
        )
    gaps = f"; gaps with a plan: {len(skills.gaps)}" if skills.gaps else "; no gap declared"
    return Answer(
        key,
        question,
        True,
        f"AI: {', '.join(skills.ai)}; infrastructure: {', '.join(skills.infrastructure)}{gaps}",
    )
