"""Lambda: functions, what feeds them, and the hosts that their environment names."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account
from qafila.audit.collectors.variables import named_by
from qafila.audit.estate import Edge, Resource

ACTIONS = ("lambda:ListFunctions", "lambda:ListTags", "lambda:ListEventSourceMappings")


def read(account: Account) -> None:
    """Add each function with the names of its variables; of values only host names are kept."""
    client = account.client("lambda")
    with account.tolerating("lambda functions"):
        account.each(account.pages(client, "list_functions", "Functions"), _read_function)
    with account.tolerating("lambda event sources"):
        for mapping in account.pages(client, "list_event_source_mappings", "EventSourceMappings"):
            _connect(account, mapping)


def _read_function(account: Account, function: dict[str, Any]) -> None:
    tags: dict[str, str] = {}
    with account.tolerating(f"lambda tags of {function['FunctionName']}"):
        client = account.client("lambda")
        tags = client.list_tags(Resource=function["FunctionArn"]).get("Tags", {})
    _add(account, function, tags)


def _add(account: Account, function: dict[str, Any], tags: dict[str, str]) -> None:
    arn = function["FunctionArn"]
    named = named_by(function.get("Environment", {}).get("Variables", {}).items())
    network = function.get("VpcConfig", {})
    account.found.append(
        Resource(
            arn,
            "lambda:function",
            function["FunctionName"],
            account.region,
            function.get("CodeSize"),
            tags,
            {
                "runtime": function.get("Runtime"),
                "package": function.get("PackageType", "Zip"),
                "memory_mb": function.get("MemorySize"),
                "changed": function.get("LastModified"),
                "vpc": network.get("VpcId") or None,
                "subnets": network.get("SubnetIds", []),
                "security_groups": network.get("SecurityGroupIds", []),
            }
            | named.facts(),
        )
    )
    account.edges += named.edges(arn)
    dead_letters = function.get("DeadLetterConfig", {}).get("TargetArn")
    if dead_letters:
        account.edges.append(Edge(arn, dead_letters, "writes", "lambda dead letters", 1.0))
    account.edges += [
        Edge(arn, system["Arn"], "attaches", "lambda file system", 1.0)
        for system in function.get("FileSystemConfigs", [])
    ]


def _connect(account: Account, mapping: dict[str, Any]) -> None:
    """Draw what a function reads from: a queue, a stream of a table, a broker.

    A disabled mapping is configured and not used: half the confidence.
    """
    confidence = 1.0 if mapping.get("State", "Enabled") == "Enabled" else 0.5
    source = mapping.get("EventSourceArn")
    if not source or "FunctionArn" not in mapping:
        return
    if ":dynamodb:" in source:
        source = source.split("/stream/")[0]
    function = ":".join(mapping["FunctionArn"].split(":")[:7])  # without version and alias
    account.edges.append(Edge(function, source, "reads", "lambda event source mapping", confidence))
    failed = mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    if failed:
        account.edges.append(Edge(function, failed, "writes", "lambda failed events", confidence))
