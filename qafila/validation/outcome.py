"""From the findings of the rungs to one outcome.

A FAIL stops the climb: what is wrong below would spoil every measurement above. So does an ERROR,
since what cannot be measured on one rung cannot be on the next. An INCONCLUSIVE does not: the
operator sees everything that can be known in one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qafila.validation.judge_common import judge_arm
from qafila.validation.model import Finding, NotApplicable, Rung
from qafila.workload.verdict import Judgement, Verdict

Climbed = Finding | NotApplicable
CANDIDATE = "candidate"
_DETAIL_ROWS = 20  # the evidence is for people; all rows are for the data itself


def stops(found: Climbed) -> bool:
    """Say whether the climb ends here."""
    return isinstance(found, Finding) and found.judgement.verdict in (Verdict.FAIL, Verdict.ERROR)


@dataclass(frozen=True)
class Outcome:
    """Everything that one climb found, in the order it was climbed."""

    climbed: Sequence[Climbed]

    @property
    def findings(self) -> list[Finding]:
        """Return the rungs that were measured."""
        return [f for f in self.climbed if isinstance(f, Finding)]

    @property
    def not_reached(self) -> list[Rung]:
        """Return the rungs above the one that stopped the climb."""
        seen = {f.rung for f in self.climbed}
        return [r for r in Rung if r not in seen] if self.stopped_at is not None else []

    @property
    def stopped_at(self) -> Rung | None:
        """Return the rung that ended the climb early; None when it went to the top."""
        return next((f.rung for f in self.climbed if stops(f)), None)

    @property
    def judgement(self) -> Judgement:
        """Return the verdict about the candidate: the worst of its rungs, by their sentences."""
        return judge_arm(CANDIDATE, [f.judgement for f in self.findings])

    @property
    def verdict(self) -> Verdict:
        """Return the verdict about the candidate."""
        return self.judgement.verdict

    @property
    def sentence(self) -> str:
        """Return the sentence that an operator reads."""
        return self.judgement.sentence

    @property
    def verdicts(self) -> dict[str, Judgement]:
        """Return one judgement a system that was compared with the baseline."""
        names = dict.fromkeys(name for f in self.findings for name in f.others)
        others = {
            name: judge_arm(name, [f.others[name] for f in self.findings if name in f.others])
            for name in names
        }
        return {**others, CANDIDATE: self.judgement}

    def finding(self, rung: Rung) -> Finding | None:
        """Return what a rung found; None when it was not measured."""
        return next((f for f in self.findings if f.rung is rung), None)

    def body(self) -> dict[str, Any]:
        """Return what the evidence keeps."""
        merged: dict[str, Any] = {}
        for finding in self.findings:
            merged |= finding.figures
        merged |= {"systems": _with_latencies(merged)}
        return {
            "queries": 0,
            "systems": {},
            "paired": {},
            "recall_at_10": None,
            "recall_ci": None,
            "recall_queries": 0,
            "cost_per_1000_queries": {},
            **merged,
            "verdicts": {name: j.verdict.value for name, j in self.verdicts.items()},
            "rungs": {f.rung.value: _kept(f) for f in self.findings},
            "not_applicable": {
                f.rung.value: f.because for f in self.climbed if isinstance(f, NotApplicable)
            },
            "not_reached": [r.value for r in self.not_reached],
        }


def _with_latencies(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the systems with their times under load, where that was measured, instead of those
    that they had while quality was judged."""
    loaded = figures.get("latency", {}).get("systems", {})
    return {s: {**arm, **loaded.get(s, {})} for s, arm in figures.get("systems", {}).items()}


def _kept(finding: Finding) -> dict[str, Any]:
    return {
        "verdict": finding.judgement.verdict.value,
        "sentence": finding.judgement.sentence,
        "compared": finding.compared,
        "on": finding.on,
        "smallest_effect": finding.smallest_effect,
        "parts": {
            name: {"verdict": j.verdict.value, "sentence": j.sentence}
            for name, j in finding.parts.items()
        },
        "details": [
            # the ledger's JSON forgets the order of keys
            {
                "caption": d.caption,
                "columns": list(d.rows[0]) if d.rows else [],
                "rows": [dict(r) for r in d.rows[:_DETAIL_ROWS]],
                "of": len(d.rows),
            }
            for d in finding.details
        ],
        "series": {name: [dict(p) for p in points] for name, points in finding.series.items()},
        "seconds": round(finding.seconds, 2),
    }
