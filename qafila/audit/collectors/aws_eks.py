"""EKS: clusters and their node groups. What runs inside is the Kubernetes collector's."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account
from qafila.audit.collectors.variables import host_in
from qafila.audit.estate import Edge, Resource, has_gpu

ACTIONS = (
    "eks:ListClusters",
    "eks:DescribeCluster",
    "eks:ListNodegroups",
    "eks:DescribeNodegroup",
    "eks:ListFargateProfiles",
)


def read(account: Account) -> None:
    """Add each cluster, its node groups with their machines, and its Fargate profiles by name."""
    eks = account.client("eks")
    account.each(account.pages(eks, "list_clusters", "clusters"), _read_cluster)


def _read_cluster(account: Account, name: str) -> None:
    eks = account.client("eks")
    with account.tolerating(f"eks cluster {name}"):
        cluster = eks.describe_cluster(name=name)["cluster"]
        profiles: list[str] | None = None
        with account.tolerating(f"eks Fargate profiles of {name}"):
            profiles = list(
                account.pages(eks, "list_fargate_profiles", "fargateProfileNames", clusterName=name)
            )
        _add_cluster(account, cluster, profiles)
        with account.tolerating(f"eks node groups of {name}"):
            for group in account.pages(eks, "list_nodegroups", "nodegroups", clusterName=name):
                with account.tolerating(f"eks node group {name}/{group}"):
                    described = eks.describe_nodegroup(clusterName=name, nodegroupName=group)
                    _add_group(account, cluster["arn"], described["nodegroup"])


def _add_cluster(account: Account, cluster: dict[str, Any], profiles: list[str] | None) -> None:
    network = cluster.get("resourcesVpcConfig", {})
    groups = [*network.get("securityGroupIds", []), network.get("clusterSecurityGroupId")]
    account.found.append(
        Resource(
            cluster["arn"],
            "eks:cluster",
            cluster["name"],
            account.region,
            None,
            cluster.get("tags", {}),
            {
                "version": cluster.get("version"),
                "state": cluster.get("status"),
                "address": host_in("endpoint", cluster.get("endpoint", "")),
                "vpc": network.get("vpcId"),
                "subnets": network.get("subnetIds", []),
                "security_groups": [g for g in groups if g],
                "fargate_profiles": profiles,
            },
        )
    )


def _add_group(account: Account, cluster: str, group: dict[str, Any]) -> None:
    scaling = group.get("scalingConfig", {})
    account.found.append(
        Resource(
            group["nodegroupArn"],
            "eks:node-group",
            group["nodegroupName"],
            account.region,
            None,
            group.get("tags", {}),
            {
                "state": group.get("status"),
                "types": group.get("instanceTypes", []),
                "image": group.get("amiType"),
                "capacity": group.get("capacityType"),
                "nodes": scaling.get("desiredSize"),
                # the least there are: one for each machine of a GPU family
                "gpus": (scaling.get("desiredSize") or 0)
                if any(map(has_gpu, group.get("instanceTypes", [])))
                else 0,
                "at_least": scaling.get("minSize"),
                "at_most": scaling.get("maxSize"),
                "disk_gib": group.get("diskSize"),
                "subnets": group.get("subnets", []),
                "scaling_groups": [
                    g["name"] for g in group.get("resources", {}).get("autoScalingGroups", [])
                ],
            },
        )
    )
    account.edges.append(Edge(cluster, group["nodegroupArn"], "deploys", "eks node group", 1.0))
