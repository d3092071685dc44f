"""What a workload file says of its router: which one moves the weights, and by which connection.

The bounds are those of the routers' own makers: ALB takes stickiness of 1 to 604 800 s and five
target groups in an action, Route 53 weights up to 255, an HTTPRoute sixteen rules (Gateway API v1).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qafila.workload.corpus import Model, Name

_PARTITION = r"^arn:aws(-[a-z]+)*:elasticloadbalancing:[a-z0-9-]+:\d{12}:"
RuleArn = Annotated[str, Field(pattern=_PARTITION + r"listener-rule/app/[^/]+(/[^/]+){3}$")]
ListenerArn = Annotated[str, Field(pattern=_PARTITION + r"listener/app/[^/]+(/[^/]+){2}$")]
GroupArn = Annotated[str, Field(pattern=_PARTITION + r"targetgroup/[^/]+/[^/]+$")]
KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9][-a-z0-9.]*$", max_length=253)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]*$", max_length=247)]
EntryUrl = Annotated[
    str,
    Field(
        pattern=r"^https?://[^\s/]+/?$",
        description="Where users reach the service through this router; drills and rollbacks "
        "prove what they did with requests to it.",
    ),
]
Log = Annotated[
    str | None,
    Field(
        max_length=1000,
        description="Access log of the service, JSON lines with the fields of Envoy's: ts, arm, "
        "code, ms, attempts, results, key, bad.",
    ),
]


def loopback_ports(entry: str) -> range:
    """Return the ports that one entry of an edge's ``allowed_loopback`` stands for.

    An entry is a port, ``8001``, a range, ``8001-8010``, or ``any``.

    Raises:
        ValueError: it is none of them.
    """
    if entry == "any":
        return range(1, 65_536)
    first, dash, last = entry.partition("-")
    parts = (first, last if dash else first)
    if not all(p.isascii() and p.isdigit() and 1 <= int(p) <= 65_535 for p in parts):
        raise ValueError(f"{entry!r} is no port, range of ports (8001-8010) or 'any'")
    if int(parts[0]) > int(parts[1]):
        raise ValueError(f"{entry!r} ends before it begins")
    return range(int(parts[0]), int(parts[1]) + 1)


class EnvoyFileRouter(Model):
    """Envoy that watches a folder for its routes, or several of them."""

    kind: Literal["envoy-file"] = Field(description="Envoy with file-based configuration.")
    block: Name = Field(description="Connection to the Envoy in front of both arms.")
    members: list[Name] = Field(
        [], max_length=100, description="Connections to further Envoys that carry the same weights."
    )

    @property
    def places(self) -> frozenset[str]:
        """Return what this router writes to: two workloads may not share any of it."""
        return frozenset(f"{self.kind} {name}" for name in (self.block, *self.members))

    @model_validator(mode="after")
    def _members_differ(self) -> EnvoyFileRouter:
        names = [self.block, *self.members]
        if len(set(names)) < len(names):
            raise ValueError("block and members name the same Envoy twice")
        return self


class AlbRouter(Model):
    """An AWS Application Load Balancer: weights between target groups, in one rule's action."""

    kind: Literal["alb"] = Field(description="AWS Application Load Balancer.")
    block: Name = Field(description="Connection to the AWS account.")
    rule: RuleArn | None = Field(None, description="Rule whose forward action is weighted.")
    listener: ListenerArn | None = Field(
        None, description="Instead of a rule: the listener, for its default action."
    )
    baseline_target_group: GroupArn = Field(description="Target group that serves now.")
    candidate_target_group: GroupArn = Field(description="Target group that is on trial.")
    twin_target_group: GroupArn | None = Field(
        None, description="The baseline's targets in one more group, for an A/A bake."
    )
    stickiness_seconds: int = Field(
        3600,
        ge=1,
        le=604_800,
        description="How long a user keeps the target group that a cookie names, between 0 and "
        "100 %.",
    )
    entry_url: EntryUrl
    log: Log = None

    @property
    def place(self) -> str:
        """Return the ARN of what is written to."""
        return self.rule or self.listener or ""

    @property
    def places(self) -> frozenset[str]:
        """Return what this router writes to: two workloads may not share any of it."""
        return frozenset({self.place})

    @model_validator(mode="after")
    def _one_place_and_different_groups(self) -> AlbRouter:
        if (self.rule is None) == (self.listener is None):
            raise ValueError("router needs either rule or listener")
        groups = [self.baseline_target_group, self.candidate_target_group, self.twin_target_group]
        named = [group for group in groups if group]
        if len(set(named)) < len(named):
            raise ValueError("baseline, candidate and twin name the same target group twice")
        if len({self.place.split(":")[3], *(group.split(":")[3] for group in named)}) > 1:
            raise ValueError("rule and target groups are in different regions")
        return self


