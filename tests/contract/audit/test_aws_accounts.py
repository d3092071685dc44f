"""Several AWS accounts: read through roles that renew themselves, and never mixed up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from pydantic import SecretStr, ValidationError

from blocks.aws import AwsAccount
from qafila.audit.collectors import COLLECTORS
from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.read import aws_places, read_places
from qafila.audit.estate import Outcome
from qafila.embedders.request_rate import DEFAULT, Rate
from qafila.errors import BadInput
from tests.support.aws import answering, running_moto, saying, session_with

OWN, OTHER = "123456789012", "222222222222"
ROLE = f"arn:aws:iam::{OTHER}:role/qafila-audit"
REGION = "eu-west-3"
SOME = tuple(c for c in COLLECTORS if c.name in ("ec2", "sqs", "s3"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield a moto server where both accounts have a machine and a queue of the same name."""
    with running_moto() as address:
        for session in (session_with("test", "test", REGION), other(address)):
            session.client("sqs", endpoint_url=address).create_queue(QueueName="orders")
            session.client("ec2", endpoint_url=address).run_instances(
                ImageId="ami-1", InstanceType="t3.micro", MinCount=1, MaxCount=1
            )
        yield address


def other(url: str) -> Any:
    """Return a session of the other account, as its own people have it."""
    keys = boto3.client(
        "sts",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).assume_role(RoleArn=ROLE, RoleSessionName="seed")["Credentials"]
    return boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION
    )


def block(url: str, *roles: str, **more: Any) -> AwsAccount:
    return AwsAccount(
        regions=[REGION],
        endpoint_url=url,
        access_key_id="test",
        secret_access_key=SecretStr("test"),
        assume_roles=list(roles),
        **more,
    )


def pacing() -> Pacing:
    return Pacing({DEFAULT: Rate(1e6, 10_000)})


def test_a_role_leads_into_its_account_and_nothing_collides(url: str) -> None:
    places = aws_places(block(url, ROLE), pacing=pacing(), collectors=SOME)
    assert [(p.account, p.region) for p in places] == [(OWN, REGION), (OTHER, REGION)]
    assert places[1].name == f"{OTHER} {REGION}"
    seen = read_places(places)
    assert {s.outcome for s in seen} == {Outcome.COMPLETE}
    assert [s.account for s in seen] == [OWN] * 3 + [OTHER] * 3
    resources = [r for s in seen for r in s.resources]
    assert len({r.id for r in resources}) == len(resources)
    assert sorted(r.account for r in resources if r.kind == "ec2:instance") == [OWN, OTHER]
    queues = {r.account: r.id for r in resources if r.kind == "sqs:queue"}
    assert queues == {
        OWN: f"arn:aws:sqs:{REGION}:{OWN}:orders",
        OTHER: f"arn:aws:sqs:{REGION}:{OTHER}:orders",
    }


def test_a_role_that_is_refused_is_named_and_hides_nothing_else(url: str) -> None:
    connection = block(url, ROLE)
    own = connection.session()
    refuse = saying(403, "AccessDenied")
    answering(own, lambda request: refuse(request) if b"AssumeRole" in body_of(request) else None)
    connection.__dict__["session"] = lambda: own
    seen = read_places(aws_places(connection, pacing=pacing(), collectors=SOME))
    assert {s.outcome for s in seen if s.account == OWN} == {Outcome.COMPLETE}
    refused = [s for s in seen if s.account == OTHER]
    assert {s.outcome for s in refused} == {Outcome.DENIED}
    assert all("AssumeRole said AccessDenied" in s.missed for s in refused)


def body_of(request: Any) -> bytes:
    body = request.body or b""
    return body if isinstance(body, bytes) else body.encode()


def test_credentials_of_a_role_are_renewed_before_they_end(monkeypatch: Any) -> None:
    own = session_with("k", "s", REGION)
    sts = own.client("sts")
    ends = [datetime.now(UTC) + timedelta(seconds=n) for n in (30, 3600)]
    with Stubber(sts) as stub:
        for number, end in enumerate(ends):
            keys = {
                "AccessKeyId": f"A{number}".ljust(20, "X"),
                "SecretAccessKey": "s",
                "SessionToken": "t",
                "Expiration": end,
            }
            stub.add_response(
                "assume_role",
                {"Credentials": keys},
                {"RoleArn": ROLE, "RoleSessionName": "qafila-audit", "ExternalId": "north"},
            )
        monkeypatch.setattr(own, "client", lambda *_, **__: sts)
        connection = block("http://127.0.0.1:1", ROLE, external_id="north")
        connection.__dict__["session"] = lambda: own
        (_, _), (role, session) = connection.sessions()
        assert role == ROLE
        credentials = session.get_credentials()
        # with 30 s left the first ones are not used again
        used = [credentials.get_frozen_credentials().access_key[:2] for _ in range(3)]
        stub.assert_no_pending_responses()
    assert used == ["A0", "A1", "A1"]


def test_a_role_of_an_account_that_is_read_already_is_refused(url: str) -> None:
    own = f"arn:aws:iam::{OWN}:role/x"
    with pytest.raises(BadInput, match=f"{own} leads to account {OWN}"):
        aws_places(block(url, own), pacing=pacing())


def test_every_unusable_role_is_named_at_once() -> None:
    roles = ["role/x", ROLE, f"arn:aws:iam::{OTHER}:role/two"]
    with pytest.raises(ValidationError) as caught:
        AwsAccount(assume_roles=roles)
    assert "'role/x' is no ARN of a role" in str(caught.value)
    assert f"account {OTHER} has 2 roles" in str(caught.value)
