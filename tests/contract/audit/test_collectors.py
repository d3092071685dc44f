"""One suite for every collector: what it sees, and that a refusal is never an empty account."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from blocks.aws import AwsAccount
from qafila.audit.collectors import COLLECTORS, Account, Collector, Limits, read_only_policy
from qafila.audit.collectors.read import aws_places, read_places
from qafila.audit.estate import Collected, Outcome
from qafila.cli import app
from qafila.demo.estate import Estate, seed_estate
from qafila.demo.estate_reader import DENIED
from qafila.embedders.request_rate import DEFAULT, Rate
from qafila.errors import BadInput
from tests.support.aws import answering, running_moto, session_of, session_with
from tests.support.collecting import standing

LEAST = {
    "ec2": 28,
    "vpc": 4,
    "security-groups": 8,
    "rds": 2,
    "s3": 5,
    "efs": 0,
    "ecs": 0,
    "eks": 0,
    "elb": 5,
    "lambda": 4,
    "dynamodb": 3,
    "elasticache": 0,
    "opensearch": 0,
    "sqs": 4,
    "sns": 0,
    "api-gateway": 0,
    "cloudfront": 0,
    "route53": 0,
    "bedrock": 0,
    "sagemaker": 0,
    "cloudwatch": 0,
    "iam": 0,
}
# moto answers some of their calls with "not implemented", which is never an empty account
UNSUPPORTED = {"elasticache", "bedrock"}
# An empty refusal in the shape of each protocol.
EC2 = b"<Response><Errors><Error><Code>No</Code></Error></Errors></Response>"
QUERY = b"<ErrorResponse><Error><Code>No</Code></Error></ErrorResponse>"
REST_XML = b"<Error><Code>No</Code></Error>"
REFUSAL = {
    "ec2": EC2,
    "vpc": EC2,
    "security-groups": EC2,
    "rds": QUERY,
    "elb": QUERY,
    "iam": QUERY,
    "elasticache": QUERY,
    "sns": QUERY,
    "route53": QUERY,
    "cloudfront": QUERY,
    "s3": REST_XML,
}
ENDLESS = b"""<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>
<NextContinuationToken>%d</NextContinuationToken>
<Contents><Key>a.txt</Key><Size>7</Size></Contents></ListBucketResult>"""
BY_NAME = {c.name: c for c in COLLECTORS}
each = pytest.mark.parametrize("collector", COLLECTORS, ids=lambda c: c.name)


@pytest.fixture(scope="module")
def estate() -> Iterator[Estate]:
    with running_moto() as url:
        yield seed_estate(url)


@each
def test_it_sees_the_estate_or_says_that_it_may_not(collector: Collector, estate: Estate) -> None:
    seen = collector.collect(
        Account(session_of(estate), estate.regions[0], endpoint_url=estate.endpoint_url)
    )
    expected = Outcome.DENIED if collector.name in DENIED else Outcome.COMPLETE
    expected = Outcome.UNSUPPORTED if collector.name in UNSUPPORTED else expected
    assert (seen.outcome, bool(seen.missed)) == (expected, expected is not Outcome.COMPLETE)
    assert len(seen.resources) >= LEAST[collector.name]
    assert len({r.id for r in seen.resources}) == len(seen.resources)
    assert all(r.kind and r.name for r in seen.resources)
    assert all(0 < e.confidence <= 1 for e in seen.edges)
    assert seen.calls > 0


def refused(collector: Collector, status: int) -> Collected:
    body = REFUSAL.get(collector.name, b"{}")
    session = answering(session_with("k", "s", "eu-west-3"), lambda _: (status, body))
    return collector.collect(
        Account(session, "eu-west-3", endpoint_url="http://127.0.0.1:1", limits=Limits(attempts=1))
    )


@each
def test_a_denied_service_is_named_and_never_raises(collector: Collector) -> None:
    seen = refused(collector, 403)
    assert (seen.outcome, seen.resources) == (Outcome.DENIED, ())
    assert seen.missed.startswith(collector.name)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (401, Outcome.DENIED),
        (429, Outcome.THROTTLED),
        (503, Outcome.THROTTLED),
        (404, Outcome.UNSUPPORTED),
        (500, Outcome.UNSUPPORTED),
    ],
)
def test_every_other_refusal_is_an_outcome(status: int, outcome: Outcome) -> None:
    assert refused(BY_NAME["sqs"], status).outcome is outcome


def test_an_answer_that_is_no_answer_is_an_outcome_too() -> None:
    session = answering(session_with("k", "s", "eu-west-3"), lambda _: (502, b"oops"))
    seen = BY_NAME["ec2"].collect(
        Account(session, "eu-west-3", endpoint_url="http://127.0.0.1:1", limits=Limits(attempts=1))
    )
    assert seen.outcome is Outcome.UNSUPPORTED


def test_an_address_that_does_not_answer_is_an_outcome_too() -> None:
    seen = BY_NAME["sqs"].collect(
        Account(
            session_with("k", "s", "eu-west-3"),
            "eu-west-3",
            endpoint_url="http://127.0.0.1:1",
            limits=Limits(attempts=1),
        )
    )
    assert seen.outcome is Outcome.UNSUPPORTED
    assert "EndpointConnectionError" in seen.missed


def test_a_throttled_call_is_tried_again_and_counted(estate: Estate) -> None:
    region, url = estate.regions[0], estate.endpoint_url
    untroubled = BY_NAME["rds"].collect(Account(session_of(estate), region, endpoint_url=url))
    refusals = iter([(429, QUERY)])
    session = answering(session_of(estate), lambda _: next(refusals, None))
    seen = BY_NAME["rds"].collect(Account(session, region, endpoint_url=url))
    assert seen.outcome is Outcome.COMPLETE
    assert seen.resources == untroubled.resources
    assert seen.calls == untroubled.calls + 1


def test_a_call_that_is_throttled_again_and_again_waits_longer_each_time(estate: Estate) -> None:
    waits: list[float] = []
    refusals = iter([(429, QUERY)] * 3)
    session = answering(session_of(estate), lambda _: next(refusals, None))
    seen = BY_NAME["rds"].collect(
        Account(
            session,
            estate.regions[0],
            endpoint_url=estate.endpoint_url,
            pacing=standing({DEFAULT: Rate(1000, 1000)}, waits),
        )
    )
    assert seen.outcome is Outcome.COMPLETE
    assert len(waits) == 3
    for number, wait in enumerate(waits):  # doubles from 0.2 s, with half of it by chance
        assert 0.1 * 2**number <= wait <= 0.2 * 2**number


@each
def test_it_is_known_which_collectors_ask_again_for_each_thing(collector: Collector) -> None:
    assert collector.each == (".each(" in inspect.getsource(inspect.getmodule(collector.read)))


def test_what_asks_for_each_thing_is_begun_first_and_the_order_stays(estate: Estate) -> None:
    begun: list[str] = []
    some = [
        replace(BY_NAME[name], read=lambda look, name=name: begun.append(name))
        for name in ("rds", "sqs", "ec2", "lambda")
    ]
    block = AwsAccount(
        regions=list(estate.regions),
        endpoint_url=estate.endpoint_url,
        access_key_id=estate.access_key_id,
        secret_access_key=estate.secret_access_key,
    )
    [place, *_] = aws_places(block, collectors=some)
    names = ["sqs", "lambda", "rds", "ec2"]
    assert [c.name for c in place.collectors] == names
    assert [c.collector for c in read_places([place], concurrency=1)] == names
    assert sorted(begun) == sorted(names)


def test_one_closed_bucket_does_not_hide_the_others(estate: Estate) -> None:
    closed = "northbazaar-backups"
    session = answering(
        session_of(estate), lambda request: (403, REST_XML) if closed in request.url else None
    )
    seen = BY_NAME["s3"].collect(
        Account(session, estate.regions[0], endpoint_url=estate.endpoint_url)
    )
    sizes = {r.name: r.size_bytes for r in seen.resources}
    assert seen.outcome is Outcome.DENIED
    assert closed in seen.missed
    assert sizes.pop(closed) is None
    assert len(sizes) == 4
    assert all(sizes.values())


def test_a_list_without_end_is_cut_and_its_size_a_lower_bound(estate: Estate) -> None:
    number = itertools.count()
    session = answering(
        session_of(estate),
        lambda request: (200, ENDLESS % next(number)) if "list-type=2" in request.url else None,
    )
    seen = BY_NAME["s3"].collect(
        Account(
            session, estate.regions[0], endpoint_url=estate.endpoint_url, limits=Limits(pages=3)
        )
    )
    assert seen.outcome is Outcome.TRUNCATED
    assert "list_objects_v2 northbazaar-backups" in seen.missed
    assert "more than 3 pages" in seen.missed
    assert {r.size_bytes for r in seen.resources} == {3 * 7}


def test_values_of_variables_are_not_kept(estate: Estate) -> None:
    session = session_of(estate)
    seen = BY_NAME["lambda"].collect(
        Account(session, estate.regions[0], endpoint_url=estate.endpoint_url)
    )
    invoice = next(r for r in seen.resources if r.name == "orders-invoice")
    assert invoice.facts["variables"] == ["DATABASE_HOST", "LOG_LEVEL"]
    assert set(invoice.facts["hosts"]) == {"DATABASE_HOST"}
    assert "info" not in str(invoice.facts)


def test_the_policy_reads_and_nothing_else(estate: Estate) -> None:
    statements = read_only_policy()["Statement"]
    assert isinstance(statements, list)
    verbs = ("Describe", "List", "Get")
    # one service's actions are the HTTP methods, another reads many at once
    exceptions = {"apigateway:GET", "aoss:BatchGetCollection"}
    actions = set(statements[0]["Action"]) - exceptions
    assert [a for a in actions if not a.split(":")[1].startswith(verbs)] == []
    ec2 = session_of(estate).client("ec2", endpoint_url=estate.endpoint_url)
    with pytest.raises(ClientError, match="not authorized"):
        ec2.create_vpc(CidrBlock="10.9.0.0/16")


def test_the_command_prints_the_policy_that_is_needed() -> None:
    printed = CliRunner().invoke(app, ["doctor", "--aws-policy"])
    assert printed.exit_code == 0
    assert json.loads(printed.stdout) == read_only_policy()
    assert "sts:AssumeRole" in printed.stderr
    page = (Path(__file__).parents[3] / "docs/how-to/audit-an-aws-account.md").read_text()
    assert "qafila doctor --aws-policy" in page


def test_the_policy_opens_the_places_of_inventories_that_are_named_alone() -> None:
    opened = CliRunner().invoke(
        app, ["doctor", "--aws-policy", "--s3-inventory", "reports/shop", "--s3-inventory", "more"]
    )
    assert json.loads(opened.stdout) == read_only_policy(inventories=["reports/shop", "more"])
    wrong = CliRunner().invoke(app, ["doctor", "--s3-inventory", "*", "--s3-inventory", "b/*"])
    assert isinstance(wrong.exception, BadInput)
    assert len(wrong.exception.problems) == 3


def test_seeding_again_adds_nothing_and_replaces_the_keys(estate: Estate) -> None:
    again = seed_estate(estate.endpoint_url)
    assert again.seeded == estate.seeded
    assert again.access_key_id != estate.access_key_id
    assert estate.secret_access_key not in repr(estate)
    session = session_of(estate)
    seen = BY_NAME["ec2"].collect(
        Account(session, again.regions[0], endpoint_url=again.endpoint_url)
    )
    assert seen.outcome is Outcome.DENIED