class Route53Router(Model):
    """Weighted records of Route 53. Going back takes at least the records' time to live."""

    kind: Literal["route53"] = Field(description="Amazon Route 53, weighted records.")
    block: Name = Field(description="Connection to the AWS account.")
    hosted_zone: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,32}$")] = Field(
        description="Id of the hosted zone."
    )
    record: HostName = Field(description="Name of the weighted records; no wildcard.")
    types: list[Literal["A", "AAAA", "CNAME"]] = Field(
        ["A"],
        min_length=1,
        max_length=2,
        description="Types of the weighted records: A and AAAA are weighed together.",
    )
    baseline_id: str = Field(
        min_length=1, max_length=128, description="Set identifier of the record that serves now."
    )
    candidate_id: str = Field(
        min_length=1, max_length=128, description="Set identifier of the record on trial."
    )
    twin_id: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Set identifier of one more record to the baseline, for an A/A bake.",
    )
    ttl_seconds: int = Field(
        60,
        ge=1,
        le=3600,
        description="Time to live of the records, 60 for aliases: going back takes at least so "
        "long.",
    )
    entry_url: EntryUrl
    log: Log = None

    @property
    def fqdn(self) -> str:
        """Return the records' name as Route 53 spells it: lower case, with its last dot."""
        return self.record.lower().rstrip(".") + "."

    @property
    def places(self) -> frozenset[str]:
        """Return what this router writes to: two workloads may not share any of it."""
        return frozenset({f"{self.hosted_zone} {self.fqdn}"})

    @model_validator(mode="after")
    def _identifiers_and_types_differ(self) -> Route53Router:
        if len(set(self.types)) < len(self.types) or ("CNAME" in self.types and self.types[1:]):
            raise ValueError("types are A, AAAA, both of these, or CNAME alone")
        named = [i for i in (self.baseline_id, self.candidate_id, self.twin_id) if i]
        if len(set(named)) < len(named):
            raise ValueError("baseline_id, candidate_id and twin_id name the same record twice")
        return self


class GatewayApiRouter(Model):
    """A Kubernetes HTTPRoute (Gateway API v1): weights of the backends of one of its rules."""

    kind: Literal["gateway-api"] = Field(description="Kubernetes Gateway API, HTTPRoute.")
    block: Name = Field(description="Connection to the Kubernetes cluster.")
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9][-a-z0-9]*$", max_length=63)] = Field(
        description="Namespace of the HTTPRoute."
    )
    route: KubernetesName = Field(description="Name of the HTTPRoute.")
    rule: int = Field(0, ge=0, le=15, description="Which of its rules, from 0.")
    baseline_backend: KubernetesName = Field(description="Backend that serves now.")
    candidate_backend: KubernetesName = Field(description="Backend that is on trial.")
    twin_backend: KubernetesName | None = Field(
        None, description="One more Service before the baseline's pods, for an A/A bake."
    )
    entry_url: EntryUrl
    log: Log = None

    @property
    def places(self) -> frozenset[str]:
        """Return what this router writes to: two workloads may not share any of it."""
        return frozenset({f"{self.block} {self.namespace}/{self.route}"})

    @model_validator(mode="after")
    def _backends_differ(self) -> GatewayApiRouter:
        named = [b for b in (self.baseline_backend, self.candidate_backend, self.twin_backend) if b]
        if len(set(named)) < len(named):
            raise ValueError("baseline, candidate and twin name the same backend twice")
        return self


AnyRouter = Annotated[
    EnvoyFileRouter | AlbRouter | Route53Router | GatewayApiRouter, Field(discriminator="kind")
]
