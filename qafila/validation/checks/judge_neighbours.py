"""Whether exact search finds the same in the old index and in the new, up to ties.

Scores that differ by no more than rounding have no order, so a row may be left out at the end of
the list for another that is as near; nothing else may differ where the vectors are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qafila.statistics.intervals import clopper_pearson
from qafila.validation.checks.judge_recall import Scores, interval_of
from qafila.workload.verdict import Judgement, Verdict

Place = tuple[str, int]


@dataclass(frozen=True)
class Compared:
    """One question asked of both: what only the old index has, what only the new one has.

    ``lost`` and ``gained`` hold no row that a tie explains. ``off`` is the largest difference
    between the scores that both give one row; ``overlap`` the share of rows that both have, with
    ties counted as the same.
    """

    query: str
    lost: Sequence[Place]
    gained: Sequence[Place]
    off: float
    off_at: Place | None
    overlap: float

    def differs(self, tie: float) -> bool:
        """Say whether more differs than ties and rounding explain."""
        return bool(self.lost or self.gained) or self.off > tie


def nearest(scores: Scores, k: int) -> dict[Place, float]:
    """Return the k nearest, the nearest first; of equal ones by key, so that it is repeatable."""
    return dict(sorted(scores.items(), key=lambda s: (-s[1], s[0]))[:k])


def compare(query: str, old: Scores, new: Scores, k: int, tie: float) -> Compared:
    """Compare the k nearest of either; a row is lost when it is nearer than ties can explain."""
    before, after = nearest(old, k), nearest(new, k)
    lost = _beyond(before, after, k, tie)
    gained = _beyond(after, before, k, tie)
    off, at = max(
        ((abs(before[p] - after[p]), p) for p in before.keys() & after.keys()), default=(0.0, None)
    )
    alike = len(before) - len(lost)
    return Compared(query, lost, gained, off, at, alike / len(before) if before else 1.0)


def _beyond(
    mine: dict[Place, float], theirs: dict[Place, float], k: int, tie: float
) -> list[Place]:
    last = min(theirs.values()) if len(theirs) >= k else float("-inf")
    return [p for p, score in mine.items() if p not in theirs and score > last + tie]


def judge_same(compared: Sequence[Compared], tie: float) -> Judgement:
    """Judge two indexes that should hold the same vectors: one true difference fails."""
    numbers: dict[str, object] = {"queries": len(compared), "tie": tie}
    if not compared:
        return Judgement(Verdict.INCONCLUSIVE, "neighbours: nothing could be asked.", numbers)
    bad = [c for c in compared if c.differs(tie)]
    numbers |= {"different": len(bad), "largest_difference": max(c.off for c in compared)}
    if not bad:
        return Judgement(
            Verdict.PASS,
            f"All {len(compared)} questions find the same neighbours in the old index and in the "
            f"new, up to ties; scores differ by at most {max(c.off for c in compared):.1g}.",
            numbers,
        )
    first = "; ".join(_said(c, tie) for c in bad[:3])
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    return Judgement(
        Verdict.FAIL,
        f"{len(bad)} of {len(compared)} questions find other neighbours in the new index, though "
        f"its vectors should be the same: {first}{more}.",
        numbers,
    )


def judge_other(compared: Sequence[Compared], why: str, *, seed: int) -> Judgement:
    """Report how much two indexes with different vectors have in common; it decides nothing."""
    found = interval_of([c.overlap for c in compared], of=1, seed=seed)
    numbers: dict[str, object] = {"queries": len(compared)}
    if found is None:
        return Judgement(
            Verdict.PASS,
            f"neighbours: nothing could be asked, and nothing is at stake: {why}.",
            numbers,
        )
    numbers |= {"overlap_at_10": found.mean, "ci_low": found.low, "ci_high": found.high}
    return Judgement(
        Verdict.PASS,
        f"overlap@10 of the old index and the new is {found}. For information: {why}, so that "
        "neighbours may be others; whether they are better is for the rung of quality.",
        numbers,
    )


def least_seen(questions: int) -> str:
    """Return which share of questions could differ unseen (Clopper and Pearson, none seen)."""
    most = clopper_pearson(0, questions)[1]
    return f"a difference in {100 * most:.2g} % of such questions (95 %)"


def _said(c: Compared, tie: float) -> str:
    parts = []
    if c.lost:
        parts.append("loses " + ", ".join(map(_named, c.lost[:2])))
    if c.gained:
        parts.append("gains " + ", ".join(map(_named, c.gained[:2])))
    if c.off > tie and c.off_at is not None:
        parts.append(f"scores {_named(c.off_at)} {c.off:.2g} apart")
    return f"{c.query} {' and '.join(parts)}"


def _named(place: Place) -> str:
    return place[0] if place[1] == 0 else f"{place[0]} ({place[1]})"
