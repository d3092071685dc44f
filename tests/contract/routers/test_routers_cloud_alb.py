"""An ALB passes every router's sentences against a moto server, and what AWS would refuse is.

Moto takes weights, stickiness and groups that AWS refuses: the tests of refusals are ours to keep.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from qafila.connections.aws import aws_session
from qafila.errors import BadInput, Refused, StaleEpoch, Unavailable
from qafila.routers.aws.alb import PAGE, AlbRouter
from qafila.routers.aws.alb_actions import weighted
from qafila.routers.aws.alb_logs import request_of
from qafila.routers.sight import require_sight
from qafila.workload.router import AlbRouter as AlbSettings
from tests.contract.routers.router_suite import EveryRouter, weigh
from tests.support.aws import running_moto

REGION = "eu-west-3"
ENTRY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def client() -> Iterator[Callable[..., Any]]:
    with running_moto() as url:
        yield aws_session((REGION,), url, "test", "test")


@dataclass
class Balancer:
    """A load balancer with a rule, two target groups and a twin, as an operator would have it."""

    client: Callable[..., Any]
    arn: str
    listener: str
    rule: str
    groups: dict[str, str]
    network: str

    def settings(self, **changes: Any) -> AlbSettings:
        given = {
            "kind": "alb",
            "block": "account",
            "rule": self.rule,
            "entry_url": ENTRY,
            "baseline_target_group": self.groups["baseline"],
            "candidate_target_group": self.groups["candidate"],
            "twin_target_group": self.groups["twin"],
        }
        return AlbSettings.model_validate(given | changes)

    def router(self, **changes: Any) -> AlbRouter:
        return AlbRouter(self.settings(**changes), self.client)

    def forward(self) -> dict[str, Any]:
        rule = self.client("elbv2").describe_rules(RuleArns=[self.rule])["Rules"][0]
        return dict(rule["Actions"][-1]["ForwardConfig"])

    def weights(self) -> dict[str, int]:
        names = {arn: name for name, arn in self.groups.items()}
        return {names[g["TargetGroupArn"]]: g["Weight"] for g in self.forward()["TargetGroups"]}


def make_group(client: Callable[..., Any], network: str, name: str, **more: Any) -> str:
    given: dict[str, Any] = {"Protocol": "HTTP", "Port": 80, "VpcId": network, "TargetType": "ip"}
    made = client("elbv2").create_target_group(Name=name, **given | more)
    return str(made["TargetGroups"][0]["TargetGroupArn"])


_serial = iter(range(1000))


@pytest.fixture
def balancer(client: Callable[..., Any]) -> Balancer:
    ec2, elb, n = client("ec2"), client("elbv2"), next(_serial)
    network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=network, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=REGION + z)
        for i, z in enumerate("ab")
    ]
    made = elb.create_load_balancer(
        Name=f"edge-{n}", Type="application", Subnets=[s["Subnet"]["SubnetId"] for s in subnets]
    )["LoadBalancers"][0]
    groups = {
        arm: make_group(client, network, f"{arm}-{n}") for arm in ("baseline", "candidate", "twin")
    }
    listener = elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    )["Listeners"][0]["ListenerArn"]
    rule = elb.create_rule(
        ListenerArn=listener,
        Priority=10,
        Conditions=[{"Field": "path-pattern", "Values": ["/search*"]}],
        Actions=[{"Type": "forward", "TargetGroupArn": groups["baseline"]}],
    )["Rules"][0]["RuleArn"]
    return Balancer(client, made["LoadBalancerArn"], listener, rule, groups, network)


@dataclass
class Setup:
    router: Any


class TestAlb(EveryRouter):
    @pytest.fixture
    def setup(self, balancer: Balancer) -> Setup:
        router = balancer.router()
        router.install()
        return Setup(router)

    def test_at_0_nothing_and_at_100_everything_is_sent_to_the_candidate(
        self, balancer: Balancer
    ) -> None:
        router = balancer.router()
        assert router.install().candidate_percent == 0
        assert balancer.weights() == {"baseline": 100, "candidate": 0, "twin": 0}
        weigh(router, 100)
        assert balancer.weights() == {"baseline": 0, "candidate": 100, "twin": 0}
        assert router.reported() == router.read()

    def test_users_stick_between_the_ends_and_no_cookie_holds_them_at_an_end(
        self, balancer: Balancer
    ) -> None:
        router = balancer.router(stickiness_seconds=900)
        router.install()
        held = {}
        for percent in (1, 99, 100, 0):
            weigh(router, percent)
            held[percent] = balancer.forward()["TargetGroupStickinessConfig"]
        assert held[1] == held[99] == {"Enabled": True, "DurationSeconds": 900}
        assert held[0]["Enabled"] is held[100]["Enabled"] is False

    def test_a_listener_s_default_action_is_weighed_as_well(self, balancer: Balancer) -> None:
        elb = balancer.client("elbv2")
        elb.modify_listener(
            ListenerArn=balancer.listener,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": balancer.groups["baseline"]}],
        )
        router = balancer.router(rule=None, listener=balancer.listener)
        router.install()
        weigh(router, 25)
        actions = elb.describe_listeners(ListenerArns=[balancer.listener])["Listeners"][0]
        groups = actions["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
        assert [g["Weight"] for g in groups] == [25, 0, 75]

    def test_the_twin_takes_a_share_of_the_baseline_where_there_is_one(
        self, balancer: Balancer
    ) -> None:
        router = balancer.router()
        router.install()
        weigh(router, 0, twin=50)
        assert balancer.weights() == {"baseline": 50, "candidate": 0, "twin": 50}
        without = balancer.router(twin_target_group=None)
        assert without.abilities.twin is False
        with pytest.raises(BadInput, match="twin"):
            without.write(0, epoch=5, why="test", twin_percent=50)
        with pytest.raises(BadInput, match="cannot copy"):
            router.write(0, epoch=5, why="test", mirror_percent=10)

    def test_installing_again_keeps_the_weights(self, balancer: Balancer) -> None:
        router = balancer.router()
        router.install()
        weigh(router, 25)
        before = router.read()
        assert balancer.router().install() == before

    def test_what_somebody_changed_by_hand_is_read_but_not_reported(
        self, balancer: Balancer
    ) -> None:
        router = balancer.router()
        router.install()
        weigh(router, 5)
        forward = balancer.forward()
        for group in forward["TargetGroups"]:
            group["Weight"] = 1 if group["TargetGroupArn"] == balancer.groups["candidate"] else 998
        balancer.client("elbv2").modify_rule(
            RuleArn=balancer.rule, Actions=[{"Type": "forward", "ForwardConfig": forward}]
        )
        assert router.read().candidate_percent == 1  # 1 of 1997 is not nothing
        assert "by hand" in router.read().version
        assert router.reported() is None
        with pytest.raises(Unavailable):
            router.acknowledged("e0/2/5pct", timeout_s=0.01)
        weigh(router, 0)
        assert router.reported() == router.read()

    def test_a_writer_that_was_overtaken_between_tag_and_weights_says_so(
        self, balancer: Balancer
    ) -> None:
        router = balancer.router()
        router.install()
        elb = router._elb

        def overtake(**_: Any) -> None:
            elb.meta.events.unregister("after-call.elastic-load-balancing-v2.ModifyRule", overtake)
            balancer.router().write(0, epoch=9, why="a rollback")

        elb.meta.events.register("after-call.elastic-load-balancing-v2.ModifyRule", overtake)
        with pytest.raises(StaleEpoch):
            router.write(50, epoch=1, why="up")
        assert (router.read().candidate_percent, router.read().epoch) == (0, 9)

    def test_every_problem_is_named_at_once_and_nothing_is_written(
        self, balancer: Balancer
    ) -> None:
        wrong = make_group(
            balancer.client, balancer.network, f"tcp-{next(_serial)}", Protocol="TCP"
        )
        elb = balancer.client("elbv2")
        elb.modify_target_group_attributes(
            TargetGroupArn=balancer.groups["baseline"],
            Attributes=[
                {"Key": "stickiness.enabled", "Value": "true"},
                {"Key": "stickiness.type", "Value": "lb_cookie"},
            ],
        )
        unknown = balancer.groups["twin"] + "0"
        with pytest.raises(BadInput) as refusal:
            balancer.router(candidate_target_group=wrong, twin_target_group=unknown).install()
        problems = refusal.value.problems
        assert len(problems) == 3
        assert any("protocol is TCP" in p for p in problems)
        assert any("stickiness of its own" in p for p in problems)
        assert any("there is no target group" in p for p in problems)
        assert not elb.describe_tags(ResourceArns=[balancer.rule])["TagDescriptions"][0]["Tags"]

    def test_a_rule_that_is_not_there_is_refused(self, balancer: Balancer) -> None:
        with pytest.raises(BadInput) as refusal:
            balancer.router(rule=balancer.rule + "0").install()
        assert any("there is no rule" in p for p in refusal.value.problems)

    def test_a_candidate_with_weight_of_somebody_else_is_refused(self, balancer: Balancer) -> None:
        balancer.client("elbv2").modify_rule(
            RuleArn=balancer.rule,
            Actions=[
                {
                    "Type": "forward",
                    "ForwardConfig": {
                        "TargetGroups": [
                            {"TargetGroupArn": balancer.groups["candidate"], "Weight": 10},
                            {"TargetGroupArn": balancer.groups["baseline"], "Weight": 90},
                        ]
                    },
                }
            ],
        )
        with pytest.raises(BadInput) as refusal:
            balancer.router().install()
        assert any("weight already" in p for p in refusal.value.problems)

    def test_a_group_of_another_load_balancer_is_refused(self, balancer: Balancer) -> None:
        elb = balancer.client("elbv2")
        other = elb.create_load_balancer(
            Name=f"other-{next(_serial)}",
            Type="application",
            Subnets=[
                s["SubnetId"]
                for s in balancer.client("ec2").describe_subnets(
                    Filters=[{"Name": "vpc-id", "Values": [balancer.network]}]
                )["Subnets"]
            ],
        )["LoadBalancers"][0]["LoadBalancerArn"]
        elb.create_listener(
            LoadBalancerArn=other,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": balancer.groups["candidate"]}],
        )
        with pytest.raises(BadInput) as refusal:
            balancer.router().install()
        assert any("another load balancer" in p for p in refusal.value.problems)

    def test_an_account_that_may_not_is_told_where_the_policy_stands(
        self, balancer: Balancer
    ) -> None:
        router = balancer.router()
        router.install()

        def deny(request: Any, **_: Any) -> AWSResponse | None:
            if "Action=ModifyRule" not in str(request.body):
                return None
            return AWSResponse(request.url, 403, {}, _Body(DENIED))

        router._elb.meta.events.register("before-send", deny)
        with pytest.raises(Refused) as refusal:
            router.write(1, epoch=1, why="up")
        assert "docs/how-to/canary-on-alb.md" in refusal.value.remedy


DENIED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
    b"<Message>no</Message></Error></ErrorResponse>"
)


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


def test_every_other_action_stays_as_it_was_and_a_secret_is_kept() -> None:
    before = [
        {
            "Type": "authenticate-oidc",
            "Order": 1,
            "AuthenticateOidcConfig": {"Issuer": "https://id.example.org", "ClientId": "a"},
        },
        {"Type": "forward", "Order": 2, "TargetGroupArn": "b"},
    ]
    groups = {"candidate": "c", "twin": None, "baseline": "b"}
    after = weighted(before, groups, {"candidate": 5, "twin": 0, "baseline": 95}, 60)
    assert after[0]["AuthenticateOidcConfig"].pop("UseExistingClientSecret") is True
    assert after[0] == before[0]
    assert after[1]["Order"] == 2
    assert "TargetGroupArn" not in after[1]
    assert before[1] == {"Type": "forward", "Order": 2, "TargetGroupArn": "b"}


# -- access logs -------------------------------------------------------------------------------

LINE = (
    "{kind} {time} app/edge/1 192.0.2.7:51000 10.0.0.1:80 {seconds} {status} {target_status} "
    '100 200 "GET http://a.example.org:80/search?q=%22a%22 HTTP/1.1" "browser \\x22 1" - - {group} '
    '"Root=1-5" "-" "-" 10 {created} "forward" "-" "-" "10.0.0.1:80" "200" "-" "-"\n'
)


def line(group: str, at: float, *, seconds: str = "0.001 0.020 0.004", status: str = "200") -> str:
    def stamp(t: float) -> str:
        return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    return LINE.format(
        kind="http",
        time=stamp(at + 0.025),
        seconds=seconds,
        status=status,
        target_status=status,
        group=group,
        created=stamp(at),
    )


def test_a_line_of_a_log_becomes_a_request() -> None:
    arms = {"arn:candidate": "candidate"}
    request = request_of(line("arn:candidate", 1000.0).encode(), arms)
    assert request is not None
    assert (request.arm, request.status, request.started_at) == ("candidate", 200, 1000.0)
    assert request.latency_ms == pytest.approx(25)
    assert request.results is None
    assert request.tenant is not None
    unanswered = request_of(
        line("arn:candidate", 1000.0, seconds="-1 -1 -1", status="502").encode(), arms
    )
    assert unanswered is not None
    assert (unanswered.status, round(unanswered.latency_ms)) == (502, 25)
    assert unanswered.tenant == request.tenant


@pytest.mark.parametrize(
    "text", ["", "half a line", line("-", 1.0), line("arn:other", 1.0), '"""', "\x00" * 50]
)
def test_a_line_of_no_arm_is_passed_over(text: str) -> None:
    assert request_of(text.encode(), {"arn:candidate": "candidate"}) is None


