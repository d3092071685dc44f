"""Bill against account: never missing where we may not look, nor unbilled where bills are mute."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.bills.model import Bill, BilledItem, Period, Spend
from qafila.audit.bills.owners import spend_by_tag
from qafila.audit.bills.reconciliation import reconcile
from qafila.audit.bills.resource_ids import account_of, collector_of, kind_of_id, tail
from qafila.audit.bills.tags import Tagged, TaggedSpend, value_of
from qafila.audit.estate import Collected, Outcome, Resource

MAY = date(2026, 5, 1)
PARIS, ACCOUNT = "eu-west-3", "111111111111"
EC2, RDS = "Amazon Elastic Compute Cloud", "Amazon Relational Database Service"


def found(
    identifier: str,
    kind: str = "ec2:instance",
    *,
    account: str = "",
    tags: object = None,
    **facts: object,
) -> Resource:
    return Resource(identifier, kind, identifier, PARIS, None, tags or {}, facts, account)  # type: ignore[arg-type]


def item(
    identifier: str,
    amount: str = "5",
    *,
    service: str = EC2,
    currency: str = "USD",
    region: str = PARIS,
) -> BilledItem:
    return BilledItem(identifier, service, region, currency, {MAY: Decimal(amount)})


def bill(
    *items: BilledItem,
    total: str = "100",
    vendor: str = "AWS",
    services: tuple[str, ...] = (EC2,),
    currencies: tuple[str, ...] = ("USD",),
) -> Bill:
    return Bill(
        "b",
        "FOCUS 1.2",
        9,
        (),
        tuple(Period(c, MAY, Decimal(total), Decimal(total), 9, True) for c in currencies),
        tuple(Spend(c, MAY, s, Decimal(1), 1) for c in currencies for s in services),
        tuple(Spend(c, MAY, vendor, Decimal(total), 9) for c in currencies),
        (),
        items,
    )


def complete(name: str, region: str = PARIS, account: str = "") -> Collected:
    return Collected(name, region, Outcome.COMPLETE, (), (), 1, account=account)


ARN = f"arn:aws:{{}}:{PARIS}:{ACCOUNT}:{{}}"


@pytest.mark.parametrize(
    ("billed", "service", "kind", "collector"),
    [
        ("i-0a1b", EC2, "ec2:instance", "ec2"),
        (ARN.format("ec2", "instance/i-0a1b"), EC2, "ec2:instance", "ec2"),
        (ARN.format("ec2", "elastic-ip/eipalloc-0a"), EC2, "ec2:address", "ec2"),
        (ARN.format("ec2", "natgateway/nat-0a"), EC2, "ec2:nat-gateway", "vpc"),
        (ARN.format("ec2", "vpc-endpoint/vpce-0a"), EC2, "ec2:vpc-endpoint", "vpc"),
        (ARN.format("ec2", "transit-gateway/tgw-0a"), EC2, None, None),  # no collector lists them
        (ARN.format("rds", "db:orders"), RDS, "rds:instance", "rds"),
        (ARN.format("rds", "cluster:cluster-ABCDEFGHIJKLMNOPQRSTUVWX"), RDS, None, None),
        (ARN.format("rds", "snapshot:x"), RDS, None, None),
        (ARN.format("elasticfilesystem", "file-system/fs-0a"), "EFS", "efs:file-system", "efs"),
        (ARN.format("elasticache", "cluster:c"), "x", "elasticache:cluster", "elasticache"),
        (ARN.format("es", "domain/d"), "x", "opensearch:domain", "opensearch"),
        (ARN.format("eks", "cluster/c"), "x", "eks:cluster", "eks"),
        (ARN.format("sagemaker", "endpoint/e"), "x", "sagemaker:endpoint", "sagemaker"),
        (ARN.format("sagemaker", "training-job/e"), "x", None, None),
        ("arn:aws:s3:::bucket", "x", "s3:bucket", "s3"),
        ("bucket", "AmazonS3", "s3:bucket", "s3"),
        ("bucket", EC2, None, None),
        ("arn:aws:cloudfront::1:distribution/E1", "x", "cloudfront:distribution", "cloudfront"),
        ("/subscriptions/0/resourceGroups/g", "Virtual Machines", None, None),
    ],
)
def test_a_billed_id_tells_its_kind_and_who_would_see_it(
    billed: str, service: str, kind: str | None, collector: str | None
) -> None:
    assert (kind_of_id(billed, service), collector_of(billed, service)) == (kind, collector)


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_is_an_id_that_can_be_looked_at(billed: str, service: str) -> None:
    assert (kind_of_id(billed, service) is None) == (collector_of(billed, service) is None)
    assert tail(billed) is not None
    assert isinstance(account_of(billed), str)


def test_a_resource_of_another_account_is_neither_missing_nor_unbilled() -> None:
    theirs = ARN.format("ec2", "instance/i-0dead")
    held = reconcile([], [complete("ec2", account="222222222222")], bill(item(theirs)))
    assert (held.billed_not_found, len(held.not_judged)) == ((), 1)
    held = reconcile([], [complete("ec2", account=ACCOUNT)], bill(item(theirs)))
    assert [f.resource for f in held.billed_not_found] == [theirs]
    ours = found("i-0b", account="222222222222", state="running")
    held = reconcile([ours], [], bill(item(theirs)))
    assert held.found_not_billed == ()
    assert "no bill names a resource of account 222222222222" in held.not_judged[-1].sentence


@pytest.mark.parametrize(
    ("resource", "services", "judged"),
    [
        (found("i-0b", state="running"), (EC2,), True),
        (found("i-0b", state="stopped"), (EC2,), None),
        (found("nat-0b", "ec2:nat-gateway", state="available"), (EC2,), False),  # none is named
        (found("fs", "efs:file-system"), (EC2,), None),  # an empty one costs nothing
        (found("d", "opensearch:domain"), (EC2,), True),  # the bill has no line of the service
        (found("d", "opensearch:domain"), (EC2, "Amazon OpenSearch Service"), False),
        (found("e", "sagemaker:endpoint", state="InService"), (EC2,), True),
        (found("vpce-0b", "ec2:vpc-endpoint", type="Gateway"), (EC2,), None),  # free of charge
    ],
)
def test_a_resource_is_unbilled_only_where_the_bill_would_name_it(
    resource: Resource, services: tuple[str, ...], judged: bool | None
) -> None:
    held = reconcile([resource], [], bill(item("i-0a"), services=services))
    assert [f.resource for f in held.found_not_billed] == ([resource.id] if judged else [])
    doubtful = [f for f in held.not_judged if f.kind == "found not billed"]
    assert len(doubtful) == (judged is False)


def test_a_bill_of_another_vendor_judges_nothing() -> None:
    azure = bill(
        item("/subscriptions/0", service="Virtual Machines"),
        vendor="Microsoft",
        services=("Virtual Machines",),
    )
    held = reconcile([found("i-0b", state="running")], [complete("ec2")], azure)
    assert held.found_not_billed == held.billed_not_found == ()
    assert [f.sentence for f in held.not_judged if f.resource == "i-0b"] == [
        "ec2:instance i-0b exists; no bill of AWS was read"
    ]


def test_several_bills_and_currencies_stay_apart_and_count_together() -> None:
    dollars, euros = (
        bill(item("i-0a"), item("i-0dead", "7")),
        bill(
            item("i-0b", currency="EUR"), item("i-0fade", "9", currency="EUR"), currencies=("EUR",)
        ),
    )
    resources = [found(i, state="running") for i in ("i-0a", "i-0b", "i-0c")]
    held = reconcile(resources, [complete("ec2")], [dollars, euros])
    assert [(f.resource, f.amount, f.currency) for f in held.billed_not_found] == [
        ("i-0fade", 9, "EUR"),
        ("i-0dead", 7, "USD"),
    ]
    assert [f.resource for f in held.found_not_billed] == ["i-0c"]
    only = reconcile(resources, [complete("ec2")], [dollars, euros], "USD")
    assert [f.resource for f in only.billed_not_found] == ["i-0dead"]


def test_tags_are_read_by_any_spelling() -> None:
    assert value_of({"Owner": "a@example.org", "Team": "x"}, "owner") == "a@example.org"
    assert value_of({"Team": "x"}, "owner") == "x"
    assert value_of({"user:Application": "shop"}, "app") == "shop"
    assert value_of({"Name": "web"}, "app") == ""
    assert value_of({"cost-center": "7"}, "cost-center") == "7"


def test_a_month_by_tag_adds_up_with_what_nobody_owns() -> None:
    resources = [
        found("i-0a", tags={"owner": "a", "app": "shop"}),
        found("i-0b", tags={"Name": "b"}),
        found("i-0c", tags={"Owner": "a"}),
    ]
    rows = spend_by_tag(
        resources,
        bill(item("i-0a", "10"), item("i-0b", "20"), item("i-0c", "5"), item("i-0dead", "3")),
        keys=("owner",),
    )
    assert [(r.state, r.value, r.amount, r.count) for r in rows] == [
        (Tagged.NO_RESOURCE, "", 62, 0),
        (Tagged.UNTAGGED, "", 20, 1),
        (Tagged.TAGGED, "a", 15, 2),
        (Tagged.NOT_FOUND, "", 3, 1),
    ]


def test_without_an_account_the_bills_own_tags_are_taken() -> None:
    told = (
        TaggedSpend("app", Tagged.TAGGED, "shop", "USD", MAY, Decimal(60), 6),
        TaggedSpend("app", Tagged.UNTAGGED, "", "USD", MAY, Decimal(40), 3),
        TaggedSpend("app", Tagged.UNTAGGED, "", "USD", date(2026, 4, 1), Decimal(7), 1),
    )
    alone = replace(bill(item("i-0a", "10")), tagged=told)
    assert spend_by_tag([], alone) == list(told[:2])
    rows = spend_by_tag([found("i-0a", tags={"app": "docs"})], alone, keys=("app",))
    assert {(r.state, r.value) for r in rows} == {(Tagged.TAGGED, "docs"), (Tagged.NO_RESOURCE, "")}


amounts = st.decimals(-(10**15), 10**15, places=20).map(str)
names = st.sampled_from(["i-0a", "i-0b", "i-0c", "i-0d"])


@given(
    st.lists(st.tuples(names, amounts, st.sampled_from(["USD", "EUR"])), max_size=8),
    st.lists(st.tuples(names, st.sampled_from(["a", "b", ""])), max_size=4),
    amounts,
)
def test_spend_by_tag_always_adds_up_to_the_period(
    billed: list[tuple[str, str, str]], owned: list[tuple[str, str]], total: str
) -> None:
    whole = bill(
        *(item(n, a, currency=c) for n, a, c in billed), total=total, currencies=("USD", "EUR")
    )
    rows = spend_by_tag([found(n, tags={"owner": o}) for n, o in owned], whole)
    for key in ("owner", "app"):
        for currency in ("USD", "EUR"):
            parts = [r.amount for r in rows if (r.key, r.currency) == (key, currency)]
            assert sum(map(Fraction, parts), Fraction(0)) == Fraction(total)
