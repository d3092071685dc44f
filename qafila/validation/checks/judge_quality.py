"""Rung 6 decides: is the candidate as good on judged queries, as a whole and in every class?

The whole is judged by the interval of its mean difference. A class or a language cannot make a PASS
of it, but can spoil one: FAIL when its interval, simultaneous over all groups, lies below what is
tolerated and Holm's p-value agrees. A group of too few queries is reported with the number that
would do, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from qafila.statistics.multiplicity import compare_classes, simultaneous_confidence
from qafila.statistics.paired import PairedComparison, compare_paired, smallest_effect
from qafila.statistics.sample_sizes import pairs_needed
from qafila.validation.judge_common import FEWEST_QUERIES, judge_quality
from qafila.validation.judged import both_measured
from qafila.validation.query_groups import QueryGroup
from qafila.workload.verdict import Judgement, Verdict, worst

ALPHA = 0.05
# of 30 queries with rare great losses 7 % pass by interval where 2.5 % may (bench judge-offline)
FEWEST_TO_PASS = 100
_NAMED = 3  # groups in a sentence
_MANY = 1_000_000  # more queries than this nobody judges

Scores = Sequence[float | None]


@dataclass(frozen=True)
class JudgedGroup:
    """One class or language. ``comparison`` is None where its queries were too few to compare.

    ``needed`` is how many queries would show the effect that was asked for, from the group's own
    spread; None where it has enough.
    """

    group: QueryGroup
    pairs: int
    judgement: Judgement
    comparison: PairedComparison | None = None
    adjusted_p_value: float | None = None
    needed: int | None = None

    def row(self) -> dict[str, object]:
        """Return what the evidence keeps."""
        c = self.comparison
        return {
            "by": self.group.by,
            "value": self.group.value,
            "derived": self.group.derived,
            "queries": self.pairs,
            "verdict": self.judgement.verdict.value,
            "delta": None if c is None else c.delta,
            "ci": None if c is None else [c.ci_low, c.ci_high],
            "adjusted_p_value": self.adjusted_p_value,
            "needed": self.needed,
        }


@dataclass(frozen=True)
class JudgedQuality:
    """The verdict on one system against the baseline, and what it is made of."""

    judgement: Judgement
    parts: Mapping[str, Judgement]
    comparison: PairedComparison | None = None
    groups: Sequence[JudgedGroup] = field(default_factory=tuple)

    @property
    def smallest_effect(self) -> str:
        """Return the least difference that this run could have seen, in words."""
        if self.comparison is None:
            return ""
        told = f"a difference in nDCG@10 of {self.comparison.smallest_effect:.3f} on all queries"
        effects = [g.comparison.smallest_effect for g in self.groups if g.comparison is not None]
        if effects:
            told += f", of {max(effects):.3f} in every class and language that was judged"
        return f"{told} (80 % power)"


def judge_system(
    name: str,
    candidate: Scores,
    baseline: Scores,
    groups: Sequence[QueryGroup],
    errors: Mapping[str, Judgement],
    *,
    at_least_delta: float,
    effect: float,
    seed: int,
) -> JudgedQuality:
    """Judge nDCG@10 of a system minus the baseline's, query by query; ``errors`` come first.

    After too many errors nothing is judged: what is left is no fair sample.
    """
    if any(j.verdict is Verdict.ERROR for j in errors.values()):
        return JudgedQuality(_worst_of(list(errors.values())), errors)
    new, old = both_measured(candidate, baseline)
    if len(new) < FEWEST_QUERIES:
        whole = too_few(name, new, old, effect)
        return JudgedQuality(_worst_of([*errors.values(), whole]), {**errors, "nDCG@10": whole})
    comparison = compare_paired(new, old, seed=seed)
    whole = judge_whole(name, comparison, np.subtract(new, old), at_least_delta)
    judged = judge_groups(
        groups, candidate, baseline, tolerated=min(0.0, at_least_delta), effect=effect, seed=seed
    )
    failed = [g for g in judged if g.judgement.verdict is Verdict.FAIL]
    verdict = worst(
        [whole.verdict, *(j.verdict for j in errors.values()), *(Verdict.FAIL for _ in failed)]
    )
    return JudgedQuality(
        Judgement(verdict, _sentence(name, whole, judged, failed), whole.numbers),
        {**errors, "nDCG@10": whole, **{g.group.name: g.judgement for g in judged}},
        comparison,
        judged,
    )


def judge_whole(
    name: str, comparison: PairedComparison, difference: np.ndarray, at_least_delta: float
) -> Judgement:
    """Judge all queries together; INCONCLUSIVE says how many would decide.

    No PASS on fewer than ``FEWEST_TO_PASS`` queries: a sample that small often holds none of the
    rare great losses that decide, and its interval then promises what it cannot keep.
    """
    judged = judge_quality(name, comparison, at_least_delta)
    if judged.verdict is Verdict.PASS and comparison.pairs < FEWEST_TO_PASS:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"{judged.sentence.removesuffix('.')}; but {comparison.pairs:,} judged queries can "
            f"miss rare great losses: a PASS takes {FEWEST_TO_PASS}.",
            {**judged.numbers, "needed": FEWEST_TO_PASS},
        )
    if judged.verdict is not Verdict.INCONCLUSIVE:
        return judged
    distance = abs(comparison.delta - at_least_delta)
    needed = _needed(distance, float(difference.std(ddof=1)))
    told = (
        f"about {max(needed, comparison.pairs + 1):,} judged queries would decide, if it stays so."
        if needed is not None
        else "so near to it that no number of queries decides: tolerate more, or less."
    )
    sentence = judged.sentence.removesuffix("more judged queries would decide.") + told
    return Judgement(judged.verdict, sentence, {**judged.numbers, "needed": needed})


def too_few(name: str, new: Sequence[float], old: Sequence[float], effect: float) -> Judgement:
    """Say that a system cannot be judged on so few queries, and how many would do."""
    difference = np.subtract(new, old)
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    needed = max(FEWEST_QUERIES, _needed(effect, spread) or 0)
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{name}: {len(new):,} judged queries with both answers are too few; {needed:,} are needed "
        f"to show a difference of {effect:g} in nDCG@10.",
        {"pairs": len(new), "at_least": FEWEST_QUERIES, "needed": needed},
    )


def judge_groups(
    groups: Sequence[QueryGroup],
    candidate: Scores,
    baseline: Scores,
    *,
    tolerated: float,
    effect: float,
    seed: int,
) -> list[JudgedGroup]:
    """Judge every group that has queries enough; intervals and p-values hold for all together."""
    pairs = {
        g: both_measured([candidate[n] for n in g.members], [baseline[n] for n in g.members])
        for g in groups
    }
    large = {g.name: pairs[g] for g in groups if len(pairs[g][0]) >= FEWEST_QUERIES}
    compared = compare_classes(large, seed=seed)
    alpha = ALPHA / max(1, len(groups))
    everything = np.subtract(*both_measured(candidate, baseline))
    judged = []
    for group in groups:
        difference = np.subtract(*pairs[group])
        own = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
        spread = own or (float(everything.std(ddof=1)) if len(everything) > 1 else 0.0)
        needed = max(FEWEST_QUERIES, _needed(effect, spread, alpha=alpha) or 0)
        found = compared.get(group.name)
        if found is None:
            judged.append(_too_small(group, len(difference), needed))
            continue
        c, p = found.comparison, found.adjusted_p_value
        # the effect that shows at the level of one among several
        c = PairedComparison(
            c.pairs,
            c.delta,
            c.ci_low,
            c.ci_high,
            c.p_value,
            smallest_effect(difference, alpha=1 - simultaneous_confidence(1 - ALPHA, len(large))),
        )
        short = needed if c.pairs < needed else None
        judged.append(
            JudgedGroup(group, c.pairs, _judge_group(group, c, p, tolerated, short), c, p, short)
        )
    return judged


def _judge_group(
    group: QueryGroup, c: PairedComparison, p: float, tolerated: float, needed: int | None
) -> Judgement:
    numbers = {
        "pairs": c.pairs,
        "delta": c.delta,
        "ci_low": c.ci_low,
        "ci_high": c.ci_high,
        "adjusted_p_value": p,
        "smallest_effect": c.smallest_effect,
        "tolerated": tolerated,
        "needed": needed,
    }
    said = (
        f"{group.name}: nDCG@10 minus the baseline's is {c.delta:+.3f} "
        f"({c.ci_low:+.3f}…{c.ci_high:+.3f}, Holm's p {_p(p)}) on {c.pairs:,} queries"
    )
    if c.ci_high < tolerated and p <= ALPHA:
        return Judgement(Verdict.FAIL, f"{said}, worse than is tolerated ({tolerated:g}).", numbers)
    if c.ci_low >= tolerated:
        return Judgement(Verdict.PASS, f"{said}.", numbers)
    more = f"; {needed:,} would show a difference as asked for" if needed else ""
    return Judgement(Verdict.INCONCLUSIVE, f"{said}: no loss shown, none ruled out{more}.", numbers)


def _too_small(group: QueryGroup, pairs: int, needed: int) -> JudgedGroup:
    said = f"{group.name}: {pairs:,} queries are too few, {needed:,} are needed."
    judgement = Judgement(Verdict.INCONCLUSIVE, said, {"pairs": pairs, "needed": needed})
    return JudgedGroup(group, pairs, judgement, needed=needed)


def _sentence(
    name: str, whole: Judgement, judged: Sequence[JudgedGroup], failed: Sequence[JudgedGroup]
) -> str:
    told = [f"{name}: {g.judgement.sentence}" for g in failed[:_NAMED]]
    # a loss of all together comes first; a class is news where the whole does not tell of it
    told = [whole.sentence, *told] if whole.verdict is Verdict.FAIL else [*told, whole.sentence]
    # classes that we made up ourselves are in the parts, and worth no sentence at night
    small = [g for g in judged if g.comparison is None and not g.group.derived]
    if small:
        named = ", ".join(
            f"{g.group.name} ({g.pairs:,}, {g.needed:,} needed)" for g in small[:_NAMED]
        )
        more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
        told.append(f"Too few queries to judge: {named}{more}.")
    return " ".join(told)


def _worst_of(parts: Sequence[Judgement]) -> Judgement:
    verdict = worst(p.verdict for p in parts)
    told = " ".join(p.sentence for p in parts if p.verdict is verdict)
    deciding = next((p for p in parts if p.verdict is verdict), None)
    return Judgement(verdict, told, {} if deciding is None else deciding.numbers)


def _needed(effect: float, spread: float, *, alpha: float = ALPHA) -> int | None:
    """Return how many pairs show the effect with 80 % power; None: more than anybody judges."""
    if spread <= 0:
        return 2
    if effect <= 0 or (3 * spread / effect) ** 2 > _MANY:
        return None
    return pairs_needed(effect, spread, alpha=alpha)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
