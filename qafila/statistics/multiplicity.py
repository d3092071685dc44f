"""Ask many questions of one run without more false alarms than one question has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qafila.statistics.intervals import RESAMPLES
from qafila.statistics.paired import PairedComparison, compare_paired


@dataclass(frozen=True)
class ClassComparison:
    """One class's comparison. Its interval holds together with those of all other classes.

    ``adjusted_p_value`` is Holm's, to be held against the level of the whole family.
    """

    comparison: PairedComparison
    adjusted_p_value: float


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values, in the order given (Holm, Scand. J. Statistics 1979).

    Calling those at or below α different keeps the chance of any false call at α, however the tests
    depend on each other. Never smaller than the raw p-value, and never in another order.

    Raises:
        ValueError: a p-value is not in [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("every p-value must lie in 0 to 1")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def simultaneous_confidence(confidence: float, intervals: int) -> float:
    """Return the confidence that each of so many intervals needs for all to hold together.

    Bonferroni: 1 − (1 − confidence) / intervals, whatever the dependence (Dunn, JASA 1961).

    Raises:
        ValueError: there is no interval, or confidence is not in (0, 1).
    """
    if intervals < 1 or not 0 < confidence < 1:
        raise ValueError("there must be an interval, and a confidence between 0 and 1")
    return 1 - (1 - confidence) / intervals


def compare_classes(
    classes: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> dict[str, ClassComparison]:
    """Compare candidate with baseline in every class (candidate's values first).

    Intervals are simultaneous by Bonferroni and p-values adjusted by Holm: with probability
    ``confidence`` every interval holds its class's difference. Classes come back as they came.

    Raises:
        ValueError: a class does not have the same, at least two, queries on both sides; all such
            classes are named.
    """
    unpaired = [name for name, (a, b) in classes.items() if len(a) != len(b) or len(a) < 2]
    if unpaired:
        raise ValueError(
            "the same two or more queries are needed on both sides of every class, not so in: "
            + ", ".join(unpaired)
        )
    if not classes:
        return {}
    each = simultaneous_confidence(confidence, len(classes))
    found = {
        name: compare_paired(*pair, seed=seed + 2 * n, confidence=each, resamples=resamples)
        for n, (name, pair) in enumerate(classes.items())
    }
    adjusted = holm([one.p_value for one in found.values()])
    return {
        name: ClassComparison(one, p)
        for (name, one), p in zip(found.items(), adjusted, strict=True)
    }
