"""Six questions: each yes from evidence, each no with the way to a yes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qafila.decision.preflight_rules import Answer, Certificate, Facts, ask_all, sentence, verdict
from qafila.workload.model import Workload
from qafila.workload.verdict import Verdict

SPEC: dict[str, Any] = {
    "name": "docs",
    "owner": "search@example.org",
    "criticality": "low",
    "corpus": {
        "source": {
            "kind": "postgres",
            "block": "src",
            "table": "t",
            "key": ["id"],
            "text": ["body"],
        },
        "embedder": {"kind": "wordllama"},
        "target": {"kind": "pgvector", "block": "dst"},
    },
    "service": {
        "baseline": {"url": "http://127.0.0.1:1"},
        "candidate": {"url": "http://127.0.0.1:2"},
        "router": {"kind": "envoy-file", "block": "edge"},
    },
    "queries": {"judged": {"kind": "table", "table": "q"}},
    "projection": {"queries_per_month": 1000},
    "compliance": {"personal_data": "none", "hosting": ["MA", "FR"], "purpose": "search in docs"},
    "monitoring": {"traces": "langfuse", "metrics": "prometheus"},
    "skills": {"ai": ["search team"], "infrastructure": ["platform team"]},
}
AUDIT = {
    "resources": 60,
    "collectors": {"ec2": "complete", "iam": "denied"},
    "ai_need": [{"id": "x"}],
}
DECISION = {
    "chosen": "p",
    "currency": "USD",
    "need": {"queries_per_month": 1000},
    "patterns": [{"name": "p", "monthly_p50": "88", "monthly_p90": "93", "countries": ["FR"]}],
}


def spec(**changes: Any) -> Workload:
    return Workload.model_validate({**SPEC, **changes})


FACTS = Facts(spec(), 1, AUDIT, DECISION, "qafila-envoy", None)


def ask(facts: Facts) -> dict[str, Answer]:
    return {a.key: a for a in ask_all(facts)}


def assert_only_no(facts: Facts, key: str, because: str, remedy: str) -> None:
    answers = ask(facts)
    assert [k for k, a in answers.items() if not a.answer] == [key]
    assert because in answers[key].because
    assert remedy in answers[key].remedy
    assert verdict(list(answers.values())) is Verdict.FAIL
    assert key in sentence(list(answers.values()))


def test_six_of_six() -> None:
    answers = ask(FACTS)
    assert len(answers) == 6
    assert verdict(list(answers.values())) is Verdict.PASS
    assert sentence(list(answers.values())) == "6 of 6 questions answered yes."
    assert "not fully seen: iam" in answers["workloads"].because  # denied is not empty


@pytest.mark.parametrize(
    ("facts", "key", "because", "remedy"),
    [
        (replace(FACTS, audit=None), "workloads", "never audited", "qafila run inventory-audit"),
        (
            replace(FACTS, audit={**AUDIT, "collectors": {"ec2": "denied"}}),
            "workloads",
            "no collector saw everything",
            "grant read access",
        ),
        (
            replace(FACTS, way_back_is_fed=False),
            "rollback",
            "nobody said which model",
            "qafila adopt docs --by NAME",
        ),
        (replace(FACTS, decision=None), "cost", "no architecture", "qafila run target-arch"),
        (
            replace(FACTS, decision={"chosen": None, "patterns": []}),
            "cost",
            "no architecture",
            "qafila run target-arch",
        ),
        (
            replace(FACTS, workload=spec(projection={"queries_per_month": 5})),
            "cost",
            "the workload file now projects 5",
            "target-architecture docs",
        ),
        (
            replace(FACTS, workload=spec(monitoring={"metrics": "prometheus"})),
            "monitoring",
            "monitoring.traces",
            "set monitoring.traces",
        ),
        (
            replace(FACTS, workload=spec(monitoring={})),
            "monitoring",
            "monitoring.traces and monitoring.metrics",
            "qafila apply",
        ),
        (
            replace(
                FACTS, workload=spec(compliance={**SPEC["compliance"], "personal_data": "ordinary"})
            ),
            "compliance",
            "F211",
            "override",
        ),
        (
            replace(
                FACTS,
                workload=spec(compliance={**SPEC["compliance"], "personal_data": "sensitive"}),
            ),
            "compliance",
            "F112",
            "override",
        ),
        (
            replace(FACTS, workload=spec(compliance={**SPEC["compliance"], "hosting": ["MA"]})),
            "compliance",
            "puts data in FR",
            "compliance.hosting",
        ),
        (replace(FACTS, router_kind=None), "rollback", "'edge' was never recorded", "block 'edge'"),
        (
            replace(FACTS, workload=spec(skills={"ai": ["a"], "infrastructure": []})),
            "skills",
            "skills.infrastructure",
            "name who",
        ),
        (
            replace(FACTS, workload=spec(skills={**SPEC["skills"], "gaps": ["GPU operations"]})),
            "skills",
            "'GPU operations' has no plan",
            "with its plan",
        ),
    ],
)
def test_each_no_names_the_way(facts: Facts, key: str, because: str, remedy: str) -> None:
    assert_only_no(facts, key, because, remedy)


def test_a_gap_with_a_plan_is_a_yes() -> None:
    gaps = {**SPEC["skills"], "gaps": ["GPU operations: course in June"]}
    assert ask(replace(FACTS, workload=spec(skills=gaps)))["skills"].answer


@pytest.mark.parametrize(
    ("valid", "says"), [(True, "certificate until"), (False, "its certificate expired")]
)
def test_a_drill_is_named(valid: bool, says: str) -> None:
    drilled = replace(FACTS, certificate=Certificate(1, 0.21, "2026-12-01", valid))
    answer = ask(drilled)["rollback"]
    assert answer.answer
    assert says in answer.because
    assert "0.21 s" in answer.because


def test_a_way_back_by_dns_is_never_said_to_be_faster_than_its_records_live() -> None:
    router = {
        "kind": "route53",
        "block": "dns",
        "hosted_zone": "Z1",
        "record": "search.example.org",
        "baseline_id": "old",
        "candidate_id": "new",
        "ttl_seconds": 120,
        "entry_url": "https://search.example.org",
    }
    by_dns = replace(FACTS, workload=spec(service={**SPEC["service"], "router": router}))
    assert "never sooner than 120 s" in ask(by_dns)["rollback"].because
