"""Plans: arithmetic by hand, the spread of the sample, and the words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.backfill.plan import BackfillPlan, Limits, Sample, plan_backfill, render
from qafila.inspect.spread import Portion
from qafila.sources.modes import Mode

COPY = Portion(Mode.COPY, 25, 25, 0, 0.01, "same model")
REUSE = Portion(Mode.REUSE, 5, 10, 0, 0.02, "known text")
EMBED = Portion(Mode.RE_EMBED, 20, 40, 4000, 0.2, "new text")


def plan_of(batches: Sequence[Sequence[Portion]], **changed: Any) -> BackfillPlan:
    given = {
        "rows": 10_000,
        "shards": 10,
        "rows_per_shard": 1000,
        "workers": 2,
        "sample": Sample.of(batches),
        "price_per_million_tokens": 2.0,
        "currency": "EUR",
        "spend_cap": 10.0,
    }
    return plan_backfill(**{**given, **changed})


def test_every_way_is_counted_by_itself() -> None:
    # 8 batches of 50 rows, all alike: 10 000 / 400 = x25 of 8 batches, 200 batches' worth.
    plan = plan_of([[COPY, REUSE, EMBED]] * 8)
    assert [(s.mode, s.rows, s.chunks, s.tokens) for s in plan.by_mode] == [
        (Mode.COPY, 5000, 5000, 0),
        (Mode.REUSE, 1000, 2000, 0),
        (Mode.RE_EMBED, 4000, 8000, 800_000),
    ]
    assert (plan.chunks_estimated, plan.tokens_estimated) == (15_000, 800_000)
    embed = plan.by_mode[2]
    assert (embed.cost_p50, embed.cost_p95) == (pytest.approx(1.6), pytest.approx(1.6))
    assert embed.seconds_p50 == pytest.approx(200 * 0.2 / 2)
    assert plan.seconds_p50 == plan.seconds_p95 == pytest.approx(200 * 0.23 / 2)
    assert plan.cost_p95 == pytest.approx(1.6)  # batches that are all alike have no spread
    assert plan.risks == ()


def test_p95_comes_from_the_spread_of_the_batches_and_shrinks_with_more_of_them() -> None:
    def batch(tokens: int) -> list[Portion]:
        return [Portion(Mode.RE_EMBED, 50, 50, tokens, tokens / 1e5)]

    generator = np.random.default_rng(1)
    # tokens a batch: mean 20 000, deviation 5 000; of n batches the mean's deviation is
    # 5 000 / sqrt(n), its P95 1.645 of those above: at n = 6 17 %, at n = 60 5 %
    for count, excess, tolerance in ((6, 0.17, 0.12), (60, 0.053, 0.03)):
        plan = plan_of([batch(round(t)) for t in generator.normal(20_000, 5_000, count)])
        assert plan.cost_p95 is not None
        assert plan.cost_p95 / plan.cost_estimated - 1 == pytest.approx(excess, abs=tolerance)
        assert plan.seconds_p95 / plan.seconds_p50 == pytest.approx(
            plan.cost_p95 / plan.cost_estimated, rel=0.01
        )


PORTIONS = st.builds(
    Portion,
    mode=st.sampled_from(Mode),
    rows=st.integers(0, 60),
    chunks=st.integers(0, 90),
    tokens=st.integers(0, 9000),
    seconds=st.floats(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(PORTIONS, min_size=1, max_size=3), max_size=8),
    st.integers(0, 10**7),
    st.integers(1, 8),
    st.integers(0, 99),
)
def test_a_plan_adds_up_whatever_was_sampled(
    batches: list[list[Portion]], rows: int, workers: int, seed: int
) -> None:
    plan = plan_of(batches, rows=rows, workers=workers, seed=seed)
    assert plan == plan_of(batches, rows=rows, workers=workers, seed=seed)
    assert plan.seconds_p95 >= plan.seconds_p50 >= 0
    assert plan.cost_p95 is None or plan.cost_p95 >= plan.cost_estimated >= 0
    assert sum(s.chunks for s in plan.by_mode) == pytest.approx(
        plan.chunks_estimated if batches else 0, abs=2
    )
    if sum(p.rows for b in batches for p in b):
        assert sum(s.rows for s in plan.by_mode) == pytest.approx(rows, abs=2)
    assert all(s.cost_p95 >= s.cost_p50 and s.seconds_p95 >= s.seconds_p50 for s in plan.by_mode)
    assert render(plan)
    json.dumps(asdict(plan))  # it can be kept


@pytest.mark.parametrize(
    ("limits", "seconds", "limited_by"),
    [
        (Limits(), 23.0, ""),
        # 800 000 tokens at 400 000 a minute
        (Limits(tokens_per_minute=400_000), 120.0, "the account's tokens a minute"),
        # 8 000 chunks, 16 a request: 500 requests, at 250 a minute
        (
            Limits(requests_per_minute=250, texts_per_request=16),
            120.0,
            "the account's requests a minute",
        ),
        (Limits(source_rows_per_s=100), 100.0, "reading the source"),
        (Limits(source_rows_per_s=1e6, tokens_per_minute=1e9), 23.0, ""),
    ],
)
def test_no_number_of_workers_goes_beyond_a_limit(
    limits: Limits, seconds: float, limited_by: str
) -> None:
    plan = plan_of([[COPY, REUSE, EMBED]] * 8, limits=limits)
    assert (plan.seconds_p50, plan.limited_by) == (pytest.approx(seconds), limited_by)
    assert ("More workers would not shorten it" in render(plan)) == bool(limited_by)


@pytest.mark.parametrize(
    ("changed", "batches", "risk"),
    [
        ({"spend_cap": 1.0}, 8, "1.60 EUR of embeddings is over the cap of 1.00 EUR"),
        ({"spend_cap": 0.0001}, 8, "1.60 EUR of embeddings is over the cap of 0.0001 EUR"),
        ({}, 2, "estimated from 2 batches only, which say little of the spread"),
        ({"rows_per_shard": 5}, 0, ""),
        (
            {"index_memory_mb": 900, "index_memory_available_mb": 512},
            8,
            "the index needs 900 MB while it is built and 512 MB are there",
        ),
    ],
)
def test_a_risk_is_a_sentence(changed: dict[str, Any], batches: int, risk: str) -> None:
    plan = plan_of([[COPY, REUSE, EMBED]] * batches, **changed)
    assert plan.risks == ((risk,) if risk else ())
    assert f"- {risk or 'none found'}" in render(plan)


def test_a_cap_that_only_p95_crosses_is_a_risk_and_no_refusal() -> None:
    light, heavy = (Portion(Mode.RE_EMBED, 50, 50, t, 0.1) for t in (1000, 9000))
    plan = plan_of([[light]] * 3 + [[heavy]] * 3, spend_cap=2.2)
    assert plan.cost_estimated == pytest.approx(2.0)
    assert not plan.over_cap
    assert "(P95), over the cap of 2.20 EUR" in plan.risks[0]


def test_a_mapped_generation_says_that_it_is_a_bridge() -> None:
    plan = plan_of([[Portion(Mode.MAP, 50, 50, 0, 0.01)]] * 8)
    assert plan.cost_estimated == 0
    assert "let the ladder say" in plan.risks[0]


def test_the_words_hold_all_that_an_operator_asks() -> None:
    plan = plan_of(
        [[COPY, REUSE, EMBED]] * 8,
        index_memory_mb=120,
        limits=Limits(source_rows_per_s=20_000),
        promises=("Rows are ordered by id.",),
    )
    assert (
        render(plan)
        == """\
