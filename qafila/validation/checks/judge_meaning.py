"""Rung 3: a stored vector is what the model makes of its text, on a random sample of rows.

A stored vector is compared with one that is made anew, by the distance of both at length 1 (for
small angles, d² / 2 is what their cosine lacks of 1) and by its own length. What may lie between
them is rounding: that of single or half precision, and what a service answers to one text twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qafila.statistics.intervals import clopper_pearson
from qafila.statistics.sample_sizes import rows_to_see, share_seen
from qafila.stores.row_sets import Witnesses
from qafila.validation.checks.judge_content import NORM_TOLERANCE
from qafila.workload.verdict import Judgement, Verdict

IN_PROCESS, BY_SERVICE = 1e-3, 1e-2  # distance that arithmetic in another order may leave
HALF_PRECISION = 2.0**-11  # relative rounding error of a number in half precision
SPREADS = 4.0  # times what a service answers differently to one text
MOST_TOLERANCE = 0.1  # beyond, a wrong revision could hide in what the service varies
_ALL = 0.95  # of the sample: then it is not a mixture any more
_TOLD = 3


@dataclass(frozen=True)
class Tolerance:
    """How far apart two vectors of one text may be, both of length 1."""

    distance: float
    because: str

    @classmethod
    def of(cls, *, half: bool, service: bool, spread: float) -> Tolerance:
        """Return it for a vector type, a kind of embedder and what a service was seen to vary."""
        parts = [(BY_SERVICE, "a service") if service else (IN_PROCESS, "arithmetic in process")]
        if half:
            parts.append((HALF_PRECISION, "half precision"))
        if spread:
            parts.append((SPREADS * spread, f"answers that differ by up to {spread:.2g}"))
        return cls(sum(p for p, _ in parts), ", ".join(why for _, why in parts))


@dataclass(frozen=True)
class Remet:
    """Stored vectors beside those made anew; all arrays of one length.

    Attributes:
        places: source key and chunk number of each row.
        distance: between the two at length 1; NaN where one of them has no direction.
        length: of the stored vector.
        population: rows of the generation, of which these were chosen at random.
        twins: for a faulty row the row whose text its vector belongs to, where that is seen.
    """

    places: Sequence[tuple[str, int]]
    distance: NDArray[np.float64]
    length: NDArray[np.float64]
    population: int
    twins: dict[int, int]

    def faulty(self, tolerance: Tolerance) -> NDArray[np.bool_]:
        """Return which stored vectors are not those of their texts."""
        near = self.distance <= tolerance.distance  # NaN is not
        unit = np.abs(self.length - 1) <= NORM_TOLERANCE
        return ~(near & unit)

    def cosine(self, n: int) -> float:
        """Return the cosine of the angle between the two vectors of a row."""
        return float(1 - self.distance[n] ** 2 / 2)

    def worst(self, tolerance: Tolerance) -> list[int]:
        """Return the faulty rows, the farthest first."""
        faulty = np.flatnonzero(self.faulty(tolerance))
        far = np.nan_to_num(self.distance[faulty], nan=np.inf)
        off = np.abs(np.nan_to_num(self.length[faulty], nan=np.inf, posinf=np.inf) - 1)
        order = np.lexsort((-off, -far))
        return [int(n) for n in faulty[order]]


def meet(
    places: Sequence[tuple[str, int]],
    stored: NDArray[np.float32],
    remade: NDArray[np.float32],
    known: NDArray[np.bool_],
    population: int,
) -> Remet:
    """Compare stored vectors with those made anew, both of shape (rows, d).

    ``known`` says for which texts the model has a vector at all; a stored one has no business
    beside the others.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        first, length = _unit(stored)
        second, made = _unit(remade)
        distance = np.sqrt(np.einsum("ij,ij->i", first - second, first - second))
        distance[~known | ~np.isfinite(length) | (length == 0) | (made == 0)] = np.nan
    lost = np.flatnonzero(~(distance <= BY_SERVICE) & np.isfinite(distance))[:2_000]
    twins: dict[int, int] = {}
    if len(lost) > 1:
        cosines = first[lost] @ second[lost].T
        nearest = cosines.argmax(axis=1)
        for n, other in enumerate(nearest.tolist()):
            if other != n and cosines[n, other] >= 1 - BY_SERVICE**2 / 2:
                twins[int(lost[n])] = int(lost[other])
    return Remet(places, distance, length, population, twins)


