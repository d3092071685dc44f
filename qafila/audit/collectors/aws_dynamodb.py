"""DynamoDB: tables and their sizes."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.variables import partition_of
from qafila.audit.estate import Edge, Resource

ACTIONS = ("dynamodb:ListTables", "dynamodb:DescribeTable", "dynamodb:ListTagsOfResource")


def read(account: Account) -> None:
    """Add each table; one that may be listed and not described stays, with its name alone.

    The service refreshes its counts about every six hours. A size of 0 beside a count above 0
    contradicts itself, so it is kept as "not known".
    """
    client = account.client("dynamodb")
    account.each(account.pages(client, "list_tables", "TableNames"), _read_table)


def _read_table(account: Account, name: str) -> None:
    client = account.client("dynamodb")
    table: dict[str, Any] = {}
    tags: dict[str, str] = {}
    with account.tolerating(f"dynamodb table {name}"):
        table = client.describe_table(TableName=name)["Table"]
        tags = tags_of(
            list(
                account.pages(
                    client, "list_tags_of_resource", "Tags", ResourceArn=table["TableArn"]
                )
            )
        )
    items, size = table.get("ItemCount"), table.get("TableSizeBytes")
    region = account.region
    place = f"arn:{partition_of(region)}:dynamodb:{region}:{account.account}"
    arn = table.get("TableArn", f"{place}:table/{name}")
    account.found.append(
        Resource(
            arn,
            "dynamodb:table",
            name,
            account.region,
            None if items and not size else size,
            tags,
            {
                "state": table.get("TableStatus"),
                "items": items,
                "billing": table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
                "indexes": len(table.get("GlobalSecondaryIndexes", [])),
                "stream": table.get("StreamSpecification", {}).get("StreamEnabled", False),
                "size_is": "counted by the service, up to six hours ago",
            }
            if table
            else {},
        )
    )
    account.edges += [
        Edge(
            arn,
            arn.replace(f":{account.region}:", f":{replica['RegionName']}:"),
            "writes",
            "dynamodb global table",
            1.0,
        )
        for replica in table.get("Replicas", [])
        if replica.get("RegionName") not in (None, account.region)
    ]
