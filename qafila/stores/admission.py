"""Which chunks a store can hold at all: what it would choke on is found before it is sent.

One refused row would take the whole batch with it, and one key that is too long the index build
hours later. So each such chunk is set aside with a reason, and the batch is written without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic_core import PydanticSerializationError, to_json

from qafila.workload.corpus import PgvectorTarget, QdrantTarget

HALF_MOST = 65_504.0  # the largest number of half precision
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEEPEST = 200  # levels of metadata; PostgreSQL's parser and ours both end somewhere beyond


class Admissible(Protocol):
    """What is looked at of a chunk."""

    @property
    def source_key(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def acl(self) -> Sequence[str]: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Limits:
    """What a store takes; bytes are of UTF-8. The defaults are PostgreSQL's.

    ``key_bytes``: a B-tree entry holds 2 704 bytes, header and chunk number included, and keys that
    cannot be compressed are not shortened. ``text_bytes``: a row is a message of at most 1 GB.
    """

    dimensions: int
    half_precision: bool = False
    key_bytes: int = 2_600
    text_bytes: int = 250_000_000
    metadata_bytes: int = 50_000_000


def limits_of(target: PgvectorTarget | QdrantTarget, dimensions: int) -> Limits:
    """Return the limits of a target. A text that one store cannot hold, the other refuses too:
    a later move between them must not lose it.
    """
    half = isinstance(target, PgvectorTarget) and target.vector_type == "halfvec"
    return Limits(dimensions, half_precision=half)


def rejections(
    chunks: Sequence[Admissible], vectors: NDArray[np.float32], limits: Limits
) -> dict[int, str]:
    """Return the place and the reason of each chunk of a batch that the store cannot hold."""
    found = {}
    if not _plain(chunks, limits):
        found = {i: why for i, chunk in enumerate(chunks) if (why := _unfit(chunk, limits))}
    for i, why in vector_rejections(vectors, limits).items():
        found.setdefault(i, why)
    return dict(sorted(found.items()))


def _plain(chunks: Sequence[Admissible], limits: Limits) -> bool:
    """Say whether a whole batch is beyond doubt: what nearly all are, seen in one pass."""
    texts = [chunk.text for chunk in chunks]
    texts += [chunk.title for chunk in chunks]
    keys = [chunk.source_key for chunk in chunks]
    groups = {group for chunk in chunks for group in chunk.acl}
    if not all(isinstance(group, str) for group in groups):
        return False
    joined = "".join([*texts, *keys, *groups])
    return (
        "\0" not in joined
        and (joined.isascii() or not _SURROGATE.search(joined))
        and max(map(len, keys), default=0) * 4 <= limits.key_bytes
        and max(map(len, texts), default=0) * 8 <= limits.text_bytes
        and all(len(chunk.digest) == 32 and not chunk.metadata for chunk in chunks)
    )


def reject_reason(
    chunk: Admissible, vector: NDArray[np.float32] | None, limits: Limits
) -> str | None:
    """Return why the store cannot hold this chunk with this vector; None: it can."""
    if vector is None:
        return "it has no vector"
    vectors = np.asarray(vector, np.float32)[None]
    return rejections([chunk], vectors, limits).get(0)


def vector_rejections(vectors: NDArray[np.float32], limits: Limits) -> dict[int, str]:
    """Return the place and the reason of each vector that cannot be stored or never be found."""
    if vectors.ndim != 2 or vectors.shape[1] != limits.dimensions:
        shape = vectors.shape[1] if vectors.ndim == 2 else vectors.shape
        reason = f"its vector has {shape} dimensions, the target {limits.dimensions}"
        return dict.fromkeys(range(len(vectors)), reason)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)  # NaN and infinity carry through
        ok = np.isfinite(squares) & (squares > 0)
        if limits.half_precision and len(vectors):
            largest = np.abs(vectors).max(axis=1)
            ok &= (largest <= HALF_MOST) & (largest.astype(np.float16) > 0)
    return {int(i): _vector_reason(vectors[i], limits) for i in np.flatnonzero(~ok)}


def _vector_reason(vector: NDArray[np.float32], limits: Limits) -> str:
    if not np.isfinite(vector).all():
        return "its vector holds NaN or infinity"
    if not vector.any():
        return "its vector is zero, which no cosine search can find"
    if limits.half_precision and float(np.abs(vector).max()) > HALF_MOST:
        return f"its vector holds a number beyond {HALF_MOST:.0f}, the most that halfvec takes"
    return "its vector is so long or so short that its length is lost in single precision"


def _unfit(chunk: Admissible, limits: Limits) -> str | None:
    key, title, text = chunk.source_key, chunk.title, chunk.text
    for what, value in (("key", key), ("title", title), ("text", text)):
        if why := _unfit_text(value):
            return f"its {what} holds {why}"
    if len(key) * 4 > limits.key_bytes and len(key.encode()) > limits.key_bytes:
        return f"its key has {len(key.encode())} bytes, of which an index takes {limits.key_bytes}"
    if (len(text) + len(title)) * 4 > limits.text_bytes:
        size = len(text.encode()) + len(title.encode())
        if size > limits.text_bytes:
            return f"its text has {size} bytes, of which a row takes {limits.text_bytes}"
    if len(chunk.digest) != 32:
        return "its text digest is no SHA-256"
    for group in chunk.acl:
        if not isinstance(group, str):
            return "one of its groups is no text"
        if why := _unfit_text(group):
            return f"one of its groups holds {why}"
    return _unfit_metadata(chunk.metadata, limits) if chunk.metadata else None


def _unfit_text(value: str) -> str | None:
    if "\0" in value:
        return "a NUL character, which PostgreSQL cannot store"
    if not value.isascii() and _SURROGATE.search(value):
        return "half a surrogate pair, which is no Unicode text"
    return None


def _unfit_metadata(metadata: Mapping[str, Any], limits: Limits) -> str | None:
    try:
        written = to_json(metadata)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        for value in _leaves(metadata):
            if isinstance(value, str) and (why := _unfit_text(value)):
                return f"its metadata hold {why}"
        return f"its metadata cannot be written as JSON: {str(error).splitlines()[0]}"
    if len(written) > limits.metadata_bytes:
        return f"its metadata have {len(written)} bytes, the most is {limits.metadata_bytes}"
    suspicious = b"\\u0000" in written or b"NaN" in written or b"Infinity" in written
    deep = written.count(b"{") + written.count(b"[") > _DEEPEST
    if not (suspicious or deep):
        return None
    for value in _leaves(metadata):
        if value is _TOO_DEEP:
            return f"its metadata are nested deeper than {_DEEPEST} levels"
        if isinstance(value, str) and (why := _unfit_text(value)):
            return f"its metadata hold {why}"
        if isinstance(value, float) and not isfinite(value):
            return "its metadata hold NaN or infinity, which JSON has not"
    return None


_TOO_DEEP = object()


def _leaves(value: object, depth: int = 0) -> Iterator[object]:
    """Yield every key and every plain value, and a mark where it goes too deep."""
    if depth > _DEEPEST:
        yield _TOO_DEEP
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner, depth + 1)
    else:
        yield value
