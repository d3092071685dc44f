"""The timeline is drawn from looks as the ledger keeps them, also from none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from qafila.report.canary_chart import canary_timeline


def test_a_timeline_shows_weights_bad_answers_and_evidence() -> None:
    start = datetime(2026, 11, 24, tzinfo=UTC)
    looks: list[dict[str, Any]] = [
        {
            "looked_at": start + timedelta(seconds=n),
            "weight": weight,
            "observed": weight / 100,
            "counts": {"baseline": {"bad": 1}, "candidate": {"bad": n}},
            "e_values": {"errors": 2.0**n, "fine": 1.0, "under": 0.0},
        }
        for n, weight in enumerate([1, 1, 5, 25, 0])
    ]
    svg = canary_timeline(looks, title="canary g1", abort_at=300, promote_at=20)
    assert svg.startswith("<svg")
    assert "canary g1" in svg
    assert "evidence (E)" in svg


def test_a_rollout_without_a_look_is_an_empty_picture() -> None:
    assert canary_timeline([], title="nothing", abort_at=300, promote_at=20).startswith("<svg")
