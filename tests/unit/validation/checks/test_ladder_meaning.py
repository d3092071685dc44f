"""Rung 3: which sample gives which verdict, and that a draw is fair and repeatable."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.stores.row_sets import Witnesses, digest_words
from qafila.validation.checks.judge_meaning import (
    Lot,
    Remet,
    Tolerance,
    judge_meaning,
    meet,
    most_faulty,
    sample_size,
)
from qafila.workload.verdict import Verdict

CLOSE = Tolerance.of(half=False, service=False, spread=0.0)


def unit(rows: int, dimensions: int = 16, seed: int = 1) -> Any:
    raw = np.random.default_rng(seed).standard_normal((rows, dimensions))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def met(stored: Any, remade: Any, population: int | None = None, known: Any = None) -> Remet:
    places = [(f"k{n}", 0) for n in range(len(stored))]
    known = np.ones(len(stored), bool) if known is None else known
    return meet(places, stored, remade, known, population or len(stored))


def judge(found: Remet, tolerance: Tolerance = CLOSE, share: float = 0.001) -> Any:
    return judge_meaning(found, tolerance, confidence=0.95, share=share)


def test_the_sample_is_that_of_the_plan() -> None:
    assert sample_size(0.001, 0.95) == 2995  # ln 0.05 / ln 0.999
    assert sample_size(0.001, 0.95, 17_422) < 2995
    assert sample_size(0.001, 0.95, 100) == 95  # one faulty row of 100 is in 95 of them
    assert sample_size(0.001, 0.95, 0) == 0


@given(st.floats(0.0005, 0.5), st.floats(0.51, 0.999), st.integers(1, 5_000))
def test_a_sample_is_never_more_than_all(share: float, confidence: float, rows: int) -> None:
    assert 0 < sample_size(share, confidence, rows) <= rows


@given(st.integers(1, 40), st.integers(0, 39), st.floats(0.01, 1.9))
def test_any_vector_that_is_far_enough_fails(rows: int, at: int, far: float) -> None:
    remade, stored = unit(rows), unit(rows)
    at %= rows
    aside = unit(1, seed=5)[0] - (unit(1, seed=5)[0] @ remade[at]) * remade[at]
    angle = 2 * np.arcsin(far / 2)
    stored[at] = np.cos(angle) * remade[at] + np.sin(angle) * aside / np.linalg.norm(aside)
    judged = judge(met(stored, remade))
    assert judged.verdict is Verdict.FAIL
    assert f"k{at} (chunk 0)" in judged.sentence


@given(st.integers(1, 40), st.booleans())
def test_rounding_alone_never_fails(rows: int, half: bool) -> None:
    remade = unit(rows, 64, seed=rows)
    stored = remade.astype(np.float16).astype(np.float32) if half else remade
    tolerance = Tolerance.of(half=half, service=False, spread=0.0)
    assert judge(met(stored, remade), tolerance).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v * 2, "they were never normalised"),
        (lambda v: unit(len(v), seed=9), "nearly all of them: another model"),
        (lambda v: np.vstack([v[1], v[0], v[2:]]), "k0 (chunk 0) has the vector of k1 (chunk 0)"),
        (lambda v: np.vstack([v[:1] * 2, v[1:]]), "in the direction of its text but not of length"),
        (lambda v: np.vstack([v[:1] * 0, v[1:]]), "where there is none to compare with"),
        (lambda v: np.vstack([v[:1] * np.nan, v[1:]]), "where there is none to compare with"),
        (lambda v: np.vstack([-v[:1], v[1:]]), "5 % of them: a part was made otherwise"),
    ],
)
def test_the_sentence_says_what_kind_of_fault_it_is(change: Any, said: str) -> None:
    remade = unit(20)
    judged = judge(met(np.asarray(change(remade), np.float32), remade))
    assert judged.verdict is Verdict.FAIL
    assert said in judged.sentence


def test_a_text_that_the_model_knows_nothing_of_should_have_no_vector() -> None:
    known = np.array([True, False])
    judged = judge(met(unit(2), unit(2), known=known))
    assert judged.verdict is Verdict.FAIL
    assert "k1" in judged.sentence


def test_too_few_rows_and_no_rows_decide_nothing() -> None:
    few = judge(met(unit(100), unit(100), population=100_000))
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "rows are needed to see 0.1 %" in few.sentence
    none = judge(met(unit(0), unit(0), population=0))
    assert none.verdict is Verdict.INCONCLUSIVE


def test_a_service_that_varies_too_much_decides_nothing() -> None:
    wild = Tolerance.of(half=False, service=True, spread=0.05)
    judged = judge(met(unit(5), unit(5)), wild)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "answers that differ by up to 0.05" in judged.sentence


def test_what_may_still_be_faulty() -> None:
    assert most_faulty(0, 2995, 100_000, 0.95) == pytest.approx(0.001, rel=1e-3)
    assert most_faulty(0, 0, 10, 0.95) == 1.0
    assert most_faulty(2, 10, 10, 0.95) == 0.2  # all were looked at
    # Clopper-Pearson, one-sided: P(X ≤ 1 | 20, p) = 0.05 at p = 0.2161
    assert most_faulty(1, 20, 1000, 0.95) == pytest.approx(0.2161, abs=1e-4)


def rows_of(keys: list[bytes]) -> Witnesses:
    return Witnesses(
        keys,
        np.zeros(len(keys), np.int64),
        np.ones(len(keys), np.bool_),
        digest_words([bytes(32)] * len(keys)),
    )


@given(st.sets(st.binary(max_size=4)), st.integers(1, 20), st.integers(0, 9), st.randoms())
def test_a_draw_does_not_depend_on_order_or_batches(
    keys: set[bytes], most: int, seed: int, chance: random.Random
) -> None:
    names = sorted(k.hex().encode() for k in keys)
    lots = []
    for _ in range(2):
        chance.shuffle(names)
        lot, cut = Lot(most, seed), chance.randrange(len(names) + 1)
        lot.add(rows_of(names[:cut]))
        lot.add(rows_of(names[cut:]))
        assert lot.population == len(names)
        lots.append(lot.drawn(most))
    assert lots[0] == lots[1]
    assert len(set(lots[0])) == min(most, len(names))


def test_every_row_is_drawn_as_often_as_any_other() -> None:
    keys = [b"%d" % n for n in range(40)]
    drawn = dict.fromkeys(keys, 0)
    for seed in range(2_000):
        lot = Lot(10, seed)
        lot.add(rows_of(keys))
        for key, _ in lot.drawn(10):
            drawn[key.encode()] += 1
    # 500 expected, a standard deviation of 19.4: five of them either way
    assert all(400 < n < 600 for n in drawn.values())
