"""Memory and disk: published shapes, and arithmetic that can be followed in the comment."""

from __future__ import annotations

from typing import Literal

import pytest

from qafila.stores import sizes as sizing
from qafila.stores.sizes import GIB, Gpu, MemoryFit, ModelShape, graph_memory_mb

LLAMA_8B = ModelShape("8b", 8_030_000_000, 2, 32, 8, 128, 2, 3974, "H100")
LLAMA_70B = ModelShape("70b", 70_600_000_000, 2, 80, 8, 128, 2, 810, "H100")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (LLAMA_8B, 131_072),  # 2 · 32 · 8 · 128 · 2
        (LLAMA_70B, 327_680),  # 2 · 80 · 8 · 128 · 2
    ],
)
def test_the_cache_of_one_token_counts_grouped_heads(model: ModelShape, expected: int) -> None:
    assert sizing.kv_bytes_per_token(model) == expected


def test_serving_is_weights_plus_every_context() -> None:
    # 8.03e9 · 2 + 131 072 · 4 096 · 16
    needed = sizing.serving_bytes(LLAMA_8B, context_tokens=4_096, concurrency=16)
    assert needed == 16_060_000_000 + 8_589_934_592


@pytest.mark.parametrize(
    ("gib", "fits"),
    [(24, False), (26, True), (80, True)],  # 22.96 GiB needed; a tenth stays free
)
def test_an_8b_model_needs_more_than_a_24_gib_gpu(gib: int, fits: bool) -> None:
    needed = sizing.serving_bytes(LLAMA_8B, context_tokens=4_096, concurrency=16)
    assert MemoryFit(needed, gib * GIB).fits is fits


def test_qdrant_holds_vectors_and_a_half_in_ram() -> None:
    assert sizing.qdrant_ram_bytes(1_000_000, 768) == 4_608_000_000  # 1e6 · 768 · 4 · 1.5


def test_an_index_pair_never_spans_more_pages_than_it_needs() -> None:
    # 76 + 8 + 1024 and 4 + 6 · 34 and two line pointers: 1 324 bytes, six on a page
    assert sizing.hnsw_bytes(6, 256) == 8_192
    assert sizing.hnsw_bytes(7, 256) == 16_384
    # 2 000 dimensions need more than one page a row
    assert sizing.hnsw_bytes(10, 2_000) == 10 * 2 * 8_192


def test_throughput_scales_with_memory_bandwidth() -> None:
    h100, l4 = Gpu("H100", 80, 3350), Gpu("L4", 24, 300)
    assert sizing.tokens_per_s(LLAMA_8B, h100, h100, 2) == pytest.approx(7948)
    assert sizing.tokens_per_s(LLAMA_8B, l4, h100) == pytest.approx(3974 * 300 / 3350)


@pytest.mark.parametrize(
    ("rows", "dimensions", "m", "vector_type", "expected"),
    [
        (0, 256, 16, "vector", 64),  # never less than PostgreSQL's own
        # 128 + 8 + 4·256 + (8 + 512 + 264/15) + 8·(16/15) + 8·(46/15) + 8 = 1738.7; · 1.1 + 4 MB
        (100_000, 256, 16, "vector", 187),
        # 1738.7 − 2·256 = 1226.7
        (100_000, 256, 16, "halfvec", 133),
        # 128 + 8 + 4·1000 + (8 + 128 + 72/3) + 8·(4/3) + 8·(10/3) + 8 = 4341.3
        (1_000_000, 1_000, 4, "vector", 4_559),
    ],
)
def test_memory_of_an_index_build(
    rows: int, dimensions: int, m: int, vector_type: Literal["vector", "halfvec"], expected: int
) -> None:
    assert graph_memory_mb(rows, dimensions, m, vector_type) == expected
