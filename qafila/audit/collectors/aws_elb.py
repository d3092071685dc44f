"""Load balancers, classic and of the second generation, and what stands behind them."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.variables import partition_of
from qafila.audit.estate import Edge, Resource

ACTIONS = (
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "elasticloadbalancing:DescribeTags",
)
_TAGS_A_CALL = 20  # limit of DescribeTags


def read(account: Account) -> None:
    """Add balancers and target groups; edges lead from balancer to group to what answers."""
    with account.tolerating("elb v2"):
        _second_generation(account)
    with account.tolerating("elb classic"):
        _classic(account)


def _second_generation(account: Account) -> None:
    elb = account.client("elbv2")
    balancers = list(account.pages(elb, "describe_load_balancers", "LoadBalancers"))
    groups = list(account.pages(elb, "describe_target_groups", "TargetGroups"))
    arns = [b["LoadBalancerArn"] for b in balancers] + [g["TargetGroupArn"] for g in groups]
    tags: dict[str, dict[str, str]] = {}
    with account.tolerating("elb tags"):
        for start in range(0, len(arns), _TAGS_A_CALL):
            answer = elb.describe_tags(ResourceArns=arns[start : start + _TAGS_A_CALL])
            tags |= {d["ResourceArn"]: tags_of(d.get("Tags")) for d in answer["TagDescriptions"]}
    for balancer in balancers:
        zones = balancer.get("AvailabilityZones", [])
        account.found.append(
            Resource(
                balancer["LoadBalancerArn"],
                "elb:load-balancer",
                balancer["LoadBalancerName"],
                account.region,
                None,
                tags.get(balancer["LoadBalancerArn"], {}),
                {
                    "type": balancer["Type"],
                    "scheme": balancer.get("Scheme"),
                    "address": _host(balancer),
                    "vpc": balancer.get("VpcId"),
                    "zones": [z["ZoneName"] for z in zones],
                    "subnets": [z["SubnetId"] for z in zones if "SubnetId" in z],
                    "security_groups": list(balancer.get("SecurityGroups", [])),
                },
            )
        )
    for group in groups:
        arn = group["TargetGroupArn"]
        account.found.append(
            Resource(
                arn,
                "elb:target-group",
                group["TargetGroupName"],
                account.region,
                None,
                tags.get(arn, {}),
                {
                    "port": group.get("Port"),
                    "protocol": group.get("Protocol"),
                    "target_type": group.get("TargetType"),
                    "vpc": group.get("VpcId"),
                },
            )
        )
        account.edges += [
            Edge(balancer, arn, "routes", "elb target group", 1.0)
            for balancer in group.get("LoadBalancerArns", [])
        ]
    account.each(groups, _targets)


def _targets(account: Account, group: dict[str, Any]) -> None:
    elb, arn = account.client("elbv2"), group["TargetGroupArn"]
    with account.tolerating(f"elb targets of {group['TargetGroupName']}"):
        health = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        account.edges += [
            Edge(arn, h["Target"]["Id"], "routes", "elb registered target", 1.0) for h in health
        ]


def _classic(account: Account) -> None:
    elb = account.client("elb")
    balancers = list(account.pages(elb, "describe_load_balancers", "LoadBalancerDescriptions"))
    names = [b["LoadBalancerName"] for b in balancers]
    tags: dict[str, dict[str, str]] = {}
    with account.tolerating("elb tags of classic balancers"):
        for start in range(0, len(names), _TAGS_A_CALL):
            answer = elb.describe_tags(LoadBalancerNames=names[start : start + _TAGS_A_CALL])
            tags |= {
                d["LoadBalancerName"]: tags_of(d.get("Tags")) for d in answer["TagDescriptions"]
            }
    for balancer in balancers:
        name = balancer["LoadBalancerName"]
        # the API tells no ARN; the owner of the group it wears is the account
        owner = (balancer.get("SourceSecurityGroup") or {}).get("OwnerAlias", "")
        identifier = (
            f"arn:{partition_of(account.region)}:elasticloadbalancing:{account.region}:"
            f"{owner if owner.isdigit() else account.account}:loadbalancer/{name}"
        )
        account.found.append(
            Resource(
                identifier,
                "elb:load-balancer",
                name,
                account.region,
                None,
                tags.get(name, {}),
                {
                    "type": "classic",
                    "scheme": balancer.get("Scheme"),
                    "address": _host(balancer),
                    "vpc": balancer.get("VPCId"),
                    "zones": balancer.get("AvailabilityZones", []),
                    "subnets": balancer.get("Subnets", []),
                    "security_groups": list(balancer.get("SecurityGroups", [])),
                },
            )
        )
        account.edges += [
            Edge(identifier, i["InstanceId"], "routes", "elb registered instance", 1.0)
            for i in balancer.get("Instances", [])
        ]


def _host(balancer: dict[str, Any]) -> str | None:
    host = balancer.get("DNSName")
    return host.lower() if host else None
