"""An AWS Application Load Balancer: weights between target groups in one rule's forward action.

The version is a tag on the rule (or the listener), written before the weights, so that from that
moment an older epoch is refused. AWS has no compare-and-set: two writers in the same second are
kept apart by the ledger's lease, and one that was overtaken finds a tag that is not its own.

Between 0 and 100 % a cookie keeps users at their target group. At 0 and at 100 % stickiness is
switched off, so that no cookie of before keeps anybody at the arm without weight; both groups
stay in the action, because targets of a group outside of it are no longer checked for health.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from qafila.errors import BadInput, Refused, StaleEpoch, Unavailable
from qafila.routers.aws.alb_actions import TAG, actions_of, forwarded, weighted
from qafila.routers.aws.alb_checks import problems_of
from qafila.routers.aws.alb_logs import AccessLogs, cursor_at
from qafila.routers.aws.calls import calling, version_spoken
from qafila.routers.envoy.config import parse_version, version_text
from qafila.routers.port import Abilities, Request, RouterState
from qafila.routers.sight import LogSight
from qafila.routers.weights import (
    CopiesNothing,
    configured,
    following,
    read_if_ours,
    require_epoch,
    require_weights,
    shares,
)
from qafila.workload.router import AlbRouter as Settings

PAGE = "docs/how-to/canary-on-alb.md"
_POLL_S = 0.25


class AlbRouter(CopiesNothing):
    """One rule or listener; ``client`` makes boto3 clients: called with a service and a region."""

    def __init__(self, settings: Settings, client: Callable[..., Any]) -> None:
        self._settings = settings
        self._place = settings.place
        self._region = self._place.split(":")[3]
        self._elb = client("elbv2", self._region)
        self._logs_client = client
        self._groups = {
            "candidate": settings.candidate_target_group,
            "twin": settings.twin_target_group,
            "baseline": settings.baseline_target_group,
        }

    @property
    def name(self) -> str:
        return self._settings.block

    @property
    def listen_url(self) -> str:
        return self._settings.entry_url.rstrip("/")

    @property
    def abilities(self) -> Abilities:
        blind = [
            "AWS says when a rule is stored, not when each node of the load balancer uses it",
            "AWS has no compare-and-set: writers are kept apart by the ledger's lease alone",
            "on the way up, users with a cookie keep their target group for "
            f"{self._settings.stickiness_seconds} s, so the share lags behind the weight",
            "open streams go on at the arm that took them",
        ]
        requests = True
        if self._settings.log is None:
            try:
                requests = self._logs is not None
                blind += AccessLogs.blind if requests else ["single requests: access logs are off"]
            except (Unavailable, Refused) as error:  # a rollback asks too, and never waits for it
                requests = False
                blind.append(f"single requests: {error.what}")
        return Abilities(
            requests=requests,
            twin=self._groups["twin"] is not None,
            mirror=False,
            blind=tuple(blind),
        )

    def close(self) -> None:
        """Close the connections to AWS."""
        self._elb.close()

    def software_version(self) -> str | None:
        """Return the version of the API that is spoken; None when AWS does not answer."""
        return version_spoken(self._elb, self._described)

    def install(self) -> RouterState:
        """Check everything that AWS would refuse later, and take the rule over at weight 0.

        What was installed already keeps its weights.

        Raises:
            BadInput: naming every problem: an unknown rule or group, a limit, traffic on the
                candidate that Qafila did not send.
            Refused: the account may not read or write.
            Unavailable: AWS does not answer.
        """
        with calling(self.name, "describe the load balancer", PAGE):
            problems = problems_of(self._elb, self._settings)
        if problems:
            raise BadInput(
                f"the load balancer cannot carry the weights of {self._place}:",
                problems,
                remedy="change service.router in the workload file or the load balancer, then: "
                "qafila apply FILE",
            )
        actions = self._described()
        stored, weights = self._stored(actions)
        if stored is not None and set(weights) == {a for a, arn in self._groups.items() if arn}:
            return configured(stored, weights)
        epoch = 0 if stored is None else parse_version(stored)[0].epoch
        sequence = 0 if stored is None else parse_version(stored)[1]
        version = version_text(epoch, sequence + 1, 0)
        self._put(version, actions)
        return RouterState(0, epoch, version)

    def read(self) -> RouterState:
        """Return the weights of the rule, under the version of its tag.

        Raises:
            Unavailable: the rule has no version of ours, or AWS does not answer.
        """
        return self._state(*self._stored(self._described()))

    def _state(self, stored: str | None, weights: Mapping[str, int]) -> RouterState:
        if stored is None:
            raise Unavailable(
                f"router {self.name} has no weights of Qafila yet ({self._place}).",
                kept="nothing was touched.",
                remedy="qafila apply FILE",
            )
        return configured(stored, weights)

    def reported(self) -> RouterState | None:
        """Return the weights of the rule; None where somebody else changed them."""
        return read_if_ours(self.read)

    def write(
        self,
        candidate_percent: int,
        *,
        epoch: int,
        why: str,
        twin_percent: int = 0,
        mirror_percent: int = 0,
    ) -> str:
        """Tag the rule with the new version, then weigh it; return the version to wait for.

        Raises:
            BadInput: weights that do not fit or that a load balancer cannot carry.
            StaleEpoch: a newer epoch has written already, or did so meanwhile.
            Unavailable: AWS does not answer, or the rule was never installed.
        """
        able = Abilities(twin=self._groups["twin"] is not None, mirror=False)
        require_weights(self.name, able, candidate_percent, twin_percent, mirror_percent)
        actions = self._described()
        stored, weights = self._stored(actions)
        require_epoch(self.name, self._state(stored, weights), epoch)
        assert stored is not None  # or there would be no state
        version = following(stored, epoch, candidate_percent, twin_percent)
        self._put(version, actions)
        now, _ = self._stored(actions)
        if now != version:
            raise StaleEpoch(
                f"router {self.name}: another writer left {now} while {version} was written.",
                kept="the weights of whoever wrote last; read them with: qafila status",
            )
        return version

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Read the rule back until it holds exactly this version's weights; return the seconds.

        Raises:
            Unavailable: it does not within the time; says what it holds instead.
        """
        started = time.monotonic()
        while True:
            stored, weights = self._stored(self._described())
            state = None if stored is None else configured(stored, weights)
            waited = time.monotonic() - started
            if state is not None and state.version == version:
                return waited
            if waited > timeout_s:
                raise Unavailable(
                    f"router {self.name} does not hold {version} after {timeout_s:g} s, but "
                    f"{state.version if state else 'no version of Qafila'}.",
                    kept="the rule as it is.",
                    remedy="qafila status",
                )
            time.sleep(_POLL_S)

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return requests that finished after ``cursor`` as far as logs were delivered."""
        if self._settings.log is not None:
            return LogSight(self._settings.log).observed(cursor)
        if cursor is None:
            return [], cursor_at(time.time())
        logs = self._logs
        return ([], cursor) if logs is None else logs.observed(cursor)

    # -- AWS -----------------------------------------------------------------------------------

    @cached_property
    def _logs(self) -> AccessLogs | None:
        """Return the access logs in S3; None while the load balancer writes none."""
        _, region, account, _ = self._place.split(":", 5)[2:6]
        balancer = "/".join(self._place.split(":", 5)[5].split("/")[1:4])
        arn = ":".join([*self._place.split(":", 5)[:5], f"loadbalancer/{balancer}"])
        with calling(self.name, "read whether access logs are on", PAGE):
            found = self._elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
        attributes = {a["Key"]: a["Value"] for a in found}
        if attributes.get("access_logs.s3.enabled") != "true":
            return None
        return AccessLogs(
            self.name,
            self._logs_client("s3", region),
            bucket=attributes["access_logs.s3.bucket"],
            prefix=attributes.get("access_logs.s3.prefix", ""),
            account=account,
            region=region,
            balancer=balancer,
            arms={arn: arm for arm, arn in self._groups.items() if arn},
        )

    def _described(self) -> list[dict[str, Any]]:
        """Return the actions of the rule, or the default ones of the listener."""
        with calling(self.name, "describe the rule", PAGE):
            try:
                return actions_of(self._elb, self._settings)
            except BadInput as error:  # it was there when the workload was applied
                raise Unavailable(error.what, remedy=error.remedy) from error

    def _stored(self, actions: Sequence[Mapping[str, Any]]) -> tuple[str | None, Mapping[str, int]]:
        """Return the version of the tag, None without one, and the weight of each arm."""
        with calling(self.name, "read the rule's tags", PAGE):
            described = self._elb.describe_tags(ResourceArns=[self._place])["TagDescriptions"]
        tags = {t["Key"]: t["Value"] for d in described for t in d["Tags"]}
        version = tags.get(TAG)
        arm_of = {arn: arm for arm, arn in self._groups.items() if arn}
        weights: dict[str, int] = {}
        for arn, weight in forwarded(actions).items():
            weights[arm_of.get(arn, arn)] = weight
        if version is not None:
            try:
                parse_version(version)
            except ValueError as error:
                raise Unavailable(
                    f"the tag {TAG} of {self._place} is not one that Qafila wrote: {version!r}",
                    kept="the rule.",
                    remedy="take the tag away, then: qafila apply FILE",
                ) from error
        return version, weights

    def _put(self, version: str, described: Sequence[Mapping[str, Any]]) -> None:
        """Write the tag, then the weights; every other action stays as it was described."""
        state, _ = parse_version(version)
        actions = weighted(
            described, self._groups, shares(state), self._settings.stickiness_seconds
        )
        with calling(self.name, "tag the rule", PAGE):
            self._elb.add_tags(ResourceArns=[self._place], Tags=[{"Key": TAG, "Value": version}])
        with calling(self.name, "weigh the target groups", PAGE):
            if self._settings.rule is not None:
                self._elb.modify_rule(RuleArn=self._place, Actions=actions)
            else:
                self._elb.modify_listener(ListenerArn=self._place, DefaultActions=actions)
