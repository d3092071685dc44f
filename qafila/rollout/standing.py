"""Where a running canary stands, as one line of a screen needs it. Pure: counts and looks in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from qafila.rollout.judge.guardrails import Limits
from qafila.rollout.judge.sample_plan import requests_to_prove
from qafila.rollout.plan import Step, StepKind
from qafila.workload.model import Rollout

PROOFS = ("fine", "under")


class Doing(StrEnum):
    """What a rollout is at."""

    JUDGING = "judging"
    HOLDING = "judging, held until weights may rise"
    LEADERLESS = "nobody leads it"


class Safety(StrEnum):
    """What the evidence of harm says so far; ``BLIND``: the last look saw nothing."""

    SAFE = "safe"
    SUSPECT = "under suspicion"
    HARM = "harm proven"
    BLIND = "not seen at the last look"


@dataclass(frozen=True)
class SoFar:
    """The looks of one rollout put together; ``requests_per_s`` is that of the newest looks."""

    rollout: str
    began_at: datetime
    looked_at: datetime
    looks: int
    step: str
    weight: int
    verdict: str
    sentence: str
    e_values: Mapping[str, float]
    baseline_requests: int
    baseline_bad: int
    candidate_requests: int
    candidate_bad: int
    requests_per_s: float | None

    @property
    def requests(self) -> int:
        return self.baseline_requests + self.candidate_requests


@dataclass(frozen=True)
class Next:
    """The step after the present one; ``seconds`` is about what it takes if nothing is wrong.

    ``weight`` is 100 for the bake, None when the pointer row moves next.
    """

    weight: int | None
    after_approval: bool
    must_prove: bool
    requests: int | None
    seconds: float | None


@dataclass(frozen=True)
class Standing:
    """A running canary in numbers: what it does, how safe it is, what comes next."""

    so_far: SoFar
    doing: Doing
    safety: Safety
    e_harm: float
    e_harm_of: str | None
    abort_at: float
    e_fine: float
    promote_at: float
    next: Next


def standing(
    so_far: SoFar,
    *,
    led: bool,
    held: bool,
    steps: Sequence[Step],
    rollout: Rollout,
    limits: Limits,
) -> Standing:
    """Return where a rollout stands; ``led``: its lease is alive, ``held``: hours or a freeze."""
    harm = {k: v for k, v in so_far.e_values.items() if k not in PROOFS}
    worst = max(harm, key=lambda k: harm[k]) if harm else None
    e_harm = harm[worst] if worst is not None else 1.0
    if so_far.verdict == "ERROR":
        safety = Safety.BLIND
    elif e_harm >= limits.abort_at:
        safety = Safety.HARM
    else:
        safety = Safety.SUSPECT if e_harm >= limits.promote_at else Safety.SAFE
    return Standing(
        so_far=so_far,
        doing=Doing.LEADERLESS if not led else Doing.HOLDING if held else Doing.JUDGING,
        safety=safety,
        e_harm=e_harm,
        e_harm_of=worst if e_harm > 1 else None,
        abort_at=limits.abort_at,
        e_fine=max([so_far.e_values.get(k, 1.0) for k in PROOFS]),
        promote_at=limits.promote_at,
        next=_next(so_far, steps, rollout, limits),
    )


def _next(so_far: SoFar, steps: Sequence[Step], rollout: Rollout, limits: Limits) -> Next:
    names = [s.name for s in steps]
    place = names.index(so_far.step) if so_far.step in names else None
    if place is None:  # a step that this plan does not know: by its weight
        after = next((s for s in steps if s.weight > so_far.weight), None)
        asks = False
    else:
        after = steps[place + 1] if place + 1 < len(steps) else None
        asks = steps[place].asks_before_next
    if after is None:
        return Next(None, asks, False, None, None)
    needed: float = rollout.minimum_requests
    if after.must_prove and after.kind is StepKind.WEIGHT:
        bad = so_far.baseline_bad + so_far.candidate_bad
        rate = (bad + 0.5) / (so_far.requests + 1)
        needed = max(needed, requests_to_prove(after.weight / 100, rate, limits))
    seconds = needed / so_far.requests_per_s if so_far.requests_per_s else None
    if seconds is not None and after.kind is StepKind.BAKE:
        seconds = max(seconds, rollout.bake_seconds)
    finite = math.isfinite(needed)
    return Next(
        weight=after.weight,
        after_approval=asks,
        must_prove=after.must_prove,
        requests=math.ceil(needed) if finite else None,
        seconds=None if seconds is None or not finite else round(seconds, 1),
    )
