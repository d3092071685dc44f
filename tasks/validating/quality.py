"""Rung 6: judged queries, answered by the baseline, by vectors alone and by the candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from qafila.core.judged import (
    Change,
    both_measured,
    measure_arm,
    ndcg_scores,
    worst_changes,
)
from qafila.core.ladder import judging
from qafila.core.ladder.climb import Climbed
from qafila.core.ladder.rungs import Detail, Finding, Rung
from qafila.core.statistics import PairedComparison, compare_paired
from qafila.core.verdict import Judgement, Verdict
from tasks.validating.asking import CHALLENGERS, SYSTEMS
from tasks.validating.climb import Climb, rung

_WORST = 15


@rung(Rung.QUALITY, "judge answers")
def judge_quality(climb: Climb) -> Climbed:
    """Judge nDCG@10 of the candidate and of vectors alone minus the baseline's, query by query."""
    queries, answers = climb.queries, climb.answers
    objectives = climb.workload.objectives
    arms = {s: measure_arm(queries, answers[s]) for s in SYSTEMS}
    scores = {s: ndcg_scores(queries, answers[s]) for s in SYSTEMS}
    paired: dict[str, PairedComparison] = {}
    judged: dict[str, dict[str, Judgement]] = {}
    for name in CHALLENGERS:
        most = objectives.error_rate.at_most
        parts = {s: judging.judge_errors(s, arms[s], most) for s in ("baseline", name)}
        judged[name] = {f"errors of {s}": j for s, j in parts.items()}
        if any(j.verdict is Verdict.ERROR for j in parts.values()):
            continue  # what is left after errors is no fair sample: nothing more is judged
        pair = both_measured(scores[name], scores["baseline"])
        if len(pair[0]) < judging.FEWEST_QUERIES:
            judged[name]["nDCG@10"] = judging.too_few(name, len(pair[0]))
            continue
        paired[name] = compare_paired(*pair, seed=climb.options.seed)
        judged[name]["nDCG@10"] = judging.judge_quality(
            name, paired[name], objectives.ndcg_at_10.at_least_delta
        )
    verdicts = {n: judging.judge_arm(n, list(parts.values())) for n, parts in judged.items()}
    worst = worst_changes(queries, answers["baseline"], answers["candidate"], _WORST)
    return Finding(
        Rung.QUALITY,
        verdicts.pop("candidate"),
        compared="nDCG@10 of every judged query with the baseline's",
        on=f"{len(queries)} queries",
        smallest_effect=""
        if "candidate" not in paired
        else f"a difference in nDCG@10 of {paired['candidate'].smallest_effect:.3f} (80 % power)",
        parts=judged["candidate"],
        others=verdicts,
        details=[Detail("Where the candidate lost most", lost_rows(worst))] if worst else (),
        figures={
            "queries": len(queries),
            "systems": {name: asdict(arm) for name, arm in arms.items()},
            "paired": {name: asdict(pair) for name, pair in paired.items()},
        },
    )


def lost_rows(changes: Sequence[Change]) -> list[dict[str, object]]:
    """Return one row a query, for a person to judge."""
    return [
        {
            "query": change.query.text,
            "known answer": ", ".join(change.query.grades),
            "nDCG@10 lost": f"{-change.delta:.3f}",
            "baseline's first three": ", ".join(change.baseline[:3]),
            "candidate's first three": ", ".join(change.candidate[:3]),
        }
        for change in changes
    ]
