"""Whose network interface it is: AWS says so in the description alone."""

from __future__ import annotations

import re
from collections.abc import Callable

# Wording of the services that make interfaces for what they run (EC2 user guide, "Requester-managed
# network interfaces", and the interfaces themselves). What is not among them belongs to nobody.
_ID = r"(?:[0-9a-f]{8}|[0-9a-f]{17})"
_SAID: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], str], str]], ...] = (
    (re.compile(rf"Interface for NAT Gateway (nat-{_ID})"), lambda m, _: m[1]),
    (re.compile(rf"VPC Endpoint Interface:? (vpce-{_ID})"), lambda m, _: m[1]),
    (re.compile(rf"EFS mount target for (fs-{_ID})\b.*"), lambda m, _: m[1]),
    (
        re.compile(r"ELB ((?:app|net|gwy)/[\w-]+/[0-9a-f]+|[\w-]+)"),
        lambda m, place: f"{place.format('elasticloadbalancing')}:loadbalancer/{m[1]}",
    ),
    (
        re.compile(r"ElastiCache ([\w-]+)"),
        lambda m, place: f"{place.format('elasticache')}:cluster:{m[1]}",
    ),
    (
        re.compile(r"AWS Lambda VPC ENI-([\w-]+?)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        lambda m, place: f"{place.format('lambda')}:function:{m[1]}",
    ),
)


def owner_of(description: str, partition: str, region: str, account: str) -> str | None:
    """Return the id of what an interface was made for, as its collector names it; None: unknown.

    Functions with the same subnets and groups share an interface, and it names the first of them.
    """
    place = f"arn:{partition}:{{}}:{region}:{account}"
    for pattern, named in _SAID:
        found = pattern.fullmatch(description.strip())
        if found is not None:
            return named(found, place)
    return None
