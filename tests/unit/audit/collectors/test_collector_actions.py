"""Read from the collectors' own text: every call is permitted, and every list is paged."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from qafila.audit.collectors import COLLECTORS

FUTURE = "from __future__ import annotations"
FOLDER = Path(__file__).parents[4] / "qafila/audit/collectors"
PREFIX = {
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "efs": "elasticfilesystem",
    "opensearch": "es",
    "opensearchserverless": "aoss",
    "bedrock-agent": "bedrock",
    "apigatewayv2": "apigateway",
}
SPELLED = {
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListBucketInventoryConfigurations": "s3:GetInventoryConfiguration",
}
MODULES = {c.name: c.read.__module__.rsplit(".", 1)[-1] for c in COLLECTORS}
# opened for the places of inventories that are named alone (qafila doctor --s3-inventory)
OPTED_IN = {"s3": {"get_object"}}
each = pytest.mark.parametrize("collector", COLLECTORS, ids=lambda c: c.name)
_clients: dict[str, Any] = {}


def client(service: str) -> Any:
    if service not in _clients:
        _clients[service] = boto3.client(
            service, "eu-west-3", aws_access_key_id="k", aws_secret_access_key="s"
        )
    return _clients[service]


def written(module: str) -> str:
    text = (FOLDER / f"{module}.py").read_text()
    for part in sorted(
        set(re.findall(rf"from qafila\.audit\.collectors\.({module}_\w+) import", text))
    ):
        text += "\n" + (FOLDER / f"{part}.py").read_text().replace(FUTURE, "")
    if "import metrics" in text or "collectors.metrics" in text:
        text += '\naccount.client("cloudwatch")\n' + (FOLDER / "metrics.py").read_text().replace(
            FUTURE, ""
        )
    return text


def services_of(text: str) -> list[str]:
    return sorted(set(re.findall(r"\.client\(\s*\"([\w-]+)\"", text)))


def calls_in(text: str) -> tuple[set[str], set[str]]:
    """Return the operations called directly, and those whose pages are followed."""
    direct, paged = set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            direct.add(node.func.attr)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            paged.add(node.value)
    known = {op for s in services_of(text) for op in client(s).meta.method_to_api_mapping}
    return direct & known, paged & known


def actions_of(operation: str, services: list[str]) -> set[str]:
    found = set()
    for service in services:
        name = client(service).meta.method_to_api_mapping.get(operation)
        if name is None:
            continue
        action = f"{PREFIX.get(service, service)}:{name}"
        found.add("apigateway:GET" if service.startswith("apigateway") else action)
    return {SPELLED.get(a, a) for a in found}


@each
def test_its_actions_are_those_of_its_calls(collector: Any) -> None:
    text = written(MODULES[collector.name])
    services = services_of(text)
    direct, paged = calls_in(text)
    needed: set[str] = set()
    for operation in (direct | paged) - OPTED_IN.get(collector.name, set()):
        actions = actions_of(operation, services)
        assert actions & set(collector.actions), f"{operation} needs one of {sorted(actions)}"
        needed |= actions
    assert set(collector.actions) <= needed, "an action that no call needs"


@each
def test_every_list_that_has_pages_is_paged(collector: Any) -> None:
    text = written(MODULES[collector.name])
    direct, _ = calls_in(text)
    having = {
        operation: [
            c for c in map(client, services_of(text)) if operation in c.meta.method_to_api_mapping
        ]
        for operation in direct
    }
    unpaged = {op for op, clients in having.items() if all(c.can_paginate(op) for c in clients)}
    assert unpaged == set()
