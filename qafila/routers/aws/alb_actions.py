"""The actions of an ALB's rule as AWS describes and takes them: values in, values out, one call."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from qafila.errors import BadInput
from qafila.routers.aws.calls import code_of
from qafila.workload.router import AlbRouter as Settings

TAG = "qafila:version"


def forwarded(actions: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return target group ARN and weight of the forward action; empty without one."""
    for action in actions:
        if action.get("Type") != "forward":
            continue
        groups = action.get("ForwardConfig", {}).get("TargetGroups") or []
        if groups:
            return {g["TargetGroupArn"]: int(g.get("Weight", 1)) for g in groups}
        return {action["TargetGroupArn"]: 1}
    return {}


def actions_of(elb: Any, settings: Settings) -> list[dict[str, Any]]:
    """Return the actions of the rule, or the default ones of the listener.

    Raises:
        BadInput: there is no such rule or listener.
        ClientError, BotoCoreError: from AWS.
    """
    try:
        if settings.rule is not None:
            rules = elb.describe_rules(RuleArns=[settings.rule])["Rules"]
            found: list[dict[str, Any]] = rules[0]["Actions"]
        else:
            listeners = elb.describe_listeners(ListenerArns=[settings.listener])["Listeners"]
            found = listeners[0]["DefaultActions"]
    except ClientError as error:
        if code_of(error) not in ("RuleNotFound", "ListenerNotFound", "LoadBalancerNotFound"):
            raise
        raise BadInput(
            f"there is no {'rule' if settings.rule else 'listener'} {settings.place}.",
            remedy="name an existing one in service.router, then: qafila apply FILE",
        ) from error
    return found


def weighted(
    actions: Sequence[Mapping[str, Any]],
    groups: Mapping[str, str | None],
    percent: Mapping[str, int],
    stickiness_seconds: int,
) -> list[dict[str, Any]]:
    """Return actions with the forward action's weights replaced and all else as it was.

    A client secret is never described by AWS; it is told to keep the one it has.
    """
    result = []
    split = sum(weight > 0 for weight in percent.values()) > 1
    stickiness: dict[str, Any] = {"Enabled": split}
    if split:
        stickiness["DurationSeconds"] = stickiness_seconds
    for action in copy.deepcopy([dict(a) for a in actions]):
        if action["Type"] == "forward":
            action.pop("TargetGroupArn", None)  # AWS takes it only where it is the single group
            action["ForwardConfig"] = {
                "TargetGroups": [
                    {"TargetGroupArn": arn, "Weight": percent[arm]}
                    for arm, arn in groups.items()
                    if arn
                ],
                "TargetGroupStickinessConfig": stickiness,
            }
        oidc = action.get("AuthenticateOidcConfig")
        if oidc is not None and "ClientSecret" not in oidc:
            oidc["UseExistingClientSecret"] = True
        result.append(action)
    return result
