"""ECS: clusters, services, task definitions; of their variables names and hosts alone."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.variables import named_by
from qafila.audit.estate import Edge, Outcome, Resource

ACTIONS = (
    "ecs:ListClusters",
    "ecs:DescribeClusters",
    "ecs:ListServices",
    "ecs:DescribeServices",
    "ecs:ListTaskDefinitionFamilies",
    "ecs:DescribeTaskDefinition",
)
_CLUSTERS_A_CALL, _SERVICES_A_CALL = 100, 10  # limits of DescribeClusters, DescribeServices


def read(account: Account) -> None:
    """Add clusters and services, and the task definitions in use or newest of their family."""
    ecs = account.client("ecs")
    clusters = list(account.pages(ecs, "list_clusters", "clusterArns"))
    wanted: set[str] = set()
    for start in range(0, len(clusters), _CLUSTERS_A_CALL):
        answer = ecs.describe_clusters(
            clusters=clusters[start : start + _CLUSTERS_A_CALL], include=["TAGS"]
        )
        _failures(account, answer)
        for cluster in answer["clusters"]:
            _add_cluster(account, cluster)
            with account.tolerating(f"ecs services of {cluster['clusterName']}"):
                wanted |= _services(account, ecs, cluster["clusterArn"])
    with account.tolerating("ecs task definitions"):
        wanted |= set(
            account.pages(ecs, "list_task_definition_families", "families", status="ACTIVE")
        )
    account.each(sorted(wanted), _definition)


def _failures(account: Account, answer: dict[str, Any]) -> None:
    """Note what a batch left out; what was deleted since it was listed is not missed."""
    for failure in answer.get("failures", []):
        if failure.get("reason") != "MISSING":
            account.missed(
                Outcome.UNSUPPORTED,
                f"ecs said {failure.get('reason')}",
                f"ecs {failure.get('arn')}",
            )


def _add_cluster(account: Account, cluster: dict[str, Any]) -> None:
    account.found.append(
        Resource(
            cluster["clusterArn"],
            "ecs:cluster",
            cluster["clusterName"],
            account.region,
            None,
            tags_of(cluster.get("tags")),
            {
                "state": cluster.get("status"),
                "instances": cluster.get("registeredContainerInstancesCount", 0),
                "running_tasks": cluster.get("runningTasksCount", 0),
                "capacity_providers": cluster.get("capacityProviders", []),
            },
        )
    )


def _services(account: Account, ecs: Any, cluster: str) -> set[str]:
    """Add a cluster's services and return the task definitions they run."""
    arns = list(account.pages(ecs, "list_services", "serviceArns", cluster=cluster))
    definitions: set[str] = set()
    for start in range(0, len(arns), _SERVICES_A_CALL):
        answer = ecs.describe_services(
            cluster=cluster, services=arns[start : start + _SERVICES_A_CALL], include=["TAGS"]
        )
        _failures(account, answer)
        for service in answer["services"]:
            definitions |= _add_service(account, cluster, service)
    return definitions


def _add_service(account: Account, cluster: str, service: dict[str, Any]) -> set[str]:
    arn, definition = service["serviceArn"], service.get("taskDefinition")
    network = service.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    account.found.append(
        Resource(
            arn,
            "ecs:service",
            service["serviceName"],
            account.region,
            None,
            tags_of(service.get("tags")),
            {
                "state": service.get("status"),
                "desired": service.get("desiredCount"),
                "running": service.get("runningCount"),
                "launch": service.get("launchType"),
                "subnets": network.get("subnets", []),
                "security_groups": network.get("securityGroups", []),
            },
        )
    )
    account.edges.append(Edge(cluster, arn, "deploys", "ecs service", 1.0))
    for balancer in service.get("loadBalancers", []):
        front = balancer.get("targetGroupArn") or balancer.get("loadBalancerName")
        if front:
            account.edges.append(Edge(front, arn, "routes", "ecs service load balancer", 1.0))
    if not definition:
        return set()
    account.edges.append(Edge(arn, definition, "deploys", "ecs task definition", 1.0))
    return {definition}


def _definition(account: Account, name: str) -> None:
    with account.tolerating(f"ecs task definition {name}"):
        _add_definition(
            account,
            account.client("ecs").describe_task_definition(taskDefinition=name, include=["TAGS"]),
        )


def _add_definition(account: Account, answer: dict[str, Any]) -> None:
    definition = answer["taskDefinition"]
    arn, containers = definition["taskDefinitionArn"], definition["containerDefinitions"]
    named = named_by(
        (v["name"], v.get("value", "")) for c in containers for v in c.get("environment", [])
    )
    for container in containers:
        for secret in container.get("secrets", []):
            named.take_secret(secret["name"], secret["valueFrom"])
    account.found.append(
        Resource(
            arn,
            "ecs:task-definition",
            f"{definition['family']}:{definition['revision']}",
            account.region,
            None,
            tags_of(answer.get("tags")),
            {
                "images": sorted({c["image"] for c in containers if c.get("image")}),
                "cpu": definition.get("cpu"),
                "memory_mib": definition.get("memory"),
                "gpus": sum(
                    int(r["value"])
                    for c in containers
                    for r in c.get("resourceRequirements", [])
                    if r["type"] == "GPU"
                ),
            }
            | named.facts(),
        )
    )
    account.edges += named.edges(arn)
    account.edges += [
        Edge(arn, system, "attaches", f"ecs volume {volume.get('name', '')}".strip(), 1.0)
        for volume in definition.get("volumes", [])
        if (system := volume.get("efsVolumeConfiguration", {}).get("fileSystemId"))
    ]
