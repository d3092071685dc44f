"""Who comes before whom among embedders, who ties, and what a million chunks cost."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.compare.embedders.ranking import (
    Candidate,
    machine_per_million,
    paid_per_million,
    price_step,
    rank,
    vector_bytes,
    verdict_sentence,
)
from qafila.decision.prices import Price

RNG = np.random.default_rng(3)
HARD = RNG.random(60) * 0.6  # what each query costs everybody
ENGLISH = ["english"] * 60


def candidate(
    name: str, better_by: float, price: str | None = "1", noise: float = 0.0
) -> Candidate:
    scores = np.clip(HARD + better_by + noise * RNG.standard_normal(60), 0, 1)
    return Candidate(name, scores.tolist(), None if price is None else Decimal(price))


def test_a_clear_order() -> None:
    found = rank(
        [candidate("poor", 0.0), candidate("good", 0.2), candidate("best", 0.3)],
        "good",
        ENGLISH,
        seed=7,
    )
    assert [(r.candidate.name, r.place, r.tied) for r in found] == [
        ("best", 1, False),
        ("good", 2, False),
        ("poor", 3, False),
    ]
    assert found[1].against is None
    assert found[0].against is not None
    assert found[0].against.comparison.delta == pytest.approx(0.1)
    assert found[0].against.p_holm == pytest.approx(2 / 10_001, rel=0.2)
    said = verdict_sentence(found, "good", "60 judged queries")
    assert said.startswith("best comes first: nDCG@10")
    assert "It is better than good: +0.100" in said


def test_of_a_tie_the_cheaper_comes_first_and_an_unknown_price_last() -> None:
    found = rank(
        [
            candidate("dear", 0.1, "9", 0.1),
            candidate("unknown", 0.1, None, 0.1),
            candidate("cheap", 0.1, "0.5", 0.1),
            candidate("poor", -0.5),
        ],
        "dear",
        ENGLISH,
        seed=7,
    )
    assert [r.candidate.name for r in found] == ["cheap", "dear", "unknown", "poor"]
    assert [r.place for r in found] == [1, 1, 1, 4]
    assert [r.tied for r in found] == [True, True, True, False]
    assert "not told from dear, unknown" in verdict_sentence(found, "dear", "60 judged queries")


def test_equal_scores_tie_however_many() -> None:
    same = [Candidate(n, [0.5, 0.25, 1.0], Decimal(p)) for n, p in (("a", 2), ("b", 1))]
    found = rank(same, "a", ["english", "french", "french"], seed=1)
    assert [(r.candidate.name, r.place) for r in found] == [("b", 1), ("a", 1)]
    assert "not told from a" in verdict_sentence(found, "a", "3 judged queries")


def test_of_a_tie_at_one_price_nothing_is_changed() -> None:
    same = [Candidate(n, [0.5, 1.0], Decimal(p)) for n, p in (("a", "0.011"), ("b", "0.012"))]
    found = rank(same, "b", ["english"] * 2, seed=1)
    assert [r.candidate.name for r in found] == ["b", "a"]  # a tenth of a cent is noise
    assert verdict_sentence(found, "b", "2 judged queries").endswith("compared with it.")


def test_one_query_tells_nothing() -> None:
    candidates = [Candidate("a", [1.0], Decimal(1)), Candidate("b", [0.0])]
    found = rank(candidates, "b", ["french"], seed=1)
    assert [r.place for r in found] == [1, 1]
    assert found[0].against is None
    assert "Too few queries" in verdict_sentence(found, "b", "1 judged query")


def test_each_language_by_itself() -> None:
    languages = ["english"] * 30 + ["french"] * 29 + ["not told"]
    flat = Candidate("flat", [0.5] * 60)
    french = Candidate("french", [0.4] * 30 + [0.9] * 29 + [0.5])
    found = {r.candidate.name: r for r in rank([flat, french], "flat", languages, seed=7)}
    told = {s.language: s for s in found["french"].languages}
    assert {name: s.queries for name, s in told.items()} == {
        "english": 30,
        "french": 29,
        "not told": 1,
    }
    assert told["english"].against is not None
    assert told["english"].against.comparison.delta == pytest.approx(-0.1)
    assert told["french"].against is not None
    assert told["french"].against.comparison.delta == pytest.approx(0.4)
    assert told["not told"].against is None


@pytest.mark.parametrize(
    ("candidates", "reference"),
    [
        ([Candidate("a", [1.0]), Candidate("a", [1.0])], "a"),
        ([Candidate("a", [1.0])], "b"),
        ([Candidate("a", [1.0]), Candidate("b", [1.0, 0.0])], "a"),
        ([Candidate("a", [])], "a"),
    ],
)
def test_what_cannot_be_ranked(candidates: list[Candidate], reference: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        rank(candidates, reference, ["english"] * len(candidates[0].scores), seed=1)


score = st.floats(0, 1, width=32)
field = st.lists(
    st.tuples(
        st.lists(score, min_size=6, max_size=6),
        st.none() | st.decimals(0, 100, places=2, allow_nan=False),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(field)
def test_nobody_is_lost_and_the_order_given_never_matters(
    drawn: list[tuple[list[float], Decimal | None]],
) -> None:
    candidates = [Candidate(f"c{n}", s, p) for n, (s, p) in enumerate(drawn)]
    found = rank(candidates, "c0", ["english"] * 6, seed=2)
    assert sorted(r.candidate.name for r in found) == [c.name for c in candidates]
    assert found == rank(list(reversed(candidates)), "c0", ["english"] * 6, seed=2)
    for place in {r.place for r in found}:
        group = [r for r in found if r.place == place]
        assert [r.behind for r in group].count(None) == 1  # one leader
        for r in group:
            assert r.behind is None or r.behind.ci_low <= 0 <= r.behind.ci_high
        prices = [price_step(r.candidate) for r in group]
        assert prices == sorted(prices)
        assert place == 1 + sum(r.place < place for r in found)


def test_storage_and_prices() -> None:
    assert (vector_bytes(256), vector_bytes(256, half=True)) == (1032, 520)
    assert paid_per_million(120.5, Decimal("0.02")) == Decimal("2.4100")  # 120.5 M tokens × 0.02
    machine = Price(
        "m", "machine", "hour", "USD", Decimal("0.112"), "s", date(2026, 11, 1), vcpus=2
    )
    # 1 000 000 × 0.001 s = 1000 s of one of two vCPUs: 0.112 / 3600 × 1000 / 2
    assert machine_per_million(0.001, machine) == Decimal("0.015556")
