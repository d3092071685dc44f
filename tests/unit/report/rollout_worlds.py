"""Rollouts as the ledger would tell them, for tests of their page and their timeline."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from qafila.report.facts import ChainState, EvidenceRow
from qafila.report.rollout_facts import Answer, Asked, RolloutFacts
from qafila.rollout.judge.guardrails import Limits

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def look(number: int, weight: int, step: str | None = None, **changes: Any) -> dict[str, Any]:
    canary = weight
    return {
        "number": number,
        "looked_at": at(number),
        "step": step or f"{weight} %",
        "weight": weight,
        "acknowledged": weight,
        "observed": weight / 100 if weight else None,
        "counts": {
            "baseline": {"requests": 100 - canary, "bad": 2, "latency": 2},
            "candidate": {"requests": canary, "bad": 1 if canary else 0, "errors": canary and 1},
        },
        "e_values": {
            "errors": 1.5,
            "latency": 1.0,
            "empty": 1.0,
            "tenant": 1.1,
            "fine": 2.0,
            "under": 0.5,
        }
        if weight
        else {},
        "verdict": "INCONCLUSIVE",
        "sentence": "looks on.",
        **changes,
    }


def row(number: int, kind: str, verdict: str | None = "PASS", /, **body: Any) -> EvidenceRow:
    said = body.pop("says", f"{kind} says so.")
    return EvidenceRow(number, at(number), kind, 1, verdict, said, "ab" * 32, body)


DRILL = row(
    2,
    "drill",
    weight=1,
    flips=3,
    seconds_to_zero=0.0123,
    acknowledged_s=0.004,
    requests=900,
    failed_requests=0,
    canary_requests_after=0,
    p99_ms=11.0,
)
STEPS = [
    {"step": "A/A", "weight": 0, "verdict": "PASS", "sentence": "even.", "requests": 400},
    {
        "step": "5 %",
        "weight": 5,
        "verdict": "PASS",
        "requests": 200,
        "sentence": "200 requests, 10 on the canary, without harm; proved nothing more.",
    },
]
APPROVED = Asked(
    "canary-r1-above-25",
    "docs above 25 %",
    "Go above?",
    "approved",
    "Amal",
    "",
    at(3),
    at(900),
    at(5),
    2,
    "Idris",
    (Answer("Amal", "approve", "seen the bars", at(4)), Answer("Sami", "approve", "", at(5))),
)
CERTIFICATE = {
    "id": 7,
    "router": "edge-1",
    "versions": {"router": "1.40"},
    "issued_at": NOON,
    "expires_at": at(86_400),
    "evidence_number": 2,
    "seconds_to_zero": 0.0123,
    "failed_requests": 0,
}


def rollout(*rows: EvidenceRow, **changes: Any) -> RolloutFacts:
    """Return a rollout with some looks; the row of kind ``rollout`` is its end."""
    ended = next((r for r in rows if r.kind == "rollout"), None)
    return replace(
        RolloutFacts(
            rollout="docs-g1-e4",
            workload="docs",
            generation=1,
            phase="canary",
            owner="search@example.org",
            criticality="low",
            revision=1,
            limits=Limits(),
            looks=[look(1, 0, "A/A"), look(2, 5), look(3, 25), look(4, 25), look(6, 50)],
            ended=ended,
            rows=rows,
            approvals=(),
            certificate=None,
            costs=(),
            holds=(),
            chain=ChainState(9, (), 9, "cd" * 32),
            made_at=at(10),
        ),
        **changes,
    )


def promoted(**changes: Any) -> RolloutFacts:
    end = row(
        8,
        "rollout",
        says="docs g1: promoted; bad answers under 5.3 % proven.",
        requests=500,
        failed_requests=0,
        saved_by_retry=3,
        steps=STEPS,
        final_weight=100,
        p95_ms=12.0,
    )
    given = {"approvals": (APPROVED,), "certificate": CERTIFICATE, **changes}
    return rollout(DRILL, end, **given)


def taken_back(**changes: Any) -> RolloutFacts:
    why = "errors: canary 9 of 50, baseline 0 of 50 (E = 812 ≥ 400)."
    end = row(
        9,
        "rollout",
        "FAIL",
        says=f"docs g1: {why}",
        requests=500,
        failed_requests=0,
        saved_by_retry=9,
        steps=STEPS,
        final_weight=0,
    )
    back = row(
        7,
        "rollback",
        says="docs is on its baseline.",
        from_weight=50,
        final_weight=0,
        acknowledged_s=0.003,
        seconds_to_zero=0.0121,
        requests_after=80,
        canary_requests_after=0,
        why=why,
    )
    return rollout(DRILL, back, end, **changes)
