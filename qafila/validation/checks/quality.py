"""Rung 6: judged queries, answered by the baseline, by vectors alone and by the candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from qafila.endpoints import open_source
from qafila.ledger.ledger import open_ledger
from qafila.statistics.paired import compare_paired
from qafila.statistics.ranking_metrics import mean
from qafila.validation import judge_common as judging
from qafila.validation.checks.depth import ask_deep, look_for_caches
from qafila.validation.checks.judge_quality import JudgedQuality, judge_system
from qafila.validation.checks.side_by_side import side_by_side
from qafila.validation.judged import QueryScores, both_measured, measure_arm, query_scores
from qafila.validation.known_item_rules import LABEL
from qafila.validation.known_items import fetch_documents
from qafila.validation.load_test.caching_rule import Caching
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.query_groups import QueryGroup, group_queries
from qafila.validation.questions import CHALLENGERS, SYSTEMS
from qafila.validation.suite import Climb, check
from qafila.workload.verdict import Judgement, Verdict

_LISTED = 20  # ids in a table for people; the evidence has them all, up to:
_KEPT = 1000
_RESAMPLES = 2000  # of what is shown and decides nothing


@check(Rung.QUALITY, "judge answers")
def judge_quality(climb: Climb) -> Climbed:
    """Judge nDCG@10 of the candidate and of vectors alone minus the baseline's, query by query."""
    queries, answers, objectives = climb.queries, climb.answers, climb.workload.objectives
    scores = {s: query_scores(queries, answers[s]) for s in SYSTEMS}
    arms = {s: measure_arm(queries, answers[s]) for s in SYSTEMS}
    errors = {s: judging.judge_errors(s, arms[s], objectives.error_rate.at_most) for s in SYSTEMS}
    groups = group_queries(queries)
    judged = {
        name: judge_system(
            name,
            scores[name].ndcg_at_10,
            scores["baseline"].ndcg_at_10,
            groups,
            {f"errors of {s}": errors[s] for s in ("baseline", name)},
            at_least_delta=objectives.ndcg_at_10.at_least_delta,
            effect=climb.options.quality_effect,
            seed=climb.options.seed,
        )
        for name in CHALLENGERS
    }
    unjudged = [q.query_id for q in queries if not q.judged]
    with open_ledger() as ledger, open_source(ledger, climb.workload) as source:
        documents = sorted({d for q in queries for d in q.grades})
        unknown = _not_there(documents, set(fetch_documents(source, documents)))
        worst = side_by_side(source, queries, answers["baseline"], answers["candidate"])
    candidate = judged["candidate"]
    measured = candidate.comparison is not None
    deep = ask_deep(climb) if measured else None
    caches = look_for_caches(climb) if measured else {}
    generated = climb.workload.judged_table is None
    return Finding(
        Rung.QUALITY,
        _with_notes(candidate.judgement, documents, unknown, unjudged, generated, caches),
        compared="nDCG@10 of every judged query with the baseline's"
        + (f" ({LABEL})" if generated else ""),
        on=f"{len(queries):,} {'generated known-item ' if generated else ''}queries",
        smallest_effect=candidate.smallest_effect,
        parts=candidate.parts,
        others={n: j.judgement for n, j in judged.items() if n != "candidate"},
        details=[
            *([Detail("Where the candidate lost most", worst)] if worst else ()),
            *_group_table(groups, scores, candidate),
            *_listed("Judged documents that the source does not have: never found", unknown),
            *_listed("Queries without a relevant document: not judged", unjudged),
        ],
        figures={
            "queries": len(queries),
            "systems": {name: asdict(arm) for name, arm in arms.items()},
            "paired": {n: asdict(j.comparison) for n, j in judged.items() if j.comparison},
            "quality": {
                "judged_by": LABEL if generated else "judged queries",
                "metrics": _metrics(scores, climb.options.seed) if measured else {},
                "groups": [g.row() for g in candidate.groups],
                "deep": None if deep is None else asdict(deep),
                "caching": {s: asdict(c) for s, c in caches.items()},
                "queries_without_judgement": unjudged[:_KEPT],
                "unknown_documents": unknown[:_KEPT],
                "worst_queries": worst,
            },
        },
    )


