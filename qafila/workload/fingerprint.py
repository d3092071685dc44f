"""Digests: of texts, of rows, and of everything that makes one generation what it is."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

_NAMESPACE = uuid.UUID("7d0f4c1e-6c1b-5f0e-9a55-3f2c8f3f0d11")


@dataclass(frozen=True, slots=True)
class VectorPart:
    """What made a vector: all that decides whether one may stand in for another.

    The text is not in it; that is what a text digest is for.
    """

    model: str
    revision: str
    dimensions: int
    normalised: bool

    @property
    def digest(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:16]

    def differences(self, other: VectorPart) -> list[str]:
        """Return what is another in ``other``, in words; nothing when they are equal."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{name} {theirs[name]!r} instead of {value!r}"
            for name, value in mine.items()
            if theirs[name] != value
        ]


@dataclass(frozen=True)
class Fingerprint:
    """Everything that decides a generation's content; two generations never mix."""

    source: str
    chunker: str
    chunker_version: int | str
    model: str
    model_revision: str
    dimensions: int
    distance: str
    normalised: bool

    @property
    def digest(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:16]

    @property
    def vectors(self) -> VectorPart:
        """Return what made its vectors: what may be copied into it or reused decides by this."""
        return VectorPart(self.model, self.model_revision, self.dimensions, self.normalised)


def embedding_fingerprint(model: str, revision: str, dimensions: int, normalised: bool) -> str:
    """Return the digest of what made a vector; the same digest and text: the same vector."""
    return VectorPart(model, revision, dimensions, normalised).digest


def canonical_json(value: object) -> bytes:
    """Return JSON with sorted keys, no spaces and UTF-8: the same bytes for the same value."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
    ).encode()


def text_digest(text: str) -> bytes:
    """Return the SHA-256 (32 bytes) of a text in UTF-8; half a surrogate pair has one as well."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def key_text(key: Sequence[object]) -> str:
    """Return a source key (one value per key column) as one unambiguous text."""
    return str(key[0]) if len(key) == 1 else json.dumps([str(k) for k in key], ensure_ascii=False)


def chunk_id(source_key: str, chunk_number: int) -> uuid.UUID:
    """Return the UUIDv5 of source key and chunk number: a second pass overwrites the first."""
    return uuid.UUID(chunk_id_text(source_key, chunk_number))


def chunk_id_text(source_key: str, chunk_number: int) -> str:
    """Return ``chunk_id`` as text; a fifth of the time, since no object is made on the way."""
    named = hashlib.sha1(
        _NAMESPACE.bytes + f"{source_key}\x1f{chunk_number}".encode(), usedforsecurity=False
    )
    h = named.hexdigest()
    variant = "89ab"[int(h[16], 16) & 3]  # RFC 9562: version 5, variant 10
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{variant}{h[17:20]}-{h[20:32]}"


def row_digest(source_key: str, chunk_number: int, digest: bytes, vector: bytes) -> int:
    """Return a number of 256 bits for one stored row; ``vector`` is float32, little-endian."""
    key = source_key.encode("utf-8", "surrogatepass")
    parts = (len(key).to_bytes(8, "big"), key, str(chunk_number).encode(), b":", digest, vector)
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest(), "big")


def rows_digest(rows: Iterable[tuple[str, int, bytes, bytes]]) -> str:
    """Return one digest of many rows, in whatever order they come.

    It is the sum of the rows' digests, so a row that is missing, changed or there twice changes it;
    no number of rows has to be in memory or sorted.
    """
    total = count = 0
    for row in rows:
        total, count = total + row_digest(*row), count + 1
    return f"{count}:{total % 2**256:064x}"
