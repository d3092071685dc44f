"""Judge quality on shadow queries: pairs that come one by one, read as often as one likes.

A user's query is also asked of the candidate, whose answer nobody sees. Where the query is judged,
both answers have an nDCG@10; their difference lies in −1 … 1, and the bounds of its mean are a
betting confidence sequence (Waudby-Smith and Ramdas 2024): they hold at every look at once. How
many of the first ten answers stay is change, not quality: it is reported, and judged only against
an objective for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from qafila.statistics import sequences
from qafila.workload.verdict import Judgement, Verdict, worst

FEWEST = 20  # pairs before anything is said


@dataclass(frozen=True)
class Mean:
    """A mean with bounds that hold at every look at once; None before the first value."""

    values: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Shadow:
    """The shadow queries so far, and what they are held to.

    ``at_least_delta`` is the least mean of candidate minus baseline, in nDCG@10, and ``margin`` how
    far under it the mean must be proven to lie for a FAIL and may lie for a PASS: a loss that small
    is no loss. ``overlap_at_least`` is the least mean share of the first ten that must stay; None:
    change decides nothing. ``alpha`` bounds, for ever, the chance of one wrong verdict on each of
    the two.
    """

    at_least_delta: float = 0.0
    margin: float = 0.02
    overlap_at_least: float | None = None
    alpha: float = 0.05
    pairs: tuple[tuple[float, float], ...] = ()
    overlaps: tuple[float, ...] = ()

    def add(
        self,
        pairs: Iterable[tuple[float, float]] = (),
        overlaps: Iterable[float] = (),
    ) -> Shadow:
        """Return it with more queries: (baseline's, candidate's) nDCG@10, and overlap@10.

        All values lie in 0 … 1. A query without judgements has an overlap and no pair.
        """
        return replace(self, pairs=(*self.pairs, *pairs), overlaps=(*self.overlaps, *overlaps))

    def gain(self) -> Mean:
        """Return the mean gain in nDCG@10 with its bounds.

        Raises:
            ValueError: a value outside 0 … 1, or none.
        """
        differences = [candidate - baseline for baseline, candidate in self.pairs]
        return _mean(differences, (-1.0, 1.0), self.alpha)

    def overlap(self) -> Mean:
        """Return the mean overlap@10 with its bounds.

        Raises:
            ValueError: a value outside 0 … 1, or none.
        """
        return _mean(list(self.overlaps), (0.0, 1.0), self.alpha)

    def judge(self) -> Judgement:
        """Judge what was seen so far; the worse of quality and, with an objective, change.

        FAIL when the whole interval of the gain lies under ``at_least_delta − margin``, PASS when
        it lies above; INCONCLUSIVE otherwise and before ``FEWEST`` pairs. A FAIL cannot turn into
        a PASS: bounds only come closer.

        Raises:
            ValueError: a value outside 0 … 1, or none.
        """
        gain, overlap = self.gain(), self.overlap()
        judged = [_against(gain, self.at_least_delta - self.margin)]
        if self.overlap_at_least is not None:
            judged.append(_against(overlap, self.overlap_at_least))
        told = [
            f"nDCG@10 candidate − baseline {_told(gain, '+.3f')}, "
            f"at least {self.at_least_delta:+.3f} (margin {self.margin:g})"
        ]
        held = "" if self.overlap_at_least is None else f", at least {self.overlap_at_least:g}"
        told.append(f"overlap@10 {_told(overlap, '.2f')}{held or ', not judged'}")
        numbers = {"gain": _numbers(gain), "overlap_at_10": _numbers(overlap)}
        return Judgement(worst(judged), "; ".join(told) + ".", numbers)


def _mean(values: list[float], bounds: tuple[float, float], alpha: float) -> Mean:
    if not values:
        return Mean(0)
    low, high = sequences.confidence_sequence(values, bounds=bounds, alpha=alpha)
    return Mean(len(values), sum(values) / len(values), float(low[-1]), float(high[-1]))


def _against(mean: Mean, least: float) -> Verdict:
    if mean.low is None or mean.high is None or mean.values < FEWEST:
        return Verdict.INCONCLUSIVE
    if mean.high < least:
        return Verdict.FAIL
    return Verdict.PASS if mean.low > least else Verdict.INCONCLUSIVE


def _told(mean: Mean, form: str) -> str:
    if mean.mean is None:
        return "not measured"
    bounds = f"{mean.low:{form}} … {mean.high:{form}}"
    return f"{mean.mean:{form}} [{bounds}] on {mean.values} queries"


def _numbers(mean: Mean) -> dict[str, object]:
    return {"queries": mean.values, "mean": mean.mean, "low": mean.low, "high": mean.high}