def _not_there(asked: Sequence[str], there: set[str]) -> list[str]:
    return [d for d in asked if d not in there]


def _with_notes(
    judged: Judgement,
    documents: Sequence[str],
    unknown: Sequence[str],
    unjudged: Sequence[str],
    generated: bool,
    caches: Mapping[str, Caching],
) -> Judgement:
    """Return the judgement with what a reader must know beside it.

    Judgements of which the source has no document at all are in another form than its keys: no
    system could find any, and all would look equal. That is not a PASS.
    """
    notes = [f"By {LABEL}."] if generated else []
    if unknown:
        named = ", ".join(unknown[:3]) + ("" if len(unknown) <= 3 else ", …")
        notes.append(
            f"{len(unknown):,} of {len(documents):,} judged documents are not in the source "
            f"({named}) and count as never found."
        )
    if unjudged:
        named = ", ".join(unjudged[:3]) + ("" if len(unjudged) <= 3 else ", …")
        notes.append(f"{len(unjudged):,} queries have no relevant document ({named}).")
    notes += [
        f"The {system} seems to keep its answers: asked again it took "
        f"{c.repeated_ms:.1f} ms, asked anew {c.fresh_ms:.1f} ms."
        for system, c in caches.items()
        if c.cached
    ]
    verdict = judged.verdict
    if documents and len(unknown) == len(documents) and verdict is Verdict.PASS:
        verdict = Verdict.INCONCLUSIVE
    numbers = {**judged.numbers, "unknown_documents": len(unknown), "unjudged": len(unjudged)}
    return Judgement(verdict, " ".join([judged.sentence, *notes]), numbers)


def _metrics(scores: Mapping[str, QueryScores], seed: int) -> dict[str, dict[str, object]]:
    """Return each metric's paired comparison with the baseline, by challenger."""
    return {
        name: {
            metric: asdict(
                compare_paired(
                    *both_measured(getattr(scores[name], metric), getattr(base, metric)),
                    seed=seed,
                    resamples=_RESAMPLES,
                )
            )
            for metric in ("mrr", "recall_at_10")
        }
        for base in [scores["baseline"]]
        for name in CHALLENGERS
        if len(both_measured(scores[name].mrr, base.mrr)[0]) > 1
    }


def _group_table(
    groups: Sequence[QueryGroup], scores: Mapping[str, QueryScores], judged: JudgedQuality
) -> list[Detail]:
    """Return one row a class or language: what both systems reached in it."""
    verdicts = {g.group.name: g for g in judged.groups}
    rows = []
    for group in groups:
        found = verdicts.get(group.name)
        row: dict[str, object] = {
            "queries of": group.name,
            "number": len(group.members),
            "verdict": "–" if found is None else found.judgement.verdict.value,
        }
        for title, metric in (
            ("nDCG@10", "ndcg_at_10"),
            ("MRR", "mrr"),
            ("recall@10", "recall_at_10"),
        ):
            cells = []
            for system in ("baseline", "candidate"):
                values = getattr(scores[system], metric)
                value = mean([values[n] for n in group.members])
                cells.append("–" if value is None else f"{value:.3f}")
            row[f"{title}, baseline → candidate"] = " → ".join(cells)
        rows.append(row)
    return [Detail("By class and language", rows)] if rows else []


def _listed(caption: str, ids: Sequence[str]) -> list[Detail]:
    if not ids:
        return []
    more = len(ids) - _LISTED
    rows = [{"id": i} for i in ids[:_LISTED]] + ([{"id": f"… and {more} more"}] if more > 0 else [])
    return [Detail(caption, rows)]
