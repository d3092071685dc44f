"""Draw a rollout's timeline: what happened, weights, bad answers, evidence and its thresholds.

Drawn on white, without script, so that it reads the same on a screen, at night and on paper. Lines
have a pattern beside their colour, so that a print in grey says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

import vl_convert

from qafila.report import canary_panels as panels
from qafila.report.canary_panels import KINDS, PROOFS, WIDTH, Clock

_BINS = 320  # looks that are drawn apart from one another
_E_LOW, _E_HIGH = 1e-4, 1e9  # what lies outside is drawn at the edge
_LETTER = 6.2  # pixels

Look = Mapping[str, Any]


@dataclass(frozen=True)
class Moment:
    """Something that happened at one time; ``kind`` is step, person, back or through."""

    at: datetime
    label: str
    kind: str = "step"


@dataclass(frozen=True)
class Span:
    """A time in which nothing was allowed to go up, and why."""

    start: datetime
    end: datetime
    label: str


def canary_timeline(
    looks: Sequence[Look],
    *,
    title: str,
    abort_at: float,
    promote_at: float,
    moments: Sequence[Moment] = (),
    holds: Sequence[Span] = (),
) -> str:
    """Return the timeline as SVG text; looks as the ledger stores them, in order.

    Panels over the time since the first look: what happened; the weight as asked, as acknowledged
    and as the traffic showed it; bad answers of each arm by kind; E(harm) of each kind and of the
    worst tenant, then the proofs that nothing is wrong, on logarithmic scales with their
    thresholds ``abort_at`` and ``promote_at``. Looks too close together to be drawn are put
    together: bad answers are summed, of e-values the greatest is drawn. What stayed at 1 is left
    off.
    """
    clock = Clock.of(
        [
            *(look["looked_at"] for look in looks),
            *(m.at for m in moments),
            *(t for h in holds for t in (h.start, h.end)),
        ],
        looks[0]["looked_at"] if looks else None,
    )
    together = _together(looks, clock)
    marks = _marks(moments, clock)
    bands = [{"x": clock.x(h.start), "x2": clock.x(h.end)} for h in holds]
    arms = {
        arm: [
            {"x": one["x"], "bad": bad, "what": kind}
            for one in together
            for kind in KINDS
            if (bad := one["counts"].get(arm, {}).get(kind, 0))
        ]
        for arm in ("candidate", "baseline")
    }
    kinds = [k for k in KINDS if any(bar["what"] == k for bars in arms.values() for bar in bars)]
    wide = max(2, min(8, WIDTH // max(1, len(together)) - 1))
    shown = [
        *([panels.moments_panel(marks, clock)] if marks else []),
        panels.weights_panel(_weights(looks, moments, clock), marks, bands, clock),
        panels.bad_panel(arms["candidate"], "bad, canary", kinds, wide, clock, named=True),
        panels.bad_panel(arms["baseline"], "baseline", kinds, wide, clock, named=False),
        panels.evidence_panel(
            _e_values(together, KINDS),
            "E(harm)",
            KINDS,
            [(f"back at {abort_at:,.0f}", abort_at)],
            clock,
            last=False,
        ),
        panels.evidence_panel(
            _e_values(together, PROOFS),
            "E(fine)",
            PROOFS,
            [(f"proof at {promote_at:,.0f}", promote_at)],
            clock,
            last=True,
        ),
    ]
    return str(vl_convert.vegalite_to_svg(panels.stacked(title, shown)))


def _together(looks: Sequence[Look], clock: Clock) -> list[dict[str, Any]]:
    """Return looks put together, at most ``_BINS`` of them, each with its ``x``."""
    bins: dict[int, list[Look]] = {}
    for n, look in enumerate(looks):
        place = n if len(looks) <= _BINS else int(clock.x(look["looked_at"]) / clock.end * _BINS)
        bins.setdefault(place, []).append(look)
    return [
        {
            "x": clock.x(one[-1]["looked_at"]),
            "counts": {arm: _summed(one, arm) for arm in ("baseline", "candidate")},
            "e": _greatest(one),
        }
        for one in bins.values()
    ]


def _summed(looks: Iterable[Look], arm: str) -> dict[str, int]:
    sums = dict.fromkeys(KINDS, 0)
    for look in looks:
        counted = look["counts"].get(arm) or {}
        for kind in KINDS:
            sums[kind] += int(counted.get(kind) or 0)
    return sums


def _greatest(looks: Iterable[Look]) -> dict[str, float]:
    e: dict[str, float] = {}
    for look in looks:
        for name, value in (look["e_values"] or {}).items():
            if isinstance(value, int | float) and isfinite(value):
                e[name] = max(e.get(name, 0.0), float(value))
    return e


def _weights(
    looks: Sequence[Look], moments: Sequence[Moment], clock: Clock
) -> list[dict[str, Any]]:
    """Return the weight's three lines; a way back ends what was asked at zero."""
    points: list[dict[str, Any]] = []
    every, before = max(1, len(looks) // _BINS), None
    for n, look in enumerate(looks):
        same, before = look["weight"] == before, look["weight"]
        if n % every and same and n + 1 < len(looks):
            continue
        values = {
            "asked": look["weight"],
            "acknowledged": look.get("acknowledged"),
            "seen": None if look["observed"] is None else 100 * look["observed"],
        }
        points += [
            {"x": clock.x(look["looked_at"]), "percent": value, "what": what}
            for what, value in values.items()
            if value is not None
        ]
    backs = [m for m in moments if m.kind == "back"]
    return points + [{"x": clock.x(m.at), "percent": 0, "what": "asked"} for m in backs]


def _e_values(
    together: Iterable[Mapping[str, Any]], known: Mapping[str, object]
) -> list[dict[str, Any]]:
    points = [
        {"x": one["x"], "E": min(max(value, _E_LOW), _E_HIGH), "what": name}
        for one in together
        for name, value in one["e"].items()
        if name in known
    ]
    moved = {p["what"] for p in points if abs(p["E"] - 1) > 1e-6}
    return [p for p in points if p["what"] in moved]


def _marks(moments: Sequence[Moment], clock: Clock) -> list[dict[str, Any]]:
    """Return moments in lanes, which keep their labels from lying over one another."""
    ends: list[float] = []
    marks = []
    for moment in sorted(moments, key=lambda m: m.at):
        at = clock.x(moment.at) / clock.end * WIDTH
        label = panels.one_line(moment.label)
        width = _LETTER * len(label) + 12
        left = at + width <= WIDTH
        begin = at if left else at - width
        lane = next((n for n, end in enumerate(ends) if end <= begin), len(ends))
        if lane == len(ends):
            ends.append(0.0)
        ends[lane] = begin + width
        marks.append(
            {
                "x": clock.x(moment.at),
                "lane": lane,
                "label": label,
                "kind": moment.kind,
                "left": left,
            }
        )
    return marks
