"""Each AWS service by the ids of its bills: found where it is, and never missing where unseen."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.bills.billed_resources import FoundResources
from qafila.audit.bills.model import Bill, BilledItem, Period, Spend
from qafila.audit.bills.reconciliation import Reconciliation, reconcile
from qafila.audit.bills.resource_ids import collector_of, kind_of_id
from qafila.audit.collectors import COLLECTORS
from qafila.audit.estate import Collected, Outcome, Resource

MAY, PARIS, ACCOUNT = date(2026, 5, 1), "eu-west-3", "111111111111"


def arn(service: str, rest: str, *, region: str = PARIS, account: str = ACCOUNT) -> str:
    return f"arn:aws:{service}:{region}:{account}:{rest}"


EC2 = "AmazonEC2"
API = f"arn:aws:apigateway:{PARIS}::"

# billed id · service on the bill · found id · kind · its ARN, where the id is none · collector
SEEN: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("i-0a", EC2, "i-0a", "ec2:instance", arn("ec2", "instance/i-0a"), "ec2"),
    (arn("ec2", "instance/i-0a"), EC2, "i-0a", "ec2:instance", arn("ec2", "instance/i-0a"), "ec2"),
    ("vol-0a", EC2, "vol-0a", "ec2:volume", arn("ec2", "volume/vol-0a"), "ec2"),
    (
        arn("ec2", "snapshot/snap-0a"),
        EC2,
        "snap-0a",
        "ec2:snapshot",
        arn("ec2", "snapshot/snap-0a"),
        "ec2",
    ),
    (
        arn("ec2", "snapshot/snap-0b"),
        EC2,
        "snap-0b",
        "ec2:snapshot",
        arn("ec2", "snapshot/snap-0b", account=""),
        "ec2",
    ),  # the API told no owner
    (arn("ec2", "elastic-ip/eipalloc-0a"), "AmazonVPC", "eipalloc-0a", "ec2:address", "", "ec2"),
    (
        arn("ec2", "natgateway/nat-0a"),
        EC2,
        "nat-0a",
        "ec2:nat-gateway",
        arn("ec2", "natgateway/nat-0a"),
        "vpc",
    ),
    (arn("ec2", "vpc-endpoint/vpce-0a"), "AmazonVPC", "vpce-0a", "ec2:vpc-endpoint", "", "vpc"),
    (
        arn("ec2", "network-interface/eni-0a"),
        "AmazonVPC",
        "eni-0a",
        "ec2:network-interface",
        "",
        "vpc",
    ),
    ("eni-0a", "AmazonVPC", "eni-0a", "ec2:network-interface", "", "vpc"),
    (arn("rds", "db:orders"), "AmazonRDS", arn("rds", "db:orders"), "rds:instance", "", "rds"),
    (
        arn("rds", "cluster:orders"),
        "AmazonRDS",
        arn("rds", "cluster:orders"),
        "rds:cluster",
        "",
        "rds",
    ),
    ("orders", "AmazonS3", "orders", "s3:bucket", "arn:aws:s3:::orders", "s3"),
    ("orders", "Amazon Simple Storage Service", "orders", "s3:bucket", "arn:aws:s3:::orders", "s3"),
    ("arn:aws:s3:::orders/key", "AmazonS3", "orders", "s3:bucket", "arn:aws:s3:::orders", "s3"),
    (
        arn("elasticfilesystem", "file-system/fs-0a"),
        "AmazonEFS",
        "fs-0a",
        "efs:file-system",
        arn("elasticfilesystem", "file-system/fs-0a"),
        "efs",
    ),
    (
        arn("elasticloadbalancing", "loadbalancer/app/web/5f"),
        "AWSELB",
        arn("elasticloadbalancing", "loadbalancer/app/web/5f"),
        "elb:load-balancer",
        "",
        "elb",
    ),
    (
        arn("elasticloadbalancing", "loadbalancer/web"),
        "AWSELB",
        arn("elasticloadbalancing", "loadbalancer/web"),
        "elb:load-balancer",
        "",
        "elb",
    ),
    (
        arn("lambda", "function:resize"),
        "AWSLambda",
        arn("lambda", "function:resize"),
        "lambda:function",
        "",
        "lambda",
    ),
    (
        arn("lambda", "function:resize:live"),
        "AWSLambda",
        arn("lambda", "function:resize"),
        "lambda:function",
        "",
        "lambda",
    ),
    (
        arn("dynamodb", "table/orders"),
        "AmazonDynamoDB",
        arn("dynamodb", "table/orders"),
        "dynamodb:table",
        "",
        "dynamodb",
    ),
    (
        arn("dynamodb", "table/orders/index/day"),
        "AmazonDynamoDB",
        arn("dynamodb", "table/orders"),
        "dynamodb:table",
        "",
        "dynamodb",
    ),
    (
        arn("elasticache", "cluster:c-001"),
        "AmazonElastiCache",
        arn("elasticache", "cluster:c-001"),
        "elasticache:cluster",
        "",
        "elasticache",
    ),
    (
        arn("elasticache", "serverlesscache:c"),
        "AmazonElastiCache",
        arn("elasticache", "serverlesscache:c"),
        "elasticache:serverless",
        "",
        "elasticache",
    ),
    (
        arn("es", "domain/logs"),
        "AmazonES",
        arn("es", "domain/logs"),
        "opensearch:domain",
        "",
        "opensearch",
    ),
    (
        arn("aoss", "collection/k1"),
        "AmazonES",
        arn("aoss", "collection/k1"),
        "opensearch:collection",
        "",
        "opensearch",
    ),
    (arn("sqs", "jobs"), "AWSQueueService", arn("sqs", "jobs"), "sqs:queue", "", "sqs"),
    (arn("sns", "alarms"), "AmazonSNS", arn("sns", "alarms"), "sns:topic", "", "sns"),
    (
        f"{API}/restapis/x1/stages/live",
        "AmazonApiGateway",
        f"{API}/restapis/x1",
        "api-gateway:api",
        "",
        "api-gateway",
    ),
    (f"{API}/apis/x2", "AmazonApiGateway", f"{API}/apis/x2", "api-gateway:api", "", "api-gateway"),
    (
        arn("cloudfront", "distribution/E1", region=""),
        "AmazonCloudFront",
        arn("cloudfront", "distribution/E1", region=""),
        "cloudfront:distribution",
        "",
        "cloudfront",
    ),
    (
        "arn:aws:route53:::hostedzone/Z1",
        "AmazonRoute53",
        "arn:aws:route53:::hostedzone/Z1",
        "route53:zone",
        "",
        "route53",
    ),
    (arn("eks", "cluster/shop"), "AmazonEKS", arn("eks", "cluster/shop"), "eks:cluster", "", "eks"),
    (
        arn("ecs", "service/shop/web"),
        "AmazonECS",
        arn("ecs", "service/shop/web"),
        "ecs:service",
        "",
        "ecs",
    ),
    (
        arn("bedrock", "provisioned-model/p1"),
        "AmazonBedrock",
        arn("bedrock", "provisioned-model/p1"),
        "bedrock:provisioned-throughput",
        "",
        "bedrock",
    ),
    (
        arn("bedrock", "custom-model/m/c1"),
        "AmazonBedrock",
        arn("bedrock", "custom-model/m/c1"),
        "bedrock:custom-model",
        "",
        "bedrock",
    ),
    (
        arn("sagemaker", "endpoint/answers"),
        "AmazonSageMaker",
        arn("sagemaker", "endpoint/answers"),
        "sagemaker:endpoint",
        "",
        "sagemaker",
    ),
    (
        arn("sagemaker", "notebook-instance/n"),
        "AmazonSageMaker",
        arn("sagemaker", "notebook-instance/n"),
        "sagemaker:notebook",
        "",
        "sagemaker",
    ),
)

# What bills name and no collector lists: it could not be checked, whatever was read.
UNSEEN = (
    (arn("ec2", "transit-gateway/tgw-0a"), EC2),
    (arn("ec2", "dedicated-host/h-0a"), EC2),
    (arn("rds", "snapshot:rds:orders"), "AmazonRDS"),
    (arn("rds", "auto-backup:ab-1"), "AmazonRDS"),
    (arn("rds", "cluster:cluster-ABCDEFGHIJKLMNOPQRSTUVWX"), "AmazonRDS"),
    (arn("dynamodb", "table/orders/backup/01"), "AmazonDynamoDB"),
    (arn("lambda", "layer:l"), "AWSLambda"),
    (arn("ecs", "task/shop/0a"), "AmazonECS"),
    (arn("eks", "pod/shop/default/web/0a"), "AmazonEKS"),
    (arn("sns", "app/APNS/shop"), "AmazonSNS"),
    (f"{API}/usageplans/u1", "AmazonApiGateway"),
    (f"arn:aws:bedrock:{PARIS}::foundation-model/m", "AmazonBedrock"),
    (arn("bedrock", "inference-profile/eu.m"), "AmazonBedrock"),
    ("arn:aws:route53:::healthcheck/0a", "AmazonRoute53"),
    (arn("sagemaker", "training-job/t"), "AmazonSageMaker"),
    (arn("kms", "key/0a"), "awskms"),
    (arn("logs", "log-group:/aws/lambda/resize"), "AmazonCloudWatch"),
    (arn("redshift", "cluster:dwh"), "AmazonRedshift"),
    ("s3://orders/key", "AmazonS3"),
    ("/subscriptions/0/resourceGroups/g/vm", "Virtual Machines"),
    ("ocid1.instance.oc1..a", "C"),
)

# No bill names these by resource: utilisation is of other resources, roles and groups are free.
UNBILLED = {"cloudwatch", "iam", "security-groups"}


def bill_of(*items: tuple[str, str], region: str = PARIS) -> Bill:
    billed = tuple(BilledItem(i, s, region, "USD", {MAY: Decimal(5)}) for i, s in items)
    total = Decimal(5) * len(items)
    return Bill(
        "b",
        "AWS CUR 2",
        len(items),
        (),
        (Period("USD", MAY, total, total, len(items), True),),
        tuple(Spend("USD", MAY, s, Decimal(5), 1) for _, s in items),
        (Spend("USD", MAY, "AWS", total, len(items)),),
        (),
        billed,
    )


def read(
    collector: str, outcome: Outcome, region: str = PARIS, account: str = ACCOUNT
) -> Collected:
    return Collected(collector, region, outcome, (), (), 1, account=account)


def whole() -> list[Collected]:
    return [
        read(c.name, Outcome.COMPLETE, "" if c.scope == "account" else PARIS)
        for c in COLLECTORS
        if c.of == "aws"
    ]


def resource(identifier: str, kind: str, own: str = "", **facts: str) -> Resource:
    told = facts | ({"arn": own} if own else {})
    return Resource(identifier, kind, identifier, PARIS, None, {}, told, ACCOUNT)


@pytest.mark.parametrize(("billed", "service", "found", "kind", "own", "collector"), SEEN)
def test_a_billed_id_finds_its_resource_and_is_missing_only_where_it_was_looked_for(
    billed: str, service: str, found: str, kind: str, own: str, collector: str
) -> None:
    assert (kind_of_id(billed, service), collector_of(billed, service)) == (kind, collector)
    bill = bill_of((billed, service))
    thing = resource(found, kind, own)
    assert FoundResources([thing]).the_one_called(billed, service) is thing
    held = reconcile([thing], whole(), bill)
    assert held == Reconciliation((), (), ())
    gone = reconcile([], whole(), bill)
    assert [f.resource for f in gone.billed_not_found] == [billed]
    assert not gone.not_judged
    for outcome in set(Outcome) - {Outcome.COMPLETE}:
        parts = [c for c in whole() if c.collector != collector]
        region = next(c.region for c in whole() if c.collector == collector)
        held = reconcile([], [*parts, read(collector, outcome, region)], bill)
        (doubt,) = held.not_judged
        assert not held.billed_not_found
        assert doubt.amount == 5
        assert "could not be checked" in doubt.sentence
        assert outcome.value in doubt.sentence


@pytest.mark.parametrize(("billed", "service"), UNSEEN)
def test_what_no_collector_lists_could_not_be_checked(billed: str, service: str) -> None:
    held = reconcile([], whole(), bill_of((billed, service)))
    assert held.billed_not_found == ()
    (doubt,) = held.not_judged
    assert doubt.sentence.endswith("could not be checked: no collector lists such a resource")


def test_every_collector_of_aws_is_in_the_table_or_names_nothing_billed() -> None:
    told = {row[5] for row in SEEN}
    assert told | UNBILLED == {c.name for c in COLLECTORS if c.of == "aws"}
    assert not told & UNBILLED


@pytest.mark.parametrize("name", [c.name for c in COLLECTORS if c.of == "aws"])
def test_a_collector_that_did_not_run_or_ran_elsewhere_makes_nothing_missing(name: str) -> None:
    for billed, service, *_, collector in SEEN:
        if collector != name:
            continue
        for parts in (
            [c for c in whole() if c.collector != name],
            [read(name, Outcome.COMPLETE, "us-east-1")],
        ):
            held = reconcile([], parts, bill_of((billed, service)))
            assert held.billed_not_found == ()
            assert f"{name} was not read" in held.not_judged[0].sentence


def test_the_region_of_an_arn_is_taken_before_that_of_a_line() -> None:
    bill = bill_of((arn("sqs", "jobs"), "AWSQueueService"), region="")
    assert len(reconcile([], whole(), bill).billed_not_found) == 1
    plain = bill_of(("i-0a", EC2), region="")
    (doubt,) = reconcile([], whole(), plain).not_judged
    assert doubt.sentence == "billed by AmazonEC2, could not be checked: ec2 was not read"


def test_one_name_of_two_kinds_is_two_things() -> None:
    """A bucket that is gone is not found in a function of the same name, nor the other way."""
    function = resource(arn("lambda", "function:orders"), "lambda:function")
    held = reconcile([function], whole(), bill_of(("orders", "AmazonS3")))
    assert [f.resource for f in held.billed_not_found] == ["orders"]
    database = resource(arn("rds", "db:orders"), "rds:instance", state="available")
    held = reconcile([database], whole(), bill_of((arn("lambda", "function:orders"), "AWSLambda")))
    assert [f.resource for f in held.found_not_billed] == [database.id]


def test_one_name_in_two_regions_is_two_things() -> None:
    there = arn("sqs", "jobs", region="us-east-1")
    elsewhere = Resource(there, "sqs:queue", "jobs", "us-east-1", account=ACCOUNT)
    billed = bill_of((arn("sqs", "jobs"), "AWSQueueService"))
    assert len(reconcile([elsewhere], whole(), billed).billed_not_found) == 1
    both = [elsewhere, resource(arn("sqs", "jobs"), "sqs:queue")]
    assert reconcile(both, whole(), billed) == Reconciliation((), (), ())


@given(st.text(max_size=60), st.text(max_size=20))
def test_nothing_is_called_by_any_text_that_it_does_not_bear(billed: str, service: str) -> None:
    found = FoundResources([resource("i-0a", "ec2:instance")])
    assert found.called(billed, service) in ([], [resource("i-0a", "ec2:instance")])
    assert (found.called(billed, service) == []) or billed.endswith("i-0a")
