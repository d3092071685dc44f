"""The timeline is drawn from looks as the ledger keeps them, also from none and from many."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.report.canary_chart import Moment, Span, canary_timeline

START = datetime(2026, 11, 24, 14, 2, 11, tzinfo=UTC)


def look(n: int, weight: int, **changes: Any) -> dict[str, Any]:
    return {
        "looked_at": START + timedelta(seconds=n),
        "weight": weight,
        "acknowledged": weight,
        "observed": weight / 100,
        "counts": {"baseline": {"bad": 1, "latency": 1}, "candidate": {"bad": n, "errors": n}},
        "e_values": {"errors": 2.0 ** min(n, 99), "fine": 1.0, "under": 0.5 ** min(n, 99)},
        **changes,
    }


def drawn(looks: list[dict[str, Any]], **more: Any) -> str:
    return canary_timeline(looks, title="canary g1", abort_at=300, promote_at=20, **more)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_timeline_shows_weights_bad_answers_and_evidence() -> None:
    svg = drawn([look(n, weight) for n, weight in enumerate([1, 1, 5, 25, 0])])
    assert svg.startswith("<svg")
    assert "<script" not in svg
    assert {
        "canary g1",
        "% on canary",
        "asked",
        "acknowledged",
        "seen",
        "bad, canary",
        "E(harm)",
        "E(fine)",
        "errors",
        "latency",
        "under",
        "back at 300",
        "proof at 20",
        "seconds since 2026-11-24 14:02:11 UTC",
    } <= set(texts(svg))
    assert "fine" not in texts(svg)  # it stayed at 1


def test_a_rollout_without_a_look_is_an_empty_picture() -> None:
    assert drawn([]).startswith("<svg")


def test_what_happened_is_written_above_the_weights() -> None:
    svg = drawn(
        [look(n, 5) for n in range(9)],
        moments=[
            Moment(START, "5 %"),
            Moment(START + timedelta(seconds=8), "asked above 5 %", "person"),
            Moment(START + timedelta(seconds=9), "back at 0 % in 12 ms", "back"),
        ],
        holds=[Span(START + timedelta(seconds=2), START + timedelta(seconds=4), "freeze")],
    )
    assert {"5 %", "asked above 5 %", "back at 0 % in 12 ms"} <= set(texts(svg))


def test_looks_of_an_earlier_release_lack_kinds_and_are_drawn() -> None:
    old = look(1, 5, counts={"baseline": {"bad": 1}, "candidate": {}}, e_values={}, observed=None)
    assert drawn([old]).startswith("<svg")


def test_a_day_of_looks_is_put_together() -> None:
    looks = [look(n, 5, e_values={"errors": 2.0, "fine": 1.5}) for n in range(20_000)]
    svg = drawn(looks)
    assert len(svg) < 600_000
    assert "hours since 2026-11-24 14:02:11 UTC" in texts(svg)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 100),
            st.one_of(st.none(), st.floats(0, 1)),
            st.dictionaries(
                st.sampled_from(["errors", "tenant", "fine", "under", "other"]),
                st.floats(0) | st.just(float("nan")),
            ),
            st.integers(0, 10**6),
        ),
        max_size=6,
    ),
    st.text(max_size=120),
)
def test_whatever_the_ledger_holds_is_drawn(
    given_looks: list[tuple[int, float | None, dict[str, float], int]], label: str
) -> None:
    looks = [
        look(n, weight, observed=observed, e_values=e, counts={"candidate": {"errors": bad}})
        for n, (weight, observed, e, bad) in enumerate(given_looks)
    ]
    svg = canary_timeline(
        looks, title=label, abort_at=300, promote_at=20, moments=[Moment(START, label)]
    )
    assert svg.startswith("<svg")
    assert "<script" not in svg
