"""Lambda: functions, and the hosts that their environment names."""

from __future__ import annotations

import re

from qafila.core.estate import Resource
from tasks.collectors.aws_account import Account

ACTIONS = ("lambda:ListFunctions", "lambda:ListTags")
_HOST = re.compile(r"(?:[a-z0-9-]+\.){2,}[a-z]{2,}")


def read(account: Account) -> None:
    """Add each function with the names of its variables; of values only host names are kept."""
    client = account.client("lambda")
    for function in account.pages(client, "list_functions", "Functions"):
        variables = function.get("Environment", {}).get("Variables", {})
        hosts = {
            name: host[0]
            for name, value in variables.items()
            if (host := _HOST.search(value)) is not None
        }
        tags: dict[str, str] = {}
        with account.tolerating(f"tags of {function['FunctionName']}"):
            tags = client.list_tags(Resource=function["FunctionArn"])["Tags"]
        account.found.append(
            Resource(
                function["FunctionArn"], "lambda:function", function["FunctionName"],
                account.region, function.get("CodeSize"), tags,
                {
                    "runtime": function.get("Runtime"),
                    "memory_mb": function.get("MemorySize"),
                    "variables": sorted(variables),
                    "hosts": hosts,
                },
            )
        )  # fmt: skip