10,000 rows in 10 shards of at most 1,000, about 15,000 chunks, by 2 workers.

| way      |   rows | chunks |  tokens | EUR P50 | EUR P95 | minutes P50 | minutes P95 |
| -------- | -----: | -----: | ------: | ------: | ------: | ----------: | ----------: |
| copy     |  5,000 |  5,000 |       0 |    0.00 |    0.00 |       < 0.1 |       < 0.1 |
| reuse    |  1,000 |  2,000 |       0 |    0.00 |    0.00 |       < 0.1 |       < 0.1 |
| re-embed |  4,000 |  8,000 | 800,000 |    1.60 |    1.60 |         0.3 |         0.3 |
| all      | 10,000 | 15,000 | 800,000 |    1.60 |    1.60 |         0.4 |         0.4 |

Spend cap: 10.00 EUR. The index is built after the load; its time comes on top.
The source was read at 20,000 rows/s.
The index needs 120 MB while it is built.
Estimated from 400 rows in 8 batches that were read for it; P95 is how far such a sample may be \
off, not a promise of the machine.
- copy: same model.
- reuse: known text.
- re-embed: new text.

The source:
- Rows are ordered by id.

Risks:
- none found
"""
    )


def test_a_sample_that_is_not_split_has_no_ways_and_no_p95_of_money() -> None:
    plan = plan_of([], sample=Sample(100, 120, 3000, 9000, 50, (0.1, 0.1, 0.3)))
    assert (plan.by_mode, plan.cost_p95, plan.tokens_p95) == ((), None, None)
    assert "unknown" in render(plan)
