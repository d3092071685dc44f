"""Which embedder serves a corpus best: who is clearly worse than whom, who ties, what each costs.

Values in, values out: the scores of every candidate over the same queries, and prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from qafila.decision.prices import Price
from qafila.statistics.intervals import mean_share
from qafila.statistics.multiplicity import holm
from qafila.statistics.paired import PairedComparison, compare_paired
from qafila.validation.judge_common import cost_per_thousand

_STEP = Decimal("0.1")  # of a currency: less is noise of machine time, and moves nobody
_HEADER_BYTES = 8  # of a vector and of a halfvec alike: pgvector's README, "Reference"


@dataclass(frozen=True)
class Candidate:
    """nDCG@10 of one embedder, a value a query, in one order for all; its price of a million.

    ``per_million`` is what a million chunks cost; None: not known.
    """

    name: str
    scores: Sequence[float]
    per_million: Decimal | None = None


@dataclass(frozen=True)
class Against:
    """One candidate minus the reference over some of the queries; p adjusted over candidates."""

    comparison: PairedComparison
    p_holm: float


@dataclass(frozen=True)
class LanguageScore:
    """What one candidate reached in one language; ``against`` is None where nothing can be told."""

    language: str
    queries: int
    mean: float
    low: float
    high: float
    against: Against | None


@dataclass(frozen=True)
class Ranked:
    """One candidate in its place; those of one place are tied, the cheaper first.

    ``behind`` compares it with the best of its place, None for that one itself; ``against`` with
    the reference, None for that one itself and where there are fewer than two queries.
    """

    candidate: Candidate
    place: int
    tied: bool
    mean: float
    low: float
    high: float
    behind: PairedComparison | None
    against: Against | None
    languages: Sequence[LanguageScore]


def rank(
    candidates: Sequence[Candidate], reference: str, languages: Sequence[str], *, seed: int
) -> list[Ranked]:
    """Return the candidates, the best place first.

    The best mean leads. Everybody whose difference from the leader has an interval (95 %) that
    holds 0 shares its place, the cheaper first; at one price (by the tenth) the reference, since
    to stay costs nothing; a price that nobody knows comes last. The best of the rest leads the next
    place. So somebody can stand behind a candidate with a lower mean: the
    one is clearly worse than the leader, the other is not told from it.

    ``languages`` are those of the queries. Holm's adjustment is over the candidates, in each
    language by itself.

    Raises:
        ValueError: two have one name, the reference is none of them, or not all have the same
            queries, at least one.
    """
    _check(candidates, reference, languages)
    means = {c.name: sum(c.scores) / len(c.scores) for c in candidates}
    against = _against(candidates, reference, range(len(languages)), seed)
    ranked: list[Ranked] = []
    left = sorted(candidates, key=lambda c: (-means[c.name], c.name))
    place = 1
    while left:
        behind = {c.name: _behind(c, left[0], seed) for c in left}
        together = [c for c in left if _not_told(behind[c.name])]
        for c in sorted(
            together, key=lambda c: (*price_step(c), c.name != reference, -means[c.name], c.name)
        ):
            low, high = mean_share(c.scores, seed=seed)
            ranked.append(
                Ranked(
                    c,
                    place,
                    len(together) > 1,
                    means[c.name],
                    low,
                    high,
                    None if c is left[0] else behind[c.name],
                    against.get(c.name),
                    [],
                )
            )
        left = [c for c in left if c not in together]
        place += len(together)
    by_language = _by_language(candidates, reference, languages, seed)
    return [
        Ranked(
            r.candidate,
            r.place,
            r.tied,
            r.mean,
            r.low,
            r.high,
            r.behind,
            r.against,
            by_language[r.candidate.name],
        )
        for r in ranked
    ]


def price_step(candidate: Candidate) -> tuple[bool, Decimal]:
    """Return what prices are ordered by: in whole tenths, rounded up, so that only free is free."""
    known = candidate.per_million
    return known is None, Decimal(0) if known is None else known.quantize(_STEP, ROUND_CEILING)


def _check(candidates: Sequence[Candidate], reference: str, languages: Sequence[str]) -> None:
    names = [c.name for c in candidates]
    if len(set(names)) != len(names):
        raise ValueError("every candidate needs a name of its own")
    if reference not in names:
        raise ValueError("the reference is one of the candidates")
    if not languages or {len(c.scores) for c in candidates} != {len(languages)}:
        raise ValueError("all candidates need the same queries, at least one")


def _behind(candidate: Candidate, leader: Candidate, seed: int) -> PairedComparison | None:
    if candidate is leader or len(leader.scores) < 2:
        return None
    return compare_paired(candidate.scores, leader.scores, seed=seed)


def _not_told(behind: PairedComparison | None) -> bool:
    return behind is None or behind.ci_low <= 0 <= behind.ci_high


def _against(
    candidates: Sequence[Candidate], reference: str, places: Sequence[int], seed: int
) -> dict[str, Against]:
    """Return every other candidate's comparison with the reference on these queries."""
    if len(places) < 2:
        return {}
    own = next(c for c in candidates if c.name == reference)
    found = {
        c.name: compare_paired(
            [c.scores[n] for n in places], [own.scores[n] for n in places], seed=seed
        )
        for c in candidates
        if c.name != reference
    }
    adjusted = holm([c.p_value for c in found.values()])
    return {name: Against(c, p) for (name, c), p in zip(found.items(), adjusted, strict=True)}


