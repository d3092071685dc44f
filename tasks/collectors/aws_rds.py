"""RDS: database instances with their allocated storage."""

from __future__ import annotations

from qafila.core.estate import Resource
from tasks.collectors.aws_account import Account, tags_of

ACTIONS = ("rds:DescribeDBInstances",)


def read(account: Account) -> None:
    """Add each database; its size is what is allocated, not what is used."""
    rds = account.client("rds")
    for database in account.pages(rds, "describe_db_instances", "DBInstances"):
        account.found.append(
            Resource(
                database["DBInstanceArn"], "rds:instance", database["DBInstanceIdentifier"],
                account.region, database["AllocatedStorage"] << 30,
                tags_of(database.get("TagList")),
                {
                    "engine": database["Engine"],
                    "type": database["DBInstanceClass"],
                    "state": database["DBInstanceStatus"],
                    "address": database.get("Endpoint", {}).get("Address"),
                    "size_is": "allocated",
                    "security_groups": [
                        g["VpcSecurityGroupId"] for g in database.get("VpcSecurityGroups", [])
                    ],
                },
            )
        )  # fmt: skip
