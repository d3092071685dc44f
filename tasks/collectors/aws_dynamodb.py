"""DynamoDB: tables and their sizes."""

from __future__ import annotations

from qafila.core.estate import Resource
from tasks.collectors.aws_account import Account, tags_of

ACTIONS = ("dynamodb:ListTables", "dynamodb:DescribeTable", "dynamodb:ListTagsOfResource")


def read(account: Account) -> None:
    """Add each table; the service refreshes its size about every six hours.

    A size of 0 beside a count above 0 contradicts itself, so it is kept as "not known".
    """
    client = account.client("dynamodb")
    for name in account.pages(client, "list_tables", "TableNames"):
        with account.tolerating(f"table {name}"):
            table = client.describe_table(TableName=name)["Table"]
            arn = table["TableArn"]
            items, size = table.get("ItemCount", 0), table.get("TableSizeBytes")
            tags = tags_of(client.list_tags_of_resource(ResourceArn=arn)["Tags"])
            account.found.append(
                Resource(
                    arn, "dynamodb:table", name, account.region,
                    None if items and not size else size, tags,
                    {"state": table.get("TableStatus"), "items": items},
                )
            )  # fmt: skip
