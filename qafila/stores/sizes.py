"""How much memory and disk a pattern needs: models, indexes, tables. Bytes throughout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

GIB = 1024**3
_PAGE = 8192  # PostgreSQL's page
_TUPLE = 24 + 4  # heap tuple header and its line pointer


@dataclass(frozen=True)
class ModelShape:
    """A language model as far as memory and speed are concerned.

    ``output_tokens_per_s_per_gpu`` was measured on ``measured_on``; other GPUs are scaled by
    memory bandwidth, which bounds decoding.
    """

    name: str
    params: int
    bytes_per_param: float
    layers: int
    kv_heads: int
    head_dim: int
    kv_bytes: int
    output_tokens_per_s_per_gpu: float
    measured_on: str


@dataclass(frozen=True)
class Gpu:
    """A GPU's memory (GiB) and memory bandwidth (GB/s)."""

    name: str
    memory_gib: float
    bandwidth_gb_s: float


@dataclass(frozen=True)
class MemoryFit:
    """What must be in memory, what there is, and whether a tenth stays free."""

    needed_bytes: int
    available_bytes: int

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.available_bytes * 0.9


def kv_bytes_per_token(model: ModelShape) -> int:
    """Return 2 · layers · kv_heads · head_dim · bytes: keys and values of one token.

    With grouped-query attention ``kv_heads`` is smaller than the number of query heads; counting
    the latter overstates the cache four- to eightfold.
    """
    return 2 * model.layers * model.kv_heads * model.head_dim * model.kv_bytes


def weights_bytes(model: ModelShape) -> int:
    """Return the bytes of the weights alone."""
    return math.ceil(model.params * model.bytes_per_param)


def serving_bytes(model: ModelShape, *, context_tokens: int, concurrency: int) -> int:
    """Return weights plus the key-value cache of ``concurrency`` full contexts."""
    return weights_bytes(model) + kv_bytes_per_token(model) * context_tokens * concurrency


def tokens_per_s(model: ModelShape, gpu: Gpu, measured: Gpu, count: int = 1) -> float:
    """Return output tokens a second on ``count`` GPUs, scaled from the measured GPU by bandwidth.

    An upper estimate: it assumes a batch as large as the measured one fits.
    """
    ratio = gpu.bandwidth_gb_s / measured.bandwidth_gb_s
    return model.output_tokens_per_s_per_gpu * ratio * count


def hnsw_bytes(rows: int, dimensions: int, *, m: int = 16) -> int:
    """Return the size of a pgvector HNSW index on ``vector``.

    Per row an element tuple (header 76 bytes, vector 8 + 4·d) and a neighbour tuple of 6-byte
    pointers, 2·m on the lowest layer and m on each of the expected 1/(m−1) layers above; as many
    pairs as fit on a page of 8 192 bytes share it (pgvector's hnsw.h).
    """
    element = 76 + 8 + 4 * dimensions
    neighbours = 4 + 6 * math.ceil(2 * m + m / max(m - 1, 1))
    per_row = element + neighbours + 2 * 4
    usable = _PAGE - 24 - 8
    if per_row > usable:
        return rows * math.ceil(per_row / usable) * _PAGE
    return math.ceil(rows / (usable // per_row)) * _PAGE


def graph_memory_mb(
    rows: int,
    dimensions: int,
    m: int = 16,
    vector_type: Literal["vector", "halfvec"] = "vector",
) -> int:
    """Return the maintenance_work_mem that pgvector needs to build an HNSW graph in memory.

    Per row an element of 128 bytes, its vector (8 + 4·d, halfvec 8 + 2·d), a list of 8 + 16·2·m
    bytes for its neighbours on the lowest layer, one of 8 + 16·m on each of the expected 1/(m−1)
    layers above, a pointer to each list, and 8 bytes for each of these allocations (HnswElementData
    and HnswNeighborArray in pgvector's hnsw.h). A tenth on top, and 4 MB that a parallel build sets
    aside; never less than PostgreSQL's own 64 MB.
    """
    number = 4 if vector_type == "vector" else 2
    layers = 1 / max(m - 1, 1)
    lists = 8 + 32 * m + layers * (8 + 16 * m)
    row = 128 + 8 + number * dimensions + lists + 8 * (1 + layers) + 8 * (3 + layers) + 8
    return max(64, math.ceil(rows * row * 1.1 / 2**20) + 4)


def pgvector_table_bytes(rows: int, dimensions: int, text_bytes: int) -> int:
    """Return the size of the generation table: text, vector, keys and digests (some 160 bytes)."""
    return rows * (_TUPLE + 160 + 8 + 4 * dimensions) + text_bytes


def qdrant_ram_bytes(rows: int, dimensions: int) -> int:
    """Return N · d · 4 · 1.5: vectors in RAM with graph and overhead (Qdrant's capacity guide)."""
    return math.ceil(rows * dimensions * 4 * 1.5)
