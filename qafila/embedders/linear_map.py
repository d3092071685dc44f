"""Map the vectors of one model to those of another, fitted from texts embedded with both.

Two maps are tried. *Ridge* is least squares with a penalty on the size of the matrix; it may
stretch and shear. *Procrustes* may only turn and scale as a whole (Schönemann, Psychometrika 1966);
it has less to learn and so needs fewer pairs. Which is better is asked of texts that neither has
seen, and how good it is of texts that the choice has not seen either.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Exact = NDArray[np.float64]
Method = Literal["ridge", "procrustes"]

FEWEST_PAIRS = 50
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean variance of a dimension
_HELD_OUT = 0.2  # for choosing, and as much again for judging
_MOST_HELD_OUT = 2000  # nearest neighbours are found by looking at every pair
_MAGIC = b"QMAP1"


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A matrix of shape (old dimensions, new dimensions) and an offset; float32."""

    method: Method
    matrix: Vectors
    offset: Vectors

    @property
    def digest(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of everything that decides its results."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    def apply(self, vectors: Vectors) -> Vectors:
        """Return new vectors of length 1; a vector that is zero or not finite stays zero."""
        usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        mapped = np.zeros((len(vectors), self.matrix.shape[1]), np.float32)
        mapped[usable] = _unit(vectors[usable]) @ self.matrix + self.offset
        return _unit(mapped)

    def to_bytes(self) -> bytes:
        """Return it as bytes, the same for the same map on every machine."""
        name = self.method.encode()
        return b"".join(
            (
                _MAGIC,
                struct.pack("<B", len(name)),
                name,
                struct.pack("<II", *self.matrix.shape),
                np.ascontiguousarray(self.matrix, "<f4").tobytes(),
                np.ascontiguousarray(self.offset, "<f4").tobytes(),
            )
        )

    @classmethod
    def from_bytes(cls, body: bytes) -> LinearMap:
        """Return the map that ``to_bytes`` wrote.

        Raises:
            ValueError: these bytes are no map, or not all of one.
        """
        if body[: len(_MAGIC)] != _MAGIC or len(body) <= len(_MAGIC):
            raise ValueError("these bytes are no map")
        at = len(_MAGIC) + 1
        name = body[at : at + body[at - 1]].decode("ascii", "replace")
        at += body[at - 1]
        if name not in ("ridge", "procrustes") or len(body) < at + 8:
            raise ValueError("these bytes are no map")
        old, new = struct.unpack_from("<II", body, at)
        if len(body) != at + 8 + 4 * (old + 1) * new:
            raise ValueError("the map is cut short or too long")
        values = np.frombuffer(body, "<f4", offset=at + 8).astype(np.float32)
        method: Method = "ridge" if name == "ridge" else "procrustes"
        return cls(method, values[: old * new].reshape(old, new), values[old * new :])


@dataclass(frozen=True)
class MapQuality:
    """How near mapped vectors are to those of the new model, on texts that nothing was fitted to.

    ``mean_cosine`` is between a text's mapped and its true vector. ``overlap_at_10`` is the share
    of the ten texts nearest to a new vector that are also the ten nearest when the texts' vectors
    are mapped: what a reader of the bridge sees. ``before_overlap_at_10`` is the same when the old
    model answers alone: what the change of models does by itself.
    """

    method: str
    pairs: int
    held_out: int
    mean_cosine: float
    overlap_at_10: float
    before_overlap_at_10: float

    def sentence(self) -> str:
        return (
            f"{self.method} from {self.pairs} pairs: on {self.held_out} texts held out, "
            f"{self.overlap_at_10:.0%} of the ten nearest are the new model's (the old model's own "
            f"agree by {self.before_overlap_at_10:.0%}), mean cosine {self.mean_cosine:.3f}."
        )


def fit(
    old: Vectors, new: Vectors, *, seed: int, methods: Sequence[Method] = ("ridge", "procrustes")
) -> tuple[LinearMap, MapQuality]:
    """Fit a map from paired vectors (row i of both is the same text) and judge it.

    A fifth of the pairs chooses between the methods and penalties by overlap@10, then by cosine;
    another fifth judges what was chosen; it is then fitted again to all but the judges. Pairs of
    which one vector is zero or not finite are left out. The same pairs and seed give the same map
    on the same machine.

    Raises:
        ValueError: fewer than 50 usable pairs, or not one new vector for each old one.
    """
    if len(old) != len(new):
        raise ValueError(f"{len(old)} old vectors and {len(new)} new ones are no pairs")
    usable = np.isfinite(old).all(1) & np.isfinite(new).all(1) & old.any(1) & new.any(1)
    x, y = _unit(old[usable]), _unit(new[usable])
    if len(x) < FEWEST_PAIRS:
        raise ValueError(f"{len(x)} usable pairs are too few to fit a map; {FEWEST_PAIRS} are not")
    order = np.random.default_rng(seed).permutation(len(x))
    part = min(round(len(x) * _HELD_OUT), _MOST_HELD_OUT)
    judges, choosers, rest = order[:part], order[part : 2 * part], order[2 * part :]
    moments = _Moments(x[rest], y[rest])
    tried: list[tuple[float, float, Method, float]] = []
    for method, penalty in _candidates(methods):
        tried.append(
            (*_score(moments.solve(method, penalty), x[choosers], y[choosers]), method, penalty)
        )
    _, _, method, penalty = max(tried, key=lambda t: (round(t[0], 4), round(t[1], 4)))
    known = np.concatenate([choosers, rest])
    chosen = _Moments(x[known], y[known]).solve(method, penalty)
    overlap, cosine = _score(chosen, x[judges], y[judges])
    before = overlap_at_k(_nearest(y[judges], y[judges], 10), _nearest(x[judges], x[judges], 10))
    return chosen, MapQuality(method, len(x), part, cosine, overlap, before)


def overlap_at_k(truth: NDArray[np.intp], found: NDArray[np.intp]) -> float:
    """Return the mean share of each row of ``truth`` that the same row of ``found`` holds."""
    shared = [len(np.intersect1d(a, b)) / max(1, len(a)) for a, b in zip(truth, found, strict=True)]
    return float(np.mean(shared)) if shared else 0.0


def _candidates(methods: Sequence[Method]) -> list[tuple[Method, float]]:
    found: list[tuple[Method, float]] = []
    if "procrustes" in methods:  # first: of two that are equally good, the stiffer one
        found.append(("procrustes", 0.0))
    if "ridge" in methods:
        found += [("ridge", p) for p in reversed(_PENALTIES)]
    return found


class _Moments:
    """Means and products of the pairs: all that both methods need, computed once."""

    def __init__(self, x: Vectors, y: Vectors) -> None:
        self.mean_x, self.mean_y = x.mean(0, np.float64), y.mean(0, np.float64)
        cx, cy = x - self.mean_x, y - self.mean_y
        self.xx: Exact = cx.T @ cx
        self.xy: Exact = cx.T @ cy

    def solve(self, method: Method, penalty: float) -> LinearMap:
        size = len(self.xx)
        spread = float(np.trace(self.xx))
        if method == "ridge":
            added = max(penalty * spread / size, 1e-12)
            matrix = np.linalg.solve(self.xx + added * np.eye(size), self.xy)
        else:
            left, weights, right = np.linalg.svd(self.xy, full_matrices=False)
            matrix = (left @ right) * (weights.sum() / max(spread, 1e-12))
        offset = self.mean_y - self.mean_x @ matrix
        return LinearMap(method, matrix.astype(np.float32), offset.astype(np.float32))


def _score(found: LinearMap, x: Vectors, y: Vectors) -> tuple[float, float]:
    """Return overlap@10 and mean cosine; the queries are new vectors, as in the bridge."""
    mapped = found.apply(x)
    overlap = overlap_at_k(_nearest(y, y, 10), _nearest(y, mapped, 10))
    return overlap, float(np.mean(np.sum(mapped * y, axis=1)))


def _nearest(queries: Vectors, held: Vectors, k: int) -> NDArray[np.intp]:
    """Return the k nearest of ``held`` for each query, itself left out."""
    near = queries @ held.T
    np.fill_diagonal(near, -np.inf)
    return np.argsort(-near, axis=1, kind="stable")[:, : min(k, len(held) - 1)]


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled
