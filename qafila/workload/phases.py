"""The phase table: the only place that says which phase may follow which.

A phase belongs to one *generation* of a workload: the next generation starts at
``registered`` while the one before it stays where its own migration ended.
"""

from __future__ import annotations

from enum import StrEnum

from qafila.errors import Refused


class Phase(StrEnum):
    """Where the migration of one generation stands."""

    REGISTERED = "registered"
    AUDITED = "audited"
    DESIGNED = "designed"
    BACKFILLING = "backfilling"
    BACKFILLED = "backfilled"
    VALIDATED = "validated"
    DRILLED = "drilled"
    CANARY = "canary"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    SETTLED = "settled"
    CLEANED = "cleaned"
    ABANDONED = "abandoned"


class Event(StrEnum):
    """What may move a phase."""

    AUDIT_ACCEPTED = "audit accepted"
    DECISION_APPROVED = "decision approved"
    PLAN_APPLIED = "preflight passed, plan applied"
    ALL_LOADED = "all shards loaded"
    RELOAD = "reload asked for"
    LADDER_PASS = "ladder PASS"
    DRILL_PASS = "drill PASS"
    FIRST_WEIGHT = "first weight written"
    STEP_PASS = "step PASS"
    BAKE_PASS = "bake PASS"
    ABORT = "abort"
    ROLLBACK = "rollback"
    SETTLE = "hold elapsed, approved"
    CLEAN_UP = "clean-up approved"
    CAUSE_RECORDED = "cause recorded"
    ADOPT = "adopted: it served before us"
    ABANDON = "abandoned before any user saw it"


TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    # inventory-audit
    (Phase.REGISTERED, Event.AUDIT_ACCEPTED): Phase.AUDITED,
    # a person, answering target-architecture's question
    (Phase.AUDITED, Event.DECISION_APPROVED): Phase.DESIGNED,
    # embedding-backfill, after preflight let it
    (Phase.DESIGNED, Event.PLAN_APPLIED): Phase.BACKFILLING,
    # embedding-backfill
    (Phase.BACKFILLING, Event.ALL_LOADED): Phase.BACKFILLED,
    # an operator: source and target differ, so the generation is emptied and loaded anew
    (Phase.BACKFILLING, Event.RELOAD): Phase.BACKFILLING,
    (Phase.BACKFILLED, Event.RELOAD): Phase.BACKFILLING,
    (Phase.VALIDATED, Event.RELOAD): Phase.BACKFILLING,
    (Phase.DRILLED, Event.RELOAD): Phase.BACKFILLING,
    # benchmark-validation
    (Phase.BACKFILLED, Event.LADDER_PASS): Phase.VALIDATED,
    # rollback-drill
    (Phase.VALIDATED, Event.DRILL_PASS): Phase.DRILLED,
    # canary-cutover
    (Phase.DRILLED, Event.FIRST_WEIGHT): Phase.CANARY,
    (Phase.CANARY, Event.STEP_PASS): Phase.CANARY,
    (Phase.CANARY, Event.BAKE_PASS): Phase.PROMOTED,
    # anyone: automation may always abort
    (Phase.CANARY, Event.ABORT): Phase.ROLLED_BACK,
    # an operator or an alarm, through rollback
    (Phase.CANARY, Event.ROLLBACK): Phase.ROLLED_BACK,
    (Phase.PROMOTED, Event.ROLLBACK): Phase.ROLLED_BACK,
    # a person
    (Phase.PROMOTED, Event.SETTLE): Phase.SETTLED,
    (Phase.SETTLED, Event.CLEAN_UP): Phase.CLEANED,
    (Phase.ROLLED_BACK, Event.CAUSE_RECORDED): Phase.BACKFILLED,
    # a person, who knows which model made the column that users meet already
    (Phase.REGISTERED, Event.ADOPT): Phase.SETTLED,
    # a person: no user has met this generation yet, and none will
    (Phase.REGISTERED, Event.ABANDON): Phase.ABANDONED,
    (Phase.AUDITED, Event.ABANDON): Phase.ABANDONED,
    (Phase.DESIGNED, Event.ABANDON): Phase.ABANDONED,
    (Phase.BACKFILLING, Event.ABANDON): Phase.ABANDONED,
    (Phase.BACKFILLED, Event.ABANDON): Phase.ABANDONED,
    (Phase.VALIDATED, Event.ABANDON): Phase.ABANDONED,
    (Phase.DRILLED, Event.ABANDON): Phase.ABANDONED,
}

# What causes each event; None: nothing does yet.
CAUSED_BY: dict[Event, str | None] = {
    Event.AUDIT_ACCEPTED: "qafila run inventory-audit",
    Event.DECISION_APPROVED: "an approval asked by qafila run target-architecture",
    Event.PLAN_APPLIED: "qafila run embedding-backfill",
    Event.ALL_LOADED: "qafila run embedding-backfill",
    Event.RELOAD: "qafila run embedding-backfill --set reload=true",
    Event.LADDER_PASS: "qafila run benchmark-validation",
    Event.DRILL_PASS: "qafila run rollback-drill",
    Event.FIRST_WEIGHT: "qafila run canary-cutover",
    Event.STEP_PASS: "qafila run canary-cutover",
    Event.BAKE_PASS: "qafila run canary-cutover",
    Event.ABORT: "qafila run canary-cutover, the watchdog",
    Event.ROLLBACK: "qafila rollback",
    Event.SETTLE: "qafila settle",
    Event.CLEAN_UP: "qafila clean-up --yes",
    Event.CAUSE_RECORDED: None,
    Event.ADOPT: "qafila adopt",
    Event.ABANDON: "qafila abandon",
}

# A generation in one of these is finished: migrating again opens the next generation.
ENDED = frozenset(
    {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.SETTLED, Phase.CLEANED, Phase.ABANDONED}
)


def next_phase(phase: Phase, event: Event) -> Phase:
    """Return the phase that ``event`` leads to.

    Raises:
        Refused: the table has no such arrow.
    """
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        allowed = ", ".join(f"{e.value!r}" for p, e in TRANSITIONS if p is phase) or "nothing"
        raise Refused(
            f"a generation in phase {phase.value!r} cannot take the event {event.value!r}.",
            kept="the phase is unchanged.",
            remedy=f"from {phase.value!r} these events are possible: {allowed}.",
        ) from None


# Which flow moves a generation on from a phase; a phase without one is where a migration ends.
STEP_FROM: dict[Phase, str] = {
    Phase.REGISTERED: "inventory-audit",
    Phase.AUDITED: "target-architecture",
    Phase.DESIGNED: "embedding-backfill",  # after preflight, which moves no phase
    Phase.BACKFILLING: "embedding-backfill",
    Phase.BACKFILLED: "benchmark-validation",
    Phase.VALIDATED: "rollback-drill",
    Phase.DRILLED: "canary-cutover",
}


def next_step(phase: Phase | None, *, preflight_passed: bool) -> str | None:
    """Return the flow to run next; None when this migration has reached its end.

    ``phase`` is that of the newest generation, None when there is none yet.
    """
    if phase is None:
        return STEP_FROM[Phase.REGISTERED]
    if phase is Phase.DESIGNED and not preflight_passed:
        return "preflight"
    return STEP_FROM.get(phase)
