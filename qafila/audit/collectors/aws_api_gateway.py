"""API Gateway: REST APIs, HTTP and WebSocket APIs, and what answers behind them."""

from __future__ import annotations

import re
from typing import Any

from qafila.audit.collectors.aws_account import Account
from qafila.audit.collectors.variables import host_in, partition_of
from qafila.audit.estate import Edge, Resource

ACTIONS = ("apigateway:GET",)  # one action for every read of both generations
_FUNCTION = re.compile(r"arn:aws[\w-]*:lambda:[\w-]+:\d*:function:[\w-]+")
_SERVICE = re.compile(r"arn:aws[\w-]*:apigateway:[\w-]+:([\w.-]+):(?:action|path)/(.*)")


def read(account: Account) -> None:
    """Add the APIs of both generations; edges lead to functions, hosts and links."""
    with account.tolerating("api-gateway REST APIs"):
        _rest(account)
    with account.tolerating("api-gateway HTTP APIs"):
        _http(account)


def _rest(account: Account) -> None:
    client = account.client("apigateway")
    for api in account.pages(client, "get_rest_apis", "items", limit=500):
        identifier = api["id"]
        arn = _arn(account, f"restapis/{identifier}")
        stages: list[str] | None = None
        with account.tolerating(f"api-gateway stages of {api['name']}"):
            answer = client.get_stages(restApiId=identifier)
            stages = [s["stageName"] for s in answer.get("item", [])]
        with account.tolerating(f"api-gateway integrations of {api['name']}"):
            for resource in account.pages(
                client, "get_resources", "items", restApiId=identifier, embed=["methods"], limit=500
            ):
                for verb, method in (resource.get("resourceMethods") or {}).items():
                    integration = method.get("methodIntegration")
                    if integration is None and "httpMethod" not in method:
                        continue  # listed without its definition: nothing is said of it
                    _connect(account, arn, integration or {}, f"{verb} {resource.get('path', '')}")
        _add(
            account,
            arn,
            api["name"],
            api.get("tags", {}),
            {
                "type": "REST",
                "stages": stages,
                "address": f"{identifier}.execute-api.{account.region}.amazonaws.com",
                "endpoints": api.get("endpointConfiguration", {}).get("types", []),
                "created": api["createdDate"].isoformat() if "createdDate" in api else None,
            },
        )


def _http(account: Account) -> None:
    client = account.client("apigatewayv2")
    for api in account.pages(client, "get_apis", "Items"):
        identifier = api["ApiId"]
        arn = _arn(account, f"apis/{identifier}")
        with account.tolerating(f"api-gateway integrations of {api['Name']}"):
            for integration in account.pages(client, "get_integrations", "Items", ApiId=identifier):
                _connect(
                    account,
                    arn,
                    {
                        "uri": integration.get("IntegrationUri"),
                        "connectionId": integration.get("ConnectionId"),
                    },
                    str(integration.get("IntegrationId", "")),
                )
        stages: list[str] | None = None
        with account.tolerating(f"api-gateway stages of {api['Name']}"):
            stages = [
                s["StageName"]
                for s in account.pages(client, "get_stages", "Items", ApiId=identifier)
            ]
        _add(
            account,
            arn,
            api["Name"],
            api.get("Tags", {}),
            {
                "type": api.get("ProtocolType"),
                "stages": stages,
                "address": host_in("endpoint", api.get("ApiEndpoint", "")),
            },
        )


def _arn(account: Account, path: str) -> str:
    return f"arn:{partition_of(account.region)}:apigateway:{account.region}::/{path}"


def _add(
    account: Account, arn: str, name: str, tags: dict[str, str], facts: dict[str, Any]
) -> None:
    account.found.append(Resource(arn, "api-gateway:api", name, account.region, None, tags, facts))


def _connect(account: Account, api: str, integration: dict[str, Any], what: str) -> None:
    """Draw what one method calls. Of an address the host alone is kept: paths may hold keys."""
    uri, source = str(integration.get("uri") or ""), f"api gateway {what}".strip()
    function, service = _FUNCTION.search(uri), _SERVICE.match(uri)
    to: str | None
    if function is not None:
        to = function[0]
    elif service is not None:
        to = f"{service[1]}.{account.region}.amazonaws.com"
    elif uri.startswith("arn:"):
        to = uri  # a balancer's listener or a Cloud Map service, behind a link
    else:
        to = host_in("uri", uri)
    if to is not None:
        account.edges.append(Edge(api, to, "calls", source, 1.0))
    if integration.get("connectionId"):
        account.edges.append(Edge(api, integration["connectionId"], "routes", source, 1.0))