def test_the_policy_of_the_how_to_page_is_what_is_called(balancer: Balancer) -> None:
    page = Path(__file__).parents[3] / PAGE
    policy = json.loads(page.read_text().split("```json\n")[1].split("```")[0])
    allowed = {action for s in policy["Statement"] for action in s["Action"]}
    called = set()
    for changes in ({}, {"rule": None, "listener": balancer.listener}):
        if changes:
            balancer.client("elbv2").modify_listener(
                ListenerArn=balancer.listener,
                DefaultActions=[{"Type": "forward", "TargetGroupArn": balancer.groups["baseline"]}],
            )
        router = balancer.router(**changes)
        router._elb.meta.events.register(
            "before-call", lambda model, **_: called.add(f"elasticloadbalancing:{model.name}")
        )
        router.install()
        weigh(router, 1)
        assert router.software_version() is not None
        assert router.abilities.requests is False
    assert called == {action for action in allowed if not action.startswith("s3:")}
    assert {"s3:ListBucket", "s3:GetObject"} <= allowed


def test_a_rollback_asks_for_no_log_before_it_wrote(balancer: Balancer) -> None:
    router = balancer.router()
    router.install()
    weigh(router, 5)

    def silent(request: Any, **_: Any) -> AWSResponse | None:
        told = "Action=DescribeLoadBalancerAttributes" in str(request.body)
        return AWSResponse(request.url, 403, {}, _Body(DENIED)) if told else None

    router._elb.meta.events.register("before-send", silent)
    _, cursor = router.observed(None)
    weigh(router, 0)
    assert router.abilities.requests is False
    assert any("AccessDenied" in sentence for sentence in router.abilities.blind)
    with pytest.raises(Refused):
        router.observed(cursor)