def _by_language(
    candidates: Sequence[Candidate], reference: str, languages: Sequence[str], seed: int
) -> dict[str, list[LanguageScore]]:
    members: dict[str, list[int]] = {}
    for place, language in enumerate(languages):
        members.setdefault(language, []).append(place)
    found: dict[str, list[LanguageScore]] = {c.name: [] for c in candidates}
    for language, places in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
        against = _against(candidates, reference, places, seed)
        for c in candidates:
            scores = [c.scores[n] for n in places]
            low, high = mean_share(scores, seed=seed)
            found[c.name].append(
                LanguageScore(
                    language, len(places), sum(scores) / len(scores), low, high, against.get(c.name)
                )
            )
    return found


def verdict_sentence(ranked: Sequence[Ranked], reference: str, queries: str) -> str:
    """Return what a person has to know: the winner, its interval, and how it stands to today's.

    ``queries`` says on what: "300 judged queries".
    """
    first = ranked[0]
    said = (
        f"{first.candidate.name} comes first: nDCG@10 {first.mean:.3f} "
        f"({first.low:.3f}…{first.high:.3f} at 95 %) on {queries}"
    )
    others = [r.candidate.name for r in ranked[1:] if r.place == first.place]
    if others:
        said += f"; not told from {', '.join(others)}, of which none is known to cost clearly less"
    mine = next(r for r in ranked if r.candidate.name == reference)
    if mine is first:
        return f"{said}. All others were compared with it."
    if first.against is None:
        return f"{said}. Too few queries to compare it with {reference}."
    c = first.against.comparison
    how = "better than" if c.ci_low > 0 else "worse than" if c.ci_high < 0 else "not told from"
    return (
        f"{said}. It is {how} {reference}: {c.delta:+.3f} ({c.ci_low:+.3f}…{c.ci_high:+.3f}, "
        f"p {first.against.p_holm:.3f} by Holm)."
    )


def vector_bytes(dimensions: int, *, half: bool = False) -> int:
    """Return bytes that one vector takes in pgvector: 4 a number (halfvec 2) and 8 before them.

    Source: pgvector's README, "Vector type" and "Halfvec type". Neither row nor index are in it.
    """
    return (2 if half else 4) * dimensions + _HEADER_BYTES


def paid_per_million(tokens_per_chunk: float, price_per_million_tokens: Decimal) -> Decimal:
    """Return what a million chunks cost where tokens are paid, in the price's currency.

    Mean tokens × 1 000 000 chunks × price / 1 000 000 tokens.
    """
    return (Decimal(repr(tokens_per_chunk)) * price_per_million_tokens).quantize(Decimal("0.0001"))


def machine_per_million(cpu_seconds_per_chunk: float, machine: Price) -> Decimal:
    """Return what a million chunks cost in machine time at the list price of a machine.

    A thousand of them by ``cost_per_thousand``, with the seconds of processor time in the place of
    those of one busy vCPU: a floor, as if the machine were fully used.

    Raises:
        ValueError: the machine has no vCPU.
    """
    ms = cpu_seconds_per_chunk * 1000 * 1000  # a thousand chunks as one, so that cents are not cut
    return cost_per_thousand(machine.amount, ms, machine.vcpus)
