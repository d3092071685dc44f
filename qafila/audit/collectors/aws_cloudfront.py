"""CloudFront: distributions and their origins; it has no region."""

from __future__ import annotations

import re
from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.estate import Edge, Resource

ACTIONS = ("cloudfront:ListDistributions", "cloudfront:ListTagsForResource")
_BUCKET = re.compile(r"(.+)\.s3(?:-website)?(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")


def read(account: Account) -> None:
    """Add each distribution; edges lead to its origins, buckets by name and others by host."""
    client = account.client("cloudfront")
    for distribution in account.pages(client, "list_distributions", "DistributionList.Items"):
        arn, name = distribution["ARN"], distribution["Id"]
        tags: dict[str, str] = {}
        with account.tolerating(f"cloudfront tags of {name}"):
            answer = client.list_tags_for_resource(Resource=arn)
            tags = tags_of(answer.get("Tags", {}).get("Items", []))
        origins = distribution.get("Origins", {}).get("Items", [])
        account.found.append(
            Resource(
                arn,
                "cloudfront:distribution",
                tags.get("Name", name),
                "",
                None,
                tags,
                {
                    "state": distribution.get("Status"),
                    "enabled": distribution.get("Enabled"),
                    "address": distribution.get("DomainName"),
                    "aliases": distribution.get("Aliases", {}).get("Items", []),
                    "price_class": distribution.get("PriceClass"),
                    "origins": sorted({o["DomainName"] for o in origins if "DomainName" in o}),
                },
            )
        )
        account.edges += [_to_origin(arn, o) for o in origins if "DomainName" in o]


def _to_origin(distribution: str, origin: dict[str, Any]) -> Edge:
    host = origin["DomainName"].lower().rstrip(".")
    bucket = _BUCKET.fullmatch(host)
    return Edge(
        distribution,
        bucket[1] if bucket else host,
        "routes",
        f"cloudfront origin {origin.get('Id', '')}".strip(),
        1.0,
    )
