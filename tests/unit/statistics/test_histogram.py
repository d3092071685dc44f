"""Buckets are within one percent of what they stand for, and merging changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.statistics.histogram import RELATIVE_ERROR, Histogram

LATENCIES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=300)


@given(LATENCIES, st.floats(0.0, 1.0))
def test_every_percentile_is_within_one_percent(values: list[float], share: float) -> None:
    exact = float(np.percentile(values, 100 * share, method="inverted_cdf"))
    found = Histogram.of(values).percentile(share)
    assert found is not None
    # numpy and we may round share × n to neighbouring ranks where it is a whole number but for
    # the last bit
    ordered = sorted(values)
    place = ordered.index(exact)
    near = ordered[max(0, place - 1) : place + 2]
    assert any(abs(found - v) <= v * RELATIVE_ERROR * (1 + 1e-9) for v in near)


@given(LATENCIES)
def test_the_usual_percentiles_agree_with_numpy(values: list[float]) -> None:
    for share in (0.5, 0.75, 1.0):  # exact in binary
        exact = float(np.percentile(values, 100 * share, method="inverted_cdf"))
        assert Histogram.of(values).percentile(share) == pytest.approx(exact, rel=0.0100001)


@given(LATENCIES, LATENCIES)
def test_merging_is_as_if_all_had_been_one(a: list[float], b: list[float]) -> None:
    merged = Histogram.of(a) + Histogram.of(b)
    assert merged == Histogram.of(a + b) == Histogram.of(b) + Histogram.of(a)
    assert merged.total == len(a) + len(b)
    assert sum(count for _, count in merged.rows()) == merged.total
    assert [top for top, _ in merged.rows()] == sorted(top for top, _ in merged.rows())


def test_of_nothing_there_is_no_percentile() -> None:
    assert Histogram().percentile(0.95) is None
    assert Histogram.of([0.0]).percentile(0.5) == pytest.approx(0.001, rel=0.02)
