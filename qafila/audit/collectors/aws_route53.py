"""Route 53: hosted zones, and what their names resolve to; it has no region."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.estate import Edge, Resource

ACTIONS = (
    "route53:ListHostedZones",
    "route53:ListResourceRecordSets",
    "route53:ListTagsForResource",
)
_RESOLVE = frozenset({"A", "AAAA", "CNAME"})  # texts may hold secrets and are not read further


def read(account: Account) -> None:
    """Add each zone with its records counted by type; edges lead from a name to its target.

    Both ends of an edge are host names or addresses, in lower case without the closing dot, as
    other collectors write ``address``; a weighted record with weight 0 answers nobody and has .1.
    """
    client = account.client("route53")
    for zone in account.pages(client, "list_hosted_zones", "HostedZones"):
        identifier, name = zone["Id"].rsplit("/", 1)[-1], _plain(zone["Name"])
        tags: dict[str, str] = {}
        types: Counter[str] | None = None
        with account.tolerating(f"route53 tags of {name}"):
            answer = client.list_tags_for_resource(ResourceType="hostedzone", ResourceId=identifier)
            tags = tags_of(answer["ResourceTagSet"].get("Tags"))
        with account.tolerating(f"route53 records of {name}"):
            types = _records(account, client, identifier, name)
        account.found.append(
            Resource(
                f"arn:aws:route53:::hostedzone/{identifier}",
                "route53:zone",
                name,
                "",
                None,
                tags,
                {
                    "private": zone.get("Config", {}).get("PrivateZone", False),
                    "records": zone.get("ResourceRecordSetCount"),
                    "types": None if types is None else dict(sorted(types.items())),
                },
            )
        )


def _records(account: Account, client: Any, zone: str, name: str) -> Counter[str]:
    types: Counter[str] = Counter()
    for record in account.pages(
        client, "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone
    ):
        types[record["Type"]] += 1
        start = _plain(record["Name"])
        confidence = 0.1 if record.get("Weight") == 0 else 1.0
        account.edges += [
            Edge(start, end, "resolves", f"route 53 {record['Type']} in {name}", confidence)
            for end in _targets(record)
            if end != start
        ]
    return types


def _targets(record: dict[str, Any]) -> Iterator[str]:
    if record["Type"] not in _RESOLVE:
        return
    if "AliasTarget" in record:
        yield _plain(record["AliasTarget"]["DNSName"]).removeprefix("dualstack.")
    for value in record.get("ResourceRecords", []):
        yield _plain(value["Value"])


def _plain(name: str) -> str:
    """Return a name as it is typed; the API escapes the star of a wildcard."""
    return name.replace("\\052", "*").rstrip(".").lower()
