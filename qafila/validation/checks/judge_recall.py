"""What a search by the index found of what is there, filter by filter: shares, and verdicts.

A share is one query's: of the k nearest by looking at every row, how many the index found. Rows as
near as the last of them count as well, whichever was found: scores that are equal have no order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import NormalDist
from typing import Literal

from qafila.statistics.intervals import mean_share
from qafila.statistics.ranking_metrics import mean, percentile
from qafila.workload.verdict import Judgement, Verdict

TIE = 1e-6  # scores that differ by less are equal: the order of float32 sums
Scores = Mapping[tuple[str, int], float]
"""Cosine similarity of every hit, by source key and chunk number."""

Kind = Literal["all", "group", "value", "drawn"]


@dataclass(frozen=True)
class Filter:
    """What narrows a search: its name, how many of how many rows it leaves.

    ``drawn``: nobody here filters like that, so it informs and does not decide.
    """

    name: str
    kind: Kind
    rows: int
    of: int

    @property
    def percent(self) -> str:
        """Return the share of rows in percent, three figures."""
        return f"{100 * self.rows / self.of:.3g} %" if self.of else "no row"


@dataclass(frozen=True)
class Reached:
    """What searches under one filter found; times in milliseconds.

    ``scanned``: the store looks at every row that the filter leaves. ``foreign`` are hits that
    cannot be: nearer than what the filter leaves, so it was not applied.
    """

    filter: Filter
    shares: Sequence[float]
    times_ms: Sequence[float] = ()
    exact_ms: Sequence[float] = ()
    scanned: bool = False
    foreign: Sequence[tuple[str, int]] = ()

    @property
    def recall(self) -> float | None:
        """Return the mean share; None when no query could be compared."""
        return mean(self.shares)

    @property
    def p50_ms(self) -> float | None:
        """Return the median time of a search."""
        return percentile(self.times_ms, 0.5)

    @property
    def exact_p50_ms(self) -> float | None:
        """Return the median time of looking at every row."""
        return percentile(self.exact_ms, 0.5)


@dataclass(frozen=True)
class Setting:
    """A way to look harder: its name, how to choose it, and what it reached."""

    name: str
    remedy: str
    shares: Sequence[float]
    p50_ms: float | None = None


@dataclass(frozen=True)
class Interval:
    """A mean share with its interval."""

    mean: float
    low: float
    high: float
    queries: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f}…{self.high:.3f}, {self.queries:,} queries)"


def share_found(truth: Scores, found: Scores, k: int) -> float | None:
    """Return which share of the k nearest was found; None when there is nothing to find."""
    if not truth:
        return None
    last = min(truth.values()) if len(truth) >= k else float("-inf")
    good = sum(place in truth or score >= last - TIE for place, score in found.items())
    return min(1.0, good / len(truth))


def foreign_hits(truth: Scores, found: Scores, k: int) -> list[tuple[str, int]]:
    """Return hits that looking at every row would have had to find, and did not.

    Of fewer than k that there are, every other hit is one; else those that are clearly nearer than
    the last: by ten times what rounding does.
    """
    last = min(truth.values()) if len(truth) >= k else float("-inf")
    return [p for p, score in found.items() if p not in truth and score > last + 10 * TIE]


def interval_of(shares: Sequence[float], *, of: int, seed: int) -> Interval | None:
    """Return the mean with an interval that holds for ``of`` of them together at 95 %."""
    if not shares:
        return None
    low, high = mean_share(shares, seed=seed, confidence=1 - 0.05 / max(1, of))
    return Interval(mean(shares) or 0.0, low, high, len(shares))


def queries_needed(shares: Sequence[float], at_least: float, *, of: int) -> int | None:
    """Return how many queries in all would likely decide; None when no number is in sight.

    For a mean apart from the objective the interval has to be as narrow as their distance, and its
    width falls with the root of the number. Where all shares are equal, Wilson's interval decides.
    """
    if not shares:
        return None
    average, n = mean(shares) or 0.0, len(shares)
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, of))
    if min(shares) == max(shares):
        return ceil(z * z * at_least / (1 - at_least)) + 1 if average == 1 > at_least else None
    distance = abs(average - at_least)
    if distance < 1e-3:
        return None
    variance = sum((s - average) ** 2 for s in shares) / max(1, n - 1)
    return max(n + 1, ceil(1.2 * z * z * variance / distance**2))


def judge_filter(reached: Reached, at_least: float, *, of: int, seed: int) -> Judgement:
    """Judge the recall under one filter by its whole interval; ``of`` filters are judged at once.

    A filter that was drawn, or leaves no row to find, decides nothing.
    """
    what, found = reached.filter, interval_of(reached.shares, of=of, seed=seed)
    numbers: dict[str, object] = {
        "rows": what.rows,
        "of": what.of,
        "kind": what.kind,
        "scanned": reached.scanned,
        "p50_ms": reached.p50_ms,
        "exact_p50_ms": reached.exact_p50_ms,
        "at_least": at_least,
        "queries": len(reached.shares),
    }
    if reached.foreign:
        shown = ", ".join(f"{key} ({number})" for key, number in reached.foreign[:3])
        return Judgement(
            Verdict.FAIL,
            f"{what.name}: search returned {len(reached.foreign):,} rows that this filter "
            f"excludes, as {shown}: it is not applied.",
            numbers,
        )
    if found is None:
        return Judgement(Verdict.INCONCLUSIVE, f"{what.name}: no query could be compared.", numbers)
    numbers |= {"recall_at_10": found.mean, "ci_low": found.low, "ci_high": found.high}
    said = f"{what.name} ({what.rows:,} rows, {what.percent}): recall@10 {found}"
    if reached.scanned and found.mean == 1.0:
        return Judgement(
            Verdict.PASS, f"{said}; the store looks at every one of these rows.", numbers
        )
    if found.low >= at_least:
        return Judgement(Verdict.PASS, f"{said}.", numbers)
    if what.kind == "drawn":
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"{said}: below {at_least:g} or near it; nobody filters like this here today, so it "
            "decides nothing.",
            numbers,
        )
    if found.high < at_least:
        return Judgement(Verdict.FAIL, f"{said}, all of it below {at_least:g}.", numbers)
    needed = queries_needed(reached.shares, at_least, of=of)
    more = (
        f"recall_queries: {needed:,} would likely decide"
        if needed is not None
        else f"it is {at_least:g} as nearly as can be told"
    )
    return Judgement(
        Verdict.INCONCLUSIVE, f"{said}, on both sides of {at_least:g}: {more}.", numbers
    )


def remedy_of(tried: Sequence[Setting], at_least: float, *, seed: int) -> str:
    """Return which setting would reach the objective, as a sentence; the first that does."""
    best: tuple[float, str] | None = None
    for setting in tried:
        found = interval_of(setting.shares, of=1, seed=seed)
        if found is None:
            continue
        took = "" if setting.p50_ms is None else f" at p50 {setting.p50_ms:.1f} ms"
        if found.low >= at_least:
            return (
                f"{setting.name} reaches {found.mean:.3f} ({found.low:.3f}…{found.high:.3f})"
                f"{took}: {setting.remedy}."
            )
        if best is None or found.mean > best[0]:
            best = found.mean, f"{setting.name} reaches {found.mean:.3f}{took}"
    if best is None:
        return "No other setting was measured."
    return f"No setting that was tried reaches {at_least:g}; {best[1]}."


@dataclass(frozen=True)
class IndexFound:
    """Everything that the rung of the index found: problems first, then filter by filter."""

    problems: Sequence[str]
    reached: Sequence[Reached] = ()
    remedies: Mapping[str, str] = field(default_factory=dict)
    not_measured: Sequence[str] = ()

    @property
    def judged(self) -> int:
        """Return how many filters decide."""
        return sum(r.filter.kind != "drawn" for r in self.reached)


def judge_parts(found: IndexFound, at_least: float, *, seed: int) -> dict[str, Judgement]:
    """Return one judgement a filter, and one about the index itself; remedies are said there."""
    parts: dict[str, Judgement] = {}
    for number, problem in enumerate(found.problems, 1):
        name = "the index" if len(found.problems) == 1 else f"the index, {number}"
        parts[name] = Judgement(Verdict.FAIL, f"{problem}.")
    for reached in found.reached:
        judged = judge_filter(reached, at_least, of=found.judged, seed=seed)
        remedy = found.remedies.get(reached.filter.name)
        if remedy:
            judged = Judgement(judged.verdict, f"{judged.sentence} {remedy}", judged.numbers)
        parts[reached.filter.name] = judged
    return parts


def judge_index(found: IndexFound, at_least: float, *, seed: int) -> Judgement:
    """Judge the index: problems fail it whatever was found, then the worst filter decides."""
    parts = judge_parts(found, at_least, seed=seed)
    deciding = {
        name: judged
        for name, judged in parts.items()
        if not any(r.filter.name == name and r.filter.kind == "drawn" for r in found.reached)
    }
    numbers: dict[str, object] = {"at_least": at_least, "filters": len(found.reached)}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        bad = [j.sentence for j in deciding.values() if j.verdict is verdict]
        if bad:
            more = f" And {len(bad) - 3} more." if len(bad) > 3 else ""
            return Judgement(verdict, " ".join(bad[:3]) + more, numbers)
    if not deciding:
        return Judgement(
            Verdict.INCONCLUSIVE,
            "recall@10: no query could be compared with exact search.",
            numbers,
        )
    least = min(
        (r for r in found.reached if r.filter.kind != "drawn" and r.recall is not None),
        key=lambda r: r.recall or 0.0,
        default=None,
    )
    first = next(iter(deciding.values())).sentence.rstrip(".")
    said = f"{first}; all of {len(deciding)} at or above {at_least:g}"
    if least is not None and len(deciding) > 1:
        said += f", the least {least.recall:.3f} for {least.filter.name}"
    short = [n for n, j in parts.items() if n not in deciding and j.verdict is not Verdict.PASS]
    if short:
        said += f". Not so sure, and not asked by anybody here: {', '.join(short)}"
    return Judgement(Verdict.PASS, f"{said}.", numbers)