def _unit(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = vectors.astype(np.float64)
    length = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return wide / length[:, None], length


def sample_size(share: float, confidence: float, population: int | None = None) -> int:
    """Return how many rows to look at to see a fault of this share of them; never more than all."""
    if population is not None and population < 1:
        return 0
    needed = rows_to_see(share, confidence, population)
    return needed if population is None else min(needed, population)


class Lot:
    """Draws rows at random from a stream, without a sort and without knowing how many come.

    The rows with the smallest keyed hash of their place: as random as the hash, the same for the
    same seed in whatever order the store streams (bottom-k sampling, Cohen and Kaplan, PODC 2007).
    """

    def __init__(self, most: int, seed: int) -> None:
        self._most = most
        self._secret = seed.to_bytes(16, "big")
        self._drawn = np.zeros(0, np.uint64)
        self._places: list[tuple[bytes, int]] = []
        self.population = 0

    def add(self, rows: Witnesses) -> None:
        """Take some rows in."""
        self.population += len(rows.keys)
        drawn = np.frombuffer(
            b"".join(
                [
                    hashlib.blake2b(b"%d:%b" % place, digest_size=8, key=self._secret).digest()
                    for place in zip(rows.numbers.tolist(), rows.keys, strict=True)
                ]
            ),
            np.uint64,
        )
        if len(self._drawn) >= self._most:
            chosen = np.flatnonzero(drawn < self._drawn.max())
        else:
            chosen = np.arange(len(drawn))
        self._drawn = np.concatenate([self._drawn, drawn[chosen]])
        self._places += [(rows.keys[n], int(rows.numbers[n])) for n in chosen.tolist()]
        if len(self._drawn) > self._most:
            order = np.argsort(self._drawn, kind="stable")[: self._most]
            self._drawn = self._drawn[order]
            self._places = [self._places[n] for n in order.tolist()]

    def drawn(self, rows: int) -> list[tuple[str, int]]:
        """Return source key and chunk number of so many rows, the smallest draw first."""
        order = np.argsort(self._drawn, kind="stable")[:rows]
        chosen = [self._places[n] for n in order.tolist()]
        return [(key.decode("utf-8", "surrogatepass"), number) for key, number in chosen]


def judge_meaning(
    met: Remet, tolerance: Tolerance, *, confidence: float, share: float, mapped: bool = False
) -> Judgement:
    """Judge a sample: FAIL for one faulty row, PASS when none is faulty and the sample is whole.

    INCONCLUSIVE where there is no row, or where a service varies so much that little could show.
    """
    rows, faulty = len(met.places), met.worst(tolerance)
    most = most_faulty(len(faulty), rows, met.population, confidence)
    numbers: dict[str, object] = {
        "rows": rows,
        "population": met.population,
        "faulty": len(faulty),
        "most_faulty_share": most,
        "tolerance": tolerance.distance,
        "examples": [_told(met, n) for n in faulty[:10]],
    }
    if not rows:
        return Judgement(Verdict.INCONCLUSIVE, "the generation has no row to embed anew.", numbers)
    if tolerance.distance > MOST_TOLERANCE:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"the service answers one text so differently ({tolerance.because}) that vectors "
            f"{tolerance.distance:.2f} apart count as equal, and another revision could hide: ask "
            "for a deterministic setting of the service.",
            numbers,
        )
    by = "mapped" if mapped else "embedded"
    chosen = f"{rows:,} of {met.population:,} rows, chosen at random and {by} anew"
    left = (
        "it was every row."
        if rows >= met.population
        else f"at most {100 * most:.2g} % of all rows may be faulty ({100 * confidence:g} %)."
    )
    if not faulty:
        if rows < sample_size(share, confidence, met.population):
            needed = sample_size(share, confidence, met.population)
            return Judgement(
                Verdict.INCONCLUSIVE,
                f"{chosen}: none is faulty, but {needed:,} rows are needed to see "
                f"{100 * share:g} %.",
                numbers,
            )
        far = float(met.distance.max())
        return Judgement(
            Verdict.PASS,
            f"{chosen}: each stored vector is that of its text (farthest {far:.1g}, allowed "
            f"{tolerance.distance:.2g}); {left}",
            numbers,
        )
    told = "; ".join(_told(met, n) for n in faulty[:_TOLD])
    return Judgement(
        Verdict.FAIL,
        f"{chosen}: {len(faulty)} have another vector than their text's, {_extent(met, faulty)}. "
        f"Worst: {told}. Of what was not looked at: {left}"
        if rows < met.population
        else f"{chosen}: {len(faulty)} have another vector than their text's, "
        f"{_extent(met, faulty)}. Worst: {told}.",
        numbers,
    )


def most_faulty(faulty: int, rows: int, population: int, confidence: float) -> float:
    """Return the upper end of the share of faulty rows (Clopper-Pearson, one-sided); 1 of none.

    Of a sample that is everything it is the share itself.
    """
    if rows and rows >= population:
        return faulty / rows
    if not rows:
        return 1.0
    if not faulty:
        return share_seen(rows, confidence)  # the same bound, in closed form
    return clopper_pearson(faulty, rows, confidence=2 * confidence - 1)[1]


def _extent(met: Remet, faulty: Sequence[int]) -> str:
    share = len(faulty) / len(met.places)
    if np.all(np.abs(met.distance[faulty]) <= BY_SERVICE):
        what = "in the direction of its text but not of length 1"
        return what if share < _ALL else f"nearly all of them {what}: they were never normalised"
    if share >= _ALL:
        return "nearly all of them: another model, another revision or other settings"
    return f"{100 * share:.2g} % of them: a part was made otherwise"


def _told(met: Remet, n: int) -> str:
    key, number = met.places[n]
    told = f"{key} (chunk {number})"
    if n in met.twins:
        twin, chunk = met.places[met.twins[n]]
        return f"{told} has the vector of {twin} (chunk {chunk})"
    if np.isnan(met.distance[n]):
        return (
            f"{told} has a vector where there is none to compare with, length {met.length[n]:.3g}"
        )
    return f"{told} cosine {met.cosine(n):.4f}, length {met.length[n]:.4g}"
