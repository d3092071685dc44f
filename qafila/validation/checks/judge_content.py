"""Rung 2: a stored row is what its source says, and its vector is one that a model could make.

Every row is looked at, so a fault in one is found, and PASS leaves nothing to chance. What a vector
means is not asked here: a vector of another text passes, as long as it is a unit vector and no
other text has the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from qafila.stores.admission import Admissible
from qafila.workload.corpus import EVERYBODY
from qafila.workload.verdict import Judgement, Verdict

NORM_TOLERANCE = 1e-3  # half precision leaves 2^-11 of a length
MOST_NAMED = 1_000  # rows that are kept by name; all are counted
_SHOWN = 60  # characters of a value in a sentence

# every kind of fault, in the order in which they are told, with its words for so many rows
FAULTS: Mapping[str, str] = {
    "text": "with another text than the source's",
    "digest": "whose digest is not that of their own text",
    "offsets": "whose offsets point elsewhere",
    "title": "with another title",
    "metadata": "with other metadata",
    "lost readers": "that lost a group of readers",
    "widened readers": "that gained a group of readers",
    "fingerprint": "of another fingerprint",
    "dimensions": "whose vector has another length",
    "not finite": "whose vector holds NaN or infinity",
    "zero": "whose vector is zero",
    "norm": "whose vector is not of length 1",
    "shared": "whose vector is also that of another text, which the model does not say",
}


class Kept(Admissible, Protocol):
    """What is compared of a chunk, as expected and as stored."""

    @property
    def number(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True)
class RowFault:
    """One thing that is wrong with one row; ``told`` says what, for a person."""

    key: str
    number: int
    fault: str
    told: str


def compare_row(expected: Kept, stored: Kept) -> Iterator[tuple[str, str]]:
    """Yield kind and words of everything in which a stored chunk is not the expected one."""
    if stored.text != expected.text:
        yield "text", _texts(expected.text, stored.text)
    if hashlib.sha256(stored.text.encode("utf-8", "surrogatepass")).digest() != stored.digest:
        yield "digest", f"its digest begins with {stored.digest.hex()[:12] or 'nothing'}"
    if (stored.start, stored.end) != (expected.start, expected.end):
        yield (
            "offsets",
            f"{stored.start} to {stored.end}, by the source {expected.start} to {expected.end}",
        )
    if stored.title != expected.title:
        yield "title", f"{_short(stored.title)}, by the source {_short(expected.title)}"
    if (stored.metadata or expected.metadata) and (
        told := metadata_differences(expected.metadata, stored.metadata)
    ):
        yield "metadata", "; ".join(told)
    if list(stored.acl) != list(expected.acl):
        lost, gained = set(expected.acl) - set(stored.acl), set(stored.acl) - set(expected.acl)
        if lost:
            yield "lost readers", f"{', '.join(sorted(lost))} may not read it any more"
        if gained:
            names = sorted("everybody" if g == EVERYBODY else g for g in gained)
            yield "widened readers", f"{', '.join(names)} may read it now"


def metadata_differences(expected: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return in words which fields differ in value or JSON type; 1 and 1.0 are two values."""
    try:
        if json.dumps(expected, sort_keys=True) == json.dumps(stored, sort_keys=True):
            return []
    except (TypeError, ValueError):
        pass  # a date, say: as JSON it is a text
    wanted, found = _as_json(expected), _as_json(stored)
    return [
        f"{field} is {_value(found, field)}, by the source {_value(wanted, field)}"
        for field in sorted({*wanted, *found})
        if field not in wanted
        or field not in found
        or _canonical(wanted[field]) != _canonical(found[field])
    ]


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    parsed: dict[str, Any] = from_json(to_json(value))
    return parsed


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return numbers as jsonb writes them: a float of 10^16 and beyond has no point and no e."""
    if isinstance(value, float) and isfinite(value) and value.is_integer():
        return int(Decimal(repr(value))) if abs(value) >= 1e16 else value + 0.0
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


_TYPES: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


def _value(fields: Mapping[str, Any], field: str) -> str:
    if field not in fields:
        return "absent"
    value = fields[field]
    told = json.dumps(value, ensure_ascii=False)
    told = told if len(told) <= _SHOWN else told[:_SHOWN] + "…"
    return f"{told} ({_TYPES.get(type(value), 'value')})"


def _texts(expected: str, stored: str) -> str:
    if expected.startswith(stored):
        return f"cut off after {len(stored)} of {len(expected)} characters"
    if stored.startswith(expected):
        return f"goes on for {len(stored) - len(expected)} characters"
    if stored == expected.lower():
        return "in lower case"
    at = next(
        (n for n, (a, b) in enumerate(zip(expected, stored, strict=False)) if a != b),
        min(len(expected), len(stored)),
    )
    return f"from character {at} on {_short(stored[at:])}, by the source {_short(expected[at:])}"


def _short(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else repr(text[:_SHOWN]) + "…"


def vector_faults(vectors: NDArray[np.float32], dimensions: int) -> dict[str, dict[int, str]]:
    """Return by kind the place of each faulty vector, with words; shape (rows, d) is given."""
    if len(vectors) and vectors.shape[1] != dimensions:
        told = f"{vectors.shape[1]} dimensions, the workload says {dimensions}"
        return {"dimensions": dict.fromkeys(range(len(vectors)), told)}
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    finite = np.isfinite(lengths)
    zero = lengths == 0
    off = finite & ~zero & (np.abs(lengths - 1) > NORM_TOLERANCE)
    return {
        "not finite": {int(n): "NaN or infinity" for n in np.flatnonzero(~finite)},
        "zero": {int(n): "every number is 0" for n in np.flatnonzero(zero)},
        "norm": {int(n): f"its length is {lengths[n]:.4f}" for n in np.flatnonzero(off)},
    }


def vector_hashes(vectors: NDArray[np.float32], seed: int) -> NDArray[np.uint64]:
    """Return a hash of each row's bits; two that differ have the same by a chance of 2^-32 at most.

    A random linear form modulo 2^64 with odd weights (Dietzfelbinger et al., STACS 1996).
    """
    weights = np.random.default_rng(seed).integers(
        0, 2**63, vectors.shape[1], np.uint64
    ) * np.uint64(2) + np.uint64(1)
    bits = np.ascontiguousarray(vectors + np.float32(0)).view(np.uint32)  # -0 becomes 0
    with np.errstate(over="ignore"):
        hashed: NDArray[np.uint64] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return hashed


@dataclass(frozen=True)
class ContentCount:
    """What looking at all rows gave.

    Attributes:
        rows: rows that were compared.
        counts: faulty rows by kind of fault.
        named: the first of them, at most ``MOST_NAMED``.
        shared: vectors that several texts have.
        shared_checked: of these, how many the model was asked about.
        cost: in words, what asking the model cost; empty when it was free.
        not_asked: why the model could not be asked; empty when it was.
    """

    rows: int
    counts: Mapping[str, int]
    named: Sequence[RowFault]
    shared: int = 0
    shared_checked: int = 0
    cost: str = ""
    not_asked: str = ""


def judge_content(looked: ContentCount) -> Judgement:
    """Judge all rows: FAIL for any fault; INCONCLUSIVE when there was no row to look at.

    ERROR when no fault is seen and the model could not be asked about vectors of several texts.
    """
    counts = Counter(looked.counts)
    numbers: dict[str, object] = {
        "rows": looked.rows,
        "faults": {f: counts[f] for f in FAULTS if counts[f]},
        "examples": [f"{r.key} (chunk {r.number}): {r.fault}, {r.told}" for r in looked.named[:10]],
        "shared_vectors": looked.shared,
        "shared_vectors_checked": looked.shared_checked,
    }
    if not looked.rows:
        return Judgement(
            Verdict.INCONCLUSIVE,
            "the source and the target have no row in common: there is no content to compare.",
            numbers,
        )
    if looked.not_asked and not +counts:
        return Judgement(
            Verdict.ERROR,
            f"of {looked.rows:,} rows {looked.shared:,} vectors stand under several texts, and the "
            f"model could not be asked whether they should: {looked.not_asked}",
            numbers,
        )
    shared = _shared(looked)
    if not +counts:
        return Judgement(
            Verdict.PASS,
            f"{looked.rows:,} rows: text, offsets, metadata, readers and fingerprint as in the "
            f"source, every vector finite and of length 1{shared}.",
            numbers,
        )
    told = ", ".join(f"{counts[f]} {words}" for f, words in FAULTS.items() if counts[f])
    first = "; ".join(f"{r.key} (chunk {r.number}): {r.fault}, {r.told}" for r in looked.named[:3])
    return Judgement(
        Verdict.FAIL,
        f"of {looked.rows:,} rows {told}. First: {first}.{shared and ' ' + shared}",
        numbers,
    )


def _shared(looked: ContentCount) -> str:
    if not looked.shared or looked.counts.get("shared"):
        return ""
    return (
        f"; {looked.shared:,} vectors stand under several texts, which the model itself says of "
        f"{looked.shared_checked} that it was asked about{looked.cost and ', for ' + looked.cost}"
    )
