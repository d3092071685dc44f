"""How each fault of rows is planted in a scratch copy: documents in, broken documents out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from qafila.stores.port import Chunk, Vectors
from qafila.validation.rehearsal.scratch import Document
from qafila.workload.corpus import WordLlamaEmbedder
from qafila.workload.fingerprint import text_digest
from qafila.workload.model import Workload

ONE_MORE = 1_000  # the number of a chunk that should not be there is the true one's plus this
OUTSIDERS = "rehearsal-outsiders"  # a group that no source names

Embed = Callable[[Sequence[str]], Vectors]
Plant = Callable[[Sequence[Document], Workload, Embed], list[Document]]


def _chunks(change: Callable[[Chunk], Chunk]) -> Plant:
    """Return a plant that changes the first chunk of each document."""

    def plant(documents: Sequence[Document], _: Workload, __: Embed) -> list[Document]:
        return [replace(d, chunks=(change(d.chunks[0]), *d.chunks[1:])) for d in documents]

    return plant


def _vectors(change: Callable[[Vectors], Vectors]) -> Plant:
    """Return a plant that changes the vectors of each document."""

    def plant(documents: Sequence[Document], _: Workload, __: Embed) -> list[Document]:
        return [replace(d, vectors=change(d.vectors)) for d in documents]

    return plant


def _texts(change: Callable[[str], str]) -> Plant:
    """Return a plant that changes text and vector, as if it had always been so; not the digest."""

    def plant(documents: Sequence[Document], _: Workload, embed: Embed) -> list[Document]:
        broken = []
        for document in documents:
            text = change(document.chunks[0].text)
            chunk = replace(document.chunks[0], text=text)
            vectors = np.concatenate([embed([text]), document.vectors[1:]])
            broken.append(Document(document.key, (chunk, *document.chunks[1:]), vectors))
        return broken

    return plant


def dropped(documents: Sequence[Document], _: Workload, __: Embed) -> list[Document]:
    """Leave the documents out."""
    return []


def duplicated(documents: Sequence[Document], _: Workload, __: Embed) -> list[Document]:
    """Put the first chunk there once more, by another number."""
    return [
        Document(
            d.key,
            (*d.chunks, replace(d.chunks[0], number=d.chunks[0].number + ONE_MORE)),
            np.concatenate([d.vectors, d.vectors[:1]]),
        )
        for d in documents
    ]


def off_by_one(documents: Sequence[Document], _: Workload, embed: Embed) -> list[Document]:
    """Let the first chunk begin one character late; its digest is that of what it holds."""
    broken = []
    for d in documents:
        text, first = d.chunks[0].text[1:], d.chunks[0]
        late = replace(first, start=first.start + 1, text=text, digest=text_digest(text))
        vectors = np.concatenate([embed([text]), d.vectors[1:]])
        broken.append(Document(d.key, (late, *d.chunks[1:]), vectors))
    return broken


def stale(documents: Sequence[Document], _: Workload, embed: Embed) -> list[Document]:
    """Let the first chunk hold an older text, with the digest and the vector of that text."""
    broken = []
    for d in documents:
        text = f"{d.chunks[0].text} (before the last change)"
        old = replace(d.chunks[0], text=text, digest=text_digest(text))
        vectors = np.concatenate([embed([text]), d.vectors[1:]])
        broken.append(Document(d.key, (old, *d.chunks[1:]), vectors))
    return broken


def truncated(documents: Sequence[Document], _: Workload, embed: Embed) -> list[Document]:
    """Make each vector of the first third of its text, as a model with a short window does."""
    return [
        replace(d, vectors=embed([c.text[: max(1, len(c.text) // 3)] for c in d.chunks]))
        for d in documents
    ]


def wrong_model(documents: Sequence[Document], workload: Workload, _: Embed) -> list[Document]:
    """Take the vectors of another model: hashed trigrams of characters, of length 1."""
    width = workload.corpus.embedder.dimensions
    return [
        replace(d, vectors=np.stack([trigram_vector(c.text, width) for c in d.chunks]))
        for d in documents
    ]


def trigram_vector(text: str, dimensions: int) -> Vectors:
    """Return the signed feature hash of a text's trigrams (Weinberger et al. 2009), of length 1."""
    vector = np.zeros(dimensions, np.float32)
    padded = f"  {text.lower()} "
    for start in range(len(padded) - 2):
        mark = zlib.crc32(padded[start : start + 3].encode("utf-8", "surrogatepass"))
        vector[mark % dimensions] += 1.0 if mark & 0x8000_0000 else -1.0
    vector[0] += 0.5  # never zero, whatever cancels
    return vector / np.linalg.norm(vector)


def other_revision(documents: Sequence[Document], workload: Workload, _: Embed) -> list[Document]:
    """Take the vectors of another revision: the model with and without lower case changed over.

    Of a model that we cannot run in another revision, each vector is turned by 15 degrees.
    """
    settings = workload.corpus.embedder
    if isinstance(settings, WordLlamaEmbedder):
        from qafila.embedders.wordllama import WordLlamaEmbedder as InProcess

        other = InProcess(settings.dimensions, lowercase=not settings.lowercase)
        return [replace(d, vectors=other.embed([c.text for c in d.chunks])) for d in documents]
    return [replace(d, vectors=_turned(d.vectors)) for d in documents]


def _turned(vectors: Vectors) -> Vectors:
    aside = np.random.default_rng(0).standard_normal((vectors.shape[1],), np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.maximum(lengths, 1e-12)
    across = aside - (units @ aside)[:, None] * units
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.deg2rad(15)
    turned = (np.cos(angle) * units + np.sin(angle) * across) * lengths
    return np.asarray(turned, dtype=np.float32)


def swapped(documents: Sequence[Document], _: Workload, __: Embed) -> list[Document]:
    """Let every two documents hold each other's first vector."""
    broken = list(documents)
    for one, other in zip(range(0, len(broken) - 1, 2), range(1, len(broken), 2), strict=False):
        first, second = documents[one], documents[other]
        broken[one] = replace(
            first, vectors=np.concatenate([second.vectors[:1], first.vectors[1:]])
        )
        broken[other] = replace(
            second, vectors=np.concatenate([first.vectors[:1], second.vectors[1:]])
        )
    return broken


def mojibake(text: str) -> str:
    """Return a text whose UTF-8 was read as Latin-1; of one in ASCII, one letter."""
    if text.isascii():
        text = text[:1] + "é" + text[1:]
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def other_type(metadata: Mapping[str, object]) -> dict[str, object]:
    """Return metadata whose first value became a string, or a number where it was one."""
    if not metadata:
        return {"rehearsal": "1"}
    name, value = next(iter(sorted(metadata.items())))
    return {**metadata, name: len(value) if isinstance(value, str) else str(value)}


PLANTS: Mapping[str, Plant] = {
    "dropped shard": dropped,
    "duplicated chunk": duplicated,
    "off-by-one chunk": off_by_one,
    "truncated text": truncated,
    "stale row": stale,
    "wrong model": wrong_model,
    "other revision": other_revision,
    "unnormalised vectors": _vectors(lambda v: v * np.float32(1.7)),
    "swapped vectors": swapped,
    "zero vectors": _vectors(np.zeros_like),
    "lost ACL": _chunks(lambda c: replace(c, acl=[])),
    "widened ACL": _chunks(lambda c: replace(c, acl=[*c.acl, OUTSIDERS])),
    "lowercased text": _texts(str.lower),
    "mojibake": _texts(mojibake),
    "metadata type change": _chunks(lambda c: replace(c, metadata=other_type(c.metadata))),
}
