"""Beyond the first page: recall@100 on a sample, and whether a service keeps its answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from qafila.statistics.paired import PairedComparison, compare_paired
from qafila.statistics.ranking_metrics import mean, recall_at_k
from qafila.validation.judged import Answer, JudgedQuery, both_measured
from qafila.validation.load_test.caching_rule import Caching, judge_caching, shuffled_words
from qafila.validation.questions import Arm
from qafila.validation.suite import Climb

DEEP, SHALLOW = 100, 10
_REPEATED = 20  # questions asked again
_BOTH = ("baseline", "candidate")


@dataclass(frozen=True)
class Deep:
    """recall@k on a sample; ``k`` is 100, or 10 where a service gives no more."""

    k: int
    queries: int
    baseline: float | None
    candidate: float | None
    comparison: PairedComparison | None


def ask_deep(climb: Climb) -> Deep | None:
    """Ask a sample of the judged queries for 100 results; None when none is to be asked.

    Asked for on its own, because a service may answer a request for more in another way: what it
    is judged by stays the first page as users get it.
    """
    chosen = _sample([q for q in climb.queries if q.judged], climb.options.deep_queries, climb)
    if not chosen:
        return None
    answers = {}
    with ExitStack() as stack:
        arms = dict(
            zip(
                _BOTH,
                (stack.enter_context(climb.baseline()), stack.enter_context(climb.candidate())),
                strict=True,
            )
        )
        k = DEEP if all(_goes_deep(arm, chosen[:3]) for arm in arms.values()) else SHALLOW
        for name, arm in arms.items():
            answers[name] = [arm.ask(q.text, k) for q in chosen]
    recalls = {name: _recalls(chosen, answers[name], k) for name in _BOTH}
    pair = both_measured(recalls["candidate"], recalls["baseline"])
    return Deep(
        k,
        len(pair[0]),
        mean(recalls["baseline"]),
        mean(recalls["candidate"]),
        compare_paired(*pair, seed=climb.options.seed) if len(pair[0]) > 1 else None,
    )


def _goes_deep(arm: Arm, queries: Sequence[JudgedQuery]) -> bool:
    """Say whether the service answers a request for 100 with more than it gives anyway."""
    return any(len(arm.ask(q.text, DEEP).ranking or ()) > SHALLOW for q in queries)


def _recalls(
    queries: Sequence[JudgedQuery], answers: Sequence[Answer], k: int
) -> list[float | None]:
    return [
        None if a.ranking is None else recall_at_k(a.ranking, q.grades, k)
        for q, a in zip(queries, answers, strict=True)
    ]


def look_for_caches(climb: Climb) -> dict[str, Caching]:
    """Time questions that were asked before against the same words in an order never asked."""
    turned = [(q.text, t) for q in climb.queries if (t := shuffled_words(q.text)) is not None]
    chosen = random.Random(climb.options.seed).sample(turned, min(_REPEATED, len(turned)))
    found = {}
    with ExitStack() as stack:
        for name, arm in (
            ("baseline", stack.enter_context(climb.baseline())),
            ("candidate", stack.enter_context(climb.candidate())),
        ):
            repeated, fresh = [], []
            for number, (old, new) in enumerate(chosen):
                arm.ask(old, SHALLOW)  # in any case asked before, and the pages are in memory
                order = (old, new) if number % 2 else (new, old)
                times = {text: arm.ask(text, SHALLOW) for text in order}
                if all(a.ranking is not None for a in times.values()):
                    repeated.append(times[old].ms)
                    fresh.append(times[new].ms)
            found[name] = judge_caching(repeated, fresh)
    return found


def _sample(queries: Sequence[JudgedQuery], size: int, climb: Climb) -> list[JudgedQuery]:
    return random.Random(climb.options.seed).sample(list(queries), min(size, len(queries)))