def test_logs_in_s3_are_read_as_they_arrive(balancer: Balancer) -> None:
    router = balancer.router()
    router.install()
    assert router.abilities.requests is False
    with pytest.raises(Refused, match="shows no single requests"):
        require_sight(router)

    s3, bucket = balancer.client("s3"), f"logs-{next(_serial)}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    balancer.client("elbv2").modify_load_balancer_attributes(
        LoadBalancerArn=balancer.arn,
        Attributes=[
            {"Key": "access_logs.s3.enabled", "Value": "true"},
            {"Key": "access_logs.s3.bucket", "Value": bucket},
            {"Key": "access_logs.s3.prefix", "Value": "edge"},
        ],
    )
    router = balancer.router()
    assert any("five minutes" in sentence for sentence in require_sight(router).blind)
    logs = router._logs
    assert logs is not None
    logs._settle_s = 0.0

    before, cursor = router.observed(None)
    assert before == []
    account = balancer.arn.split(":")[4]
    name = balancer.arn.split(":loadbalancer/")[1].replace("/", ".")
    started = time.time()
    content = "".join(
        line(balancer.groups[arm], started + 1, status=status)
        for arm, status in (("baseline", "200"), ("candidate", "200"), ("candidate", "503"))
    ) + line(balancer.groups["candidate"], started - 3600)  # a late line of before the cursor
    now = datetime.now(UTC)
    seen: list[Any] = []
    end = time.monotonic() + 10
    n = 0
    while not seen and time.monotonic() < end:  # until S3's clock shows the next second
        s3.put_object(
            Bucket=bucket,
            Key=f"edge/AWSLogs/{account}/elasticloadbalancing/{REGION}/{now:%Y/%m/%d}/"
            f"{account}_elasticloadbalancing_{REGION}_{name}_{now:%Y%m%dT%H%MZ}_192.0.2.1_{n}.log.gz",
            Body=gzip.compress(content.encode()),
        )
        time.sleep(0.2)
        more, cursor = router.observed(cursor)
        seen += more
        n += 1
    assert {(r.arm, r.status) for r in seen} == {
        ("baseline", 200),
        ("candidate", 200),
        ("candidate", 503),
    }
