"""How the demo's candidate goes bad, and how its end is told."""

from __future__ import annotations

import json
from typing import get_args, get_type_hints

import pytest

from qafila.cli.demo import demo
from qafila.demo.bad_candidates import GOING, BadCandidate, reason_of, tenant_on_candidate
from qafila.demo.load import TENANTS, questions
from qafila.demo.services import Faults
from qafila.rollout.judge.guardrails import Guardrail


def test_every_way_has_faults_that_a_service_takes_and_a_reason_that_the_judge_knows() -> None:
    reasons = {g.value for g in Guardrail} | {"tenant"}
    for kind in BadCandidate:
        going = GOING[kind]
        assert going.reason in reasons
        if going.faults is not None:
            Faults.model_validate(going.faults)
    option = get_type_hints(demo)["bad_candidate"]
    assert get_args(get_args(option)[0]) == tuple(BadCandidate)
    assert [k for k in BadCandidate if GOING[k].faults is None] == [BadCandidate.KILLED]


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (None, None),
        ("docs g2: errors: canary 9 of 30, baseline 0 of 90 (E = 400 ≥ 300).", "errors"),
        ("docs g2: latency: canary 9 of 30, baseline 0 of 90 (E = 400 ≥ 300).", "latency"),
        ("docs g2: tenant 1f2e: 9 of its 9 answers bad (E = 4000 ≥ 300).", "tenant"),
        ("docs g2: tenant 1f2e: 9 of 9 …; empty: canary 9 of 30 (E = 400 ≥ 400).", "tenant"),
        ("docs g2: empty: canary 9 of 30 …; 9 of these 9 were tenant 1f2e's, …", "empty"),
        ("docs g2: promoted; harm ×2 rejected (E = 21 ≥ 20).", "promoted;"),
        ("no colon at all", None),
    ],
)
def test_a_reason_is_the_first_word_of_the_verdict(
    sentence: str | None, reason: str | None
) -> None:
    assert reason_of(sentence) == reason


def test_the_tenant_is_one_that_the_candidate_answers_and_neither_rare_nor_heavy() -> None:
    rows = [(1.0, "heavy", "candidate")] * 60 + [(1.0, "gone", "candidate")] * 12
    rows += [(1.0, "middle", "baseline")] * 11 + [(1.0, "rare", "baseline")] * 2
    rows += [(1.0, f"t{n}", "baseline") for n in range(800)]
    rows += [(5.0, tenant, "candidate") for tenant in ("heavy", "rare")]
    rows += [(5.0, "other", "baseline")] * 9 + [(5.0, "nobody's", None)]  # type: ignore[list-item]

    def log() -> list[str]:
        return [json.dumps({"t": t, "tenant": who, "served": served}) for t, who, served in rows]

    assert tenant_on_candidate(log(), 5.0) is None, "who asks too seldom proves nothing"
    rows.append((5.5, "middle", "candidate"))
    assert tenant_on_candidate(log(), 5.0) == "middle"
    assert tenant_on_candidate(log(), 5.7) is None
    assert tenant_on_candidate([], 0.0) is None


def test_of_several_tenants_it_is_who_had_fewest_answers_of_the_candidate_then_who_sends_most() -> (
    None
):
    rows = [(1.0, f"t{n}", "baseline") for n in range(800)]
    for tenant, before in (("a", 9), ("b", 11), ("c", 10), ("d", 12)):
        rows += [(1.0, tenant, "baseline")] * before + [(5.0, tenant, "candidate")]
    rows += [(2.0, "d", "candidate")]  # at an earlier weight, and well
    log = [json.dumps({"t": t, "tenant": who, "served": served}) for t, who, served in rows]
    assert tenant_on_candidate(log, 5.0) == "b"


@pytest.mark.parametrize(
    ("tenant", "asks", "meets"),
    [(None, None, 1.0), (None, "a", 1.0), ("a", "a", 1.0), ("a", "b", 0.0), ("a", None, 0.0)],
)
def test_faults_are_for_all_or_for_one_tenant(
    tenant: str | None, asks: str | None, meets: float
) -> None:
    assert Faults(empty=1.0, tenant=tenant).met_by(asks).empty == meets


def test_a_few_tenants_are_heavy_and_the_same_seed_asks_the_same() -> None:
    asked = [tenant for _, (_, tenant) in questions(["x"], 500, 20, seed=1)]
    assert asked == [tenant for _, (_, tenant) in questions(["x"], 500, 20, seed=1)]
    counts = sorted((asked.count(t) for t in set(asked)), reverse=True)
    assert len(counts) > TENANTS * 0.9
    # 16 % by the ranks' weights; the five highest counts of 10 000 are near it
    assert 0.13 < sum(counts[:5]) / len(asked) < 0.20
    assert asked.count("client-001") == counts[0]
