"""What AWS would refuse of a weighted rule, found before anything is written.

Limits: Elastic Load Balancing API 2015-12-01: weights 0 to 999, five target groups in an action,
one load balancer a target group, target type ``alb`` only behind a Network Load Balancer, and the
default rule changed through its listener. Group stickiness is a must where a target group has
stickiness of its own; that would hold users at an arm whose weight went to 0, so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from qafila.errors import BadInput
from qafila.routers.aws.alb_actions import TAG, actions_of, forwarded
from qafila.routers.aws.calls import code_of
from qafila.workload.router import AlbRouter as Settings


def problems_of(elb: Any, settings: Settings) -> list[str]:
    """Return every problem of rule, target groups and load balancer, each one sentence.

    Raises:
        ClientError, BotoCoreError: from AWS, but not for what is merely unknown to it.
    """
    groups = {
        "baseline_target_group": settings.baseline_target_group,
        "candidate_target_group": settings.candidate_target_group,
        "twin_target_group": settings.twin_target_group,
    }
    named = {field: arn for field, arn in groups.items() if arn}
    problems: list[str] = []
    try:
        actions = actions_of(elb, settings)
    except BadInput as error:
        problems.append(error.what)
    else:
        problems += _action_problems(elb, settings, actions, set(named.values()))
        tags = elb.describe_tags(ResourceArns=[settings.place])["TagDescriptions"]
        keys = {t["Key"] for d in tags for t in d["Tags"]}
        if TAG not in keys and len(keys) >= 50:
            problems.append(f"{settings.place} has 50 tags, which is all AWS allows.")
        if TAG not in keys and forwarded(actions).get(settings.candidate_target_group, 0):
            problems.append(
                "the candidate has weight already, and Qafila did not give it: set it to 0 first."
            )
    parts = settings.place.split(":", 5)
    balancer = ":".join([*parts[:5], "loadbalancer/" + "/".join(parts[5].split("/")[1:4])])
    network = _network_of(elb, balancer)
    for field, arn in named.items():
        problems += _group_problems(elb, field, arn, balancer, network)
    return problems


def _action_problems(
    elb: Any,
    settings: Settings,
    actions: Sequence[Mapping[str, Any]],
    named: set[str],
) -> list[str]:
    problems = []
    if settings.rule is not None:
        rule = elb.describe_rules(RuleArns=[settings.rule])["Rules"][0]
        if rule.get("IsDefault"):
            problems.append(
                f"{settings.rule} is the default rule: name its listener in service.router.listener"
            )
    forwards = [a for a in actions if a.get("Type") == "forward"]
    if len(forwards) != 1:
        problems.append(
            f"{settings.place} has {len(forwards)} forward actions; one is what can be weighed."
        )
    problems += [
        f"{settings.place} also sends traffic to {arn}, which is neither baseline nor candidate."
        for arn, weight in forwarded(actions).items()
        if arn not in named and weight
    ]
    return problems


def _network_of(elb: Any, balancer: str) -> str | None:
    try:
        found = elb.describe_load_balancers(LoadBalancerArns=[balancer])["LoadBalancers"]
    except ClientError as error:
        if code_of(error) != "LoadBalancerNotFound":
            raise
        return None  # the rule is unknown too, and said so
    return str(found[0].get("VpcId")) if found else None


def _group_problems(
    elb: Any, field: str, arn: str, balancer: str, network: str | None
) -> list[str]:
    try:
        group = elb.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
    except ClientError as error:
        if code_of(error) != "TargetGroupNotFound":
            raise
        return [f"{field}: there is no target group {arn}."]
    problems = []
    kind = group.get("TargetType", "instance")
    if kind == "alb":
        problems.append(f"{field}: target type alb belongs behind a Network Load Balancer.")
    elif kind != "lambda":
        if group.get("Protocol") not in ("HTTP", "HTTPS"):
            problems.append(
                f"{field}: its protocol is {group.get('Protocol')}; HTTP or HTTPS is routed."
            )
        if network is not None and group.get("VpcId") not in (None, network):
            problems.append(f"{field}: it is in {group['VpcId']}, the load balancer in {network}.")
    others = [lb for lb in group.get("LoadBalancerArns", []) if lb != balancer]
    if others:
        problems.append(f"{field}: it belongs to another load balancer, {others[0]}.")
    attributes = elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
    if {a["Key"]: a["Value"] for a in attributes}.get("stickiness.enabled") == "true":
        problems.append(
            f"{field}: it has stickiness of its own, which would keep users there at weight 0: "
            "switch it off; Qafila keeps users at their arm by the rule's stickiness."
        )
    return problems
