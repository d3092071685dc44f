"""What a need would take: tokens, vectors, memory; from measured volumes, each assumption said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qafila.decision.patterns import MODEL, SERVING_CONCURRENCY, SERVING_CONTEXT
from qafila.decision.prices import PriceBook
from qafila.stores.sizes import (
    GIB,
    Gpu,
    MemoryFit,
    ModelShape,
    hnsw_bytes,
    pgvector_table_bytes,
    serving_bytes,
    tokens_per_s,
)

# Measured with the tokenizer that ships with wordllama: 1 400 English abstracts (Cranfield) 4.72
# bytes a token, 761 French passages (PIAF) 3.43. Arabic: two bytes a letter, a letter a token in
# a vocabulary without Arabic words, the dear case. The rest: the usual rule of thumb.
BYTES_PER_TOKEN: Mapping[str, float] = {"english": 4.7, "french": 3.4, "arabic": 2.0}
OTHER_BYTES_PER_TOKEN = 4.0
CHUNK_TOKENS = 256
DIMENSIONS = 1024  # where no model is chosen yet
# Utilisation of a rented GPU below which a model by the token was cheaper in every comparison of
# the price book (an 8 B model on H100, three providers: 18, 41 and 42 %).
BREAK_EVEN = 0.18
_SECONDS_PER_MONTH = 730 * 3600


@dataclass(frozen=True)
class Texts:
    """One measured volume of text. ``count`` None: of how many texts is not known.

    ``languages``: shares of a sample; empty: not known.
    """

    count: int | None
    size_bytes: int
    languages: Mapping[str, float] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Return how many tokens it is, about; by the bytes a token has in its languages."""
        told = {k: share for k, share in self.languages.items() if share > 0}
        if not told:
            return math.ceil(self.size_bytes / OTHER_BYTES_PER_TOKEN)
        total = sum(told.values())
        per_byte = sum(
            share / total / BYTES_PER_TOKEN.get(language, OTHER_BYTES_PER_TOKEN)
            for language, share in sorted(told.items())
        )
        return math.ceil(self.size_bytes * per_byte)

    @property
    def chunks(self) -> int:
        """Return into how many pieces of 256 tokens it is cut, one text at least one piece."""
        if not self.count:
            return math.ceil(self.tokens / CHUNK_TOKENS)
        return self.count * max(1, math.ceil(self.tokens / self.count / CHUNK_TOKENS))


@dataclass(frozen=True)
class Serving:
    """A language model that could be served, and the GPUs that there are."""

    model: ModelShape
    gpus: tuple[Gpu, ...]
    measured: Gpu


def serving_of(book: PriceBook) -> Serving:
    """Return the model and the GPUs that the price book compares patterns with."""
    model = book.models[MODEL]
    return Serving(model, tuple(book.gpus.values()), book.gpus[model.measured_on])


@dataclass(frozen=True)
class Takes:
    """What it would take. Sizes in bytes; ``None``: not needed, or nothing to compute it from.

    ``gpu``: the smallest class that holds model and cache; ``by_token``: a hosted model is the
    cheaper way at this volume, or until the volume is known.
    """

    texts: int | None
    text_bytes: int
    tokens: int
    vectors: int
    dimensions: int
    table_bytes: int
    index_bytes: int
    languages: Mapping[str, float]
    model_bytes: int | None = None
    gpu: str | None = None
    by_token: bool | None = None

    @property
    def sentence(self) -> str:
        """Return it in words."""
        count = "texts" if self.texts is None else f"{self.texts:,} texts"
        parts = []
        if self.text_bytes:
            parts.append(
                f"{count}, about {self.tokens:,} tokens, {self.vectors:,} vectors of "
                f"{self.dimensions}: {_size(self.table_bytes + self.index_bytes)} with index"
            )
        if self.model_bytes is not None:
            where = "no single GPU of the price book holds it" if self.gpu is None else self.gpu
            parts.append(f"a model of {self.model_bytes / GIB:.0f} GiB with its cache ({where})")
        if self.by_token:
            parts.append("by the token")
        return "; ".join(parts) or "nothing that can be computed yet"

    def as_row(self) -> dict[str, Any]:
        """Return everything JSON-able, the sentence too."""
        return {
            "texts": self.texts,
            "text_bytes": self.text_bytes,
            "tokens": self.tokens,
            "vectors": self.vectors,
            "dimensions": self.dimensions,
            "table_bytes": self.table_bytes,
            "index_bytes": self.index_bytes,
            "languages": dict(self.languages),
            "model_bytes": self.model_bytes,
            "gpu": self.gpu,
            "by_token": self.by_token,
            "sentence": self.sentence,
        }


def _size(size_bytes: int) -> str:
    """Return a size in GiB, a small one in MiB and never as nothing."""
    if size_bytes >= GIB / 10:
        return f"{size_bytes / GIB:.1f} GiB"
    return f"{max(1, math.ceil(size_bytes / 1024**2))} MiB"


def takes_of(
    volumes: Iterable[Texts],
    *,
    dimensions: int = DIMENSIONS,
    writes: bool = False,
    serving: Serving | None = None,
    generated_tokens_per_month: int | None = None,
) -> Takes | None:
    """Return what a need over these texts would take; None without a text and without a model.

    ``writes``: a language model writes answers, so that its memory counts too.
    """
    texts = list(volumes)
    size = sum(t.size_bytes for t in texts)
    if not size and not writes:
        return None
    counts = [t.count for t in texts]
    vectors = sum(t.chunks for t in texts)
    model_bytes = gpu = by_token = None
    if writes:
        by_token = True
    if writes and serving is not None:
        model_bytes, found = _smallest(serving)
        gpu = None if found is None else found.name
        if found is not None and generated_tokens_per_month is not None:
            speed = tokens_per_s(serving.model, found, serving.measured)
            by_token = generated_tokens_per_month / (speed * _SECONDS_PER_MONTH) < BREAK_EVEN
    return Takes(
        texts=None if None in counts else sum(c for c in counts if c is not None),
        text_bytes=size,
        tokens=sum(t.tokens for t in texts),
        vectors=vectors,
        dimensions=dimensions,
        table_bytes=pgvector_table_bytes(vectors, dimensions, size),
        index_bytes=hnsw_bytes(vectors, dimensions),
        languages=languages_of(texts),
        model_bytes=model_bytes,
        gpu=gpu,
        by_token=by_token,
    )


def _smallest(serving: Serving) -> tuple[int, Gpu | None]:
    needed = serving_bytes(
        serving.model, context_tokens=SERVING_CONTEXT, concurrency=SERVING_CONCURRENCY
    )
    fitting = [g for g in serving.gpus if MemoryFit(needed, math.floor(g.memory_gib * GIB)).fits]
    return needed, min(fitting, key=lambda g: (g.memory_gib, g.name), default=None)


def languages_of(texts: Sequence[Texts]) -> dict[str, float]:
    """Return the share of each language by bytes, of the texts whose language was looked at."""
    known = [t for t in texts if t.languages and t.size_bytes]
    total = sum(t.size_bytes for t in known)
    names = sorted({name for t in known for name in t.languages})
    return {
        name: round(math.fsum(t.size_bytes * t.languages.get(name, 0.0) for t in known) / total, 3)
        for name in names
    }
