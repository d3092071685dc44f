"""The audit's decisions: outcomes, edges, reconciliation, need for AI, the director's page."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.ai_need.assessment import CorpusVolume, assess_estate
from qafila.audit.ai_need.signal import LEAST_COVERAGE, Candidate, Signal
from qafila.audit.bills.model import Bill, BilledItem, Period, Spend
from qafila.audit.bills.reconciliation import Reconciliation, reconcile
from qafila.audit.dependencies.derived_edges import derive_edges
from qafila.audit.estate import (
    Collected,
    Edge,
    Outcome,
    Resource,
    has_gpu,
    judge_audit,
    outcome_of_error,
    outcomes_by_collector,
    volumes_by_kind,
    worst_outcome,
)
from qafila.audit.findings import look_closer, watch_the_network
from qafila.audit.inventory.body import evidence_body
from qafila.audit.inventory.phrases import size_text
from qafila.audit.inventory.whole import Inventory
from qafila.workload.verdict import Verdict

MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)


def resource(identifier: str, kind: str = "ec2:instance", **facts: object) -> Resource:
    return Resource(identifier, kind, identifier, "eu-west-3", None, {}, facts)


def collected(
    name: str, outcome: Outcome = Outcome.COMPLETE, region: str = "eu-west-3"
) -> Collected:
    missed = "" if outcome is Outcome.COMPLETE else f"{name}: said no"
    return Collected(name, region, outcome, (), (), 1, missed)


def item(identifier: str, may: str = "0", june: str = "0") -> BilledItem:
    amounts = {d: Decimal(a) for d, a in ((MAY, may), (JUNE, june)) if a != "0"}
    return BilledItem(identifier, "some service", "eu-west-3", "EUR", amounts)


def bill(*items: BilledItem, network: tuple[Spend, ...] = ()) -> Bill:
    periods = (
        Period("EUR", MAY, Decimal(100), Decimal(100), 10, True),
        Period("EUR", JUNE, Decimal(50), Decimal(50), 5, False),
    )
    services = (Spend("EUR", MAY, "some service", Decimal(100), 10),)
    return Bill("b.csv", "FOCUS 1.2", 15, (), periods, services, (), network, items)


@pytest.mark.parametrize(
    ("code", "status", "outcome"),
    [
        ("AccessDenied", 403, Outcome.DENIED),
        ("UnauthorizedOperation", 403, Outcome.DENIED),
        ("AccessDeniedException", 400, Outcome.DENIED),  # JSON services say it with a 400
        ("ExpiredToken", 400, Outcome.DENIED),
        ("403", 403, Outcome.DENIED),
        ("Throttling", 400, Outcome.THROTTLED),
        ("RequestLimitExceeded", 503, Outcome.THROTTLED),
        ("TooManyRequestsException", 429, Outcome.THROTTLED),
        ("UnknownOperationException", 404, Outcome.UNSUPPORTED),
        ("InternalError", 500, Outcome.UNSUPPORTED),
        ("", None, Outcome.UNSUPPORTED),
    ],
)
def test_an_error_becomes_an_outcome(code: str, status: int | None, outcome: Outcome) -> None:
    assert outcome_of_error(code, status) is outcome


@given(st.text(max_size=40), st.none() | st.integers(100, 599))
def test_no_error_ever_reads_as_complete(code: str, status: int | None) -> None:
    assert outcome_of_error(code, status) is not Outcome.COMPLETE


@given(st.lists(st.sampled_from(Outcome)))
def test_one_gap_is_never_hidden_by_what_was_complete(outcomes: list[Outcome]) -> None:
    worst = worst_outcome(outcomes)
    assert (worst is Outcome.COMPLETE) == (set(outcomes) <= {Outcome.COMPLETE})


def test_denied_is_named_and_passes_while_nothing_complete_is_an_error() -> None:
    judged = judge_audit([collected("ec2"), collected("iam", Outcome.DENIED)])
    assert judged.verdict is Verdict.PASS
    assert judged.sentence == "1 service denied to us (iam)"
    assert judge_audit([collected("iam", Outcome.DENIED)]).verdict is Verdict.ERROR
    assert judge_audit([]).verdict is Verdict.ERROR


def test_the_worst_region_speaks_for_a_collector() -> None:
    parts = [collected("ec2"), collected("ec2", Outcome.THROTTLED, "eu-west-1")]
    assert outcomes_by_collector(parts) == {"ec2": "throttled"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("g5.xlarge", True),
        ("gr6.4xlarge", True),
        ("p5.48xlarge", True),
        ("t3.small", False),
        ("m6g.large", False),
        ("inf2.xlarge", False),
    ],
)
def test_a_gpu_is_told_by_its_family(kind: str, expected: bool) -> None:
    assert has_gpu(kind) is expected


def test_edges_come_from_security_groups_and_environments() -> None:
    resources = [
        resource("i-web", security_groups=["sg-web"]),
        resource("i-api", security_groups=["sg-api"]),
        resource("db", "rds:instance", address="db.example.org", security_groups=["sg-db"]),
        resource("fn", "lambda:function", hosts={"DB_HOST": "db.example.org", "X": "y.z.org"}),
        resource("sg-web", "ec2:security-group", allows_from=[{"from": "internet", "port": "443"}]),
        resource("sg-api", "ec2:security-group", allows_from=[{"from": "sg-web", "port": "80"}]),
        resource("sg-db", "ec2:security-group", allows_from=[{"from": "sg-gone", "port": "5432"}]),
    ]
    assert derive_edges(resources) == [
        Edge("fn", "db", "calls", "environment DB_HOST", 0.8),
        Edge("i-web", "i-api", "network-allows", "sg-api port 80", 0.4),
        Edge("internet", "i-web", "network-allows", "sg-web port 443", 0.4),
    ]


def test_bill_and_account_are_held_against_each_other() -> None:
    resources = [
        resource("i-01", arn="arn:aws:ec2:eu-west-3:1:instance/i-01", state="running"),
        resource("i-02", state="running"),
        resource("i-03", state="stopped"),
        resource("arn:aws:sqs:eu-west-3:1:mail", "sqs:queue"),
    ]
    held = reconcile(
        resources,
        [collected("ec2"), collected("sqs"), collected("rds", Outcome.DENIED)],
        bill(
            item("arn:aws:ec2:eu-west-3:1:instance/i-01", "7", "3"),
            item("i-0dead", "9", "4"),  # still billed, not there
            item("i-0gone", "9"),  # not billed any more: it was deleted, rightly
            item("arn:aws:rds:eu-west-3:1:db:x", "5", "2"),  # rds is denied to us
            item("arn:aws:cloudfront::1:distribution/E1", "1", "1"),  # nobody looks there
        ),
        "EUR",
    )
    assert [(f.resource, f.amount) for f in held.billed_not_found] == [("i-0dead", Decimal(9))]
    assert [f.resource for f in held.found_not_billed] == ["i-02"]
    assert [f.resource for f in held.not_judged] == [
        "arn:aws:rds:eu-west-3:1:db:x",
        "arn:aws:cloudfront::1:distribution/E1",
    ]


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.COMPLETE])
def test_what_we_may_not_see_is_never_called_missing(outcome: Outcome) -> None:
    held = reconcile([], [collected("ec2", outcome)], bill(item("i-0dead", "9", "4")), "EUR")
    assert held.billed_not_found == ()
    assert len(held.not_judged) == 1


def test_an_untagged_gpu_and_an_orphan_disk_are_found_with_their_cost() -> None:
    resources = [
        resource("i-01", type="g6.xlarge"),
        Resource("i-02", "ec2:instance", "n", "r", None, {"app": "x"}, {"type": "g5.xlarge"}),
        Resource("vol-01", "ec2:volume", "old", "r", 500 << 30, {}, {"state": "available"}),
        Resource("vol-02", "ec2:volume", "new", "r", 8 << 30, {}, {"state": "in-use"}),
    ]
    found = look_closer(resources, [item("i-01", "600", "300")])
    assert [(f.kind, f.resource, f.amount) for f in found] == [
        ("untagged gpu", "i-01", Decimal(600)),
        ("orphan disk", "vol-01", None),
    ]
    assert "500 GiB" in found[1].sentence


@pytest.mark.parametrize(("amount", "said"), [("4.99", 0), ("5", 1)])  # of 100 usage: 5 %
def test_traffic_between_zones_is_said_when_it_is_noteworthy(amount: str, said: int) -> None:
    network = (
        Spend("EUR", MAY, "cross-AZ", Decimal(amount), 1),
        Spend("EUR", MAY, "internet out", Decimal(40), 1),
    )
    assert len(watch_the_network(bill(network=network), "EUR")) == said


def test_a_size_that_is_not_known_is_not_zero() -> None:
    buckets = [Resource(n, "s3:bucket", n, "", size) for n, size in (("a", 10), ("b", None))]
    queue = resource("q", "sqs:queue")
    assert volumes_by_kind([*buckets, queue]) == {
        "s3:bucket": {"count": 2, "bytes": 10, "without_size": 1},
        "sqs:queue": {"count": 1, "bytes": None, "without_size": 1},
    }
    assert [size_text(s) for s in (None, 512, 2048, 3 << 40)] == [
        "not known",
        "512 B",
        "2.0 KiB",
        "3.0 TiB",
    ]


signals = st.builds(
    Signal, st.just("s"), st.integers(1, 5), st.none() | st.booleans(), st.just(""), st.just("?")
)


@given(st.lists(signals, max_size=8))
def test_a_score_below_the_coverage_is_always_withheld_and_asks(found: list[Signal]) -> None:
    candidate = Candidate("app", "owner@example.org", tuple(found))
    if candidate.coverage < LEAST_COVERAGE:
        assert candidate.score is None
    else:
        assert candidate.score is not None
        assert 0 <= candidate.score <= 1
    assert len(candidate.questions) == sum(s.found is None for s in found)


def test_a_denied_collector_leaves_its_signal_open() -> None:
    gpu = Resource(
        "i-01",
        "ec2:instance",
        "gpu",
        "r",
        None,
        {"app": "chat", "owner": "x@example.org"},
        {"type": "g5.xlarge"},
    )
    seen = assess_estate([gpu], {"ec2": "complete", "s3": "denied", "elb": "complete"})[0]
    by_name = {s.name: s.found for s in seen.signals}
    assert by_name["GPU in use"] is True
    assert by_name["text corpus"] is None  # not False: we may not look
    assert by_name["search endpoint"] is False
    assert seen.score is None
    assert "x@example.org: how many queries a month?" in seen.questions


def inventory(**changes: object) -> Inventory:
    values: dict[str, object] = {
        "workload": "w",
        "collected": (collected("ec2"), collected("iam", Outcome.DENIED)),
        "resources": (resource("i-<b>|x"),),
        "edges": (),
        "bill": bill(item("i-0dead", "9", "4")),
        "currency": "EUR",
        "reconciliation": Reconciliation((), (), ()),
        "findings": (),
        "candidates": (),
        "corpus": CorpusVolume(2, 1000),
    }
    return Inventory(**(values | changes))  # type: ignore[arg-type]


def test_without_a_bill_cost_is_not_known_and_never_zero() -> None:
    audited = inventory(bill=None, currency=None)
    body = evidence_body(audited, 1)
    assert (body["spend_total"], body["network_share"], body["period_closed"]) == (
        None,
        None,
        False,
    )
    assert any("no bill was read" in note for note in audited.notes())
    assert "cost is not known" in audited.judgement().sentence


def test_evidence_is_plain_json_with_exact_money() -> None:
    body = evidence_body(inventory(), 7)
    assert (body["audit_id"], body["spend_total"], body["currency"]) == (7, "100", "EUR")
    assert body["collectors"] == {"ec2": "complete", "iam": "denied"}
    assert body["volumes"]["corpus"] == {"rows": 2, "bytes": 1000, "average_bytes": 500.0}
    assert body["periods"][1] == {
        "period": "2026-06",
        "currency": "EUR",
        "amount": "50",
        "state": "open",
    }
