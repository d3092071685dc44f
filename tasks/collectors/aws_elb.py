"""Load balancers (application and network) and what stands behind them."""

from __future__ import annotations

from qafila.core.estate import Edge, Resource
from tasks.collectors.aws_account import Account, tags_of

ACTIONS = (
    "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeTags",
)  # fmt: skip
_TAGS_A_CALL = 20  # limit of DescribeTags


def read(account: Account) -> None:
    """Add load balancers and target groups; edges lead from balancer to group to instance."""
    elb = account.client("elbv2")
    balancers = list(account.pages(elb, "describe_load_balancers", "LoadBalancers"))
    groups = list(account.pages(elb, "describe_target_groups", "TargetGroups"))
    arns = [b["LoadBalancerArn"] for b in balancers] + [g["TargetGroupArn"] for g in groups]
    tags: dict[str, dict[str, str]] = {}
    for start in range(0, len(arns), _TAGS_A_CALL):
        answer = elb.describe_tags(ResourceArns=arns[start : start + _TAGS_A_CALL])
        tags |= {d["ResourceArn"]: tags_of(d["Tags"]) for d in answer["TagDescriptions"]}
    for balancer in balancers:
        arn = balancer["LoadBalancerArn"]
        account.found.append(
            Resource(
                arn, "elb:load-balancer", balancer["LoadBalancerName"], account.region, None,
                tags.get(arn, {}),
                {
                    "type": balancer["Type"],
                    "scheme": balancer.get("Scheme"),
                    "zones": [z["ZoneName"] for z in balancer.get("AvailabilityZones", [])],
                    "security_groups": list(balancer.get("SecurityGroups", [])),
                },
            )
        )  # fmt: skip
    for group in groups:
        arn = group["TargetGroupArn"]
        account.found.append(
            Resource(
                arn, "elb:target-group", group["TargetGroupName"], account.region, None,
                tags.get(arn, {}), {"port": group.get("Port"), "protocol": group.get("Protocol")},
            )
        )  # fmt: skip
        account.edges += [
            Edge(balancer, arn, "routes", "elb target group", 1.0)
            for balancer in group.get("LoadBalancerArns", [])
        ]
        with account.tolerating(f"targets of {group['TargetGroupName']}"):
            health = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
            account.edges += [
                Edge(arn, h["Target"]["Id"], "routes", "elb registered target", 1.0) for h in health
            ]
