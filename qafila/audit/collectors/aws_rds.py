"""RDS: database instances, Aurora and other clusters with their writers and readers."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.estate import Edge, Resource

ACTIONS = ("rds:DescribeDBInstances", "rds:DescribeDBClusters")
_SHARED_STORAGE = ("aurora", "docdb", "neptune")


def read(account: Account) -> None:
    """Add each database and cluster; an instance's size is what is allocated, not what is used.

    Members of Aurora, DocumentDB and Neptune clusters share storage that grows by itself: neither
    call tells its size, so it is not known.
    """
    rds = account.client("rds")
    clusters: list[dict[str, Any]] = []
    arns: dict[str, str] = {}
    with account.tolerating("rds clusters"):
        for cluster in account.pages(rds, "describe_db_clusters", "DBClusters"):
            clusters.append(cluster)
            _add_cluster(account, cluster)
    roles = {m["DBInstanceIdentifier"]: _role(m) for c in clusters for m in _members(c)}
    with account.tolerating("rds instances"):
        for database in account.pages(rds, "describe_db_instances", "DBInstances"):
            arns[database["DBInstanceIdentifier"]] = database["DBInstanceArn"]
            _add_instance(account, database, roles)
    for resource in list(account.found):
        source = resource.facts.get("source")
        if source is not None:  # a name, or an ARN when the source stands in another region
            to = arns.get(source, source)
            account.edges.append(Edge(resource.id, to, "reads", "rds read replica", 1.0))
    for cluster in clusters:
        account.edges += [
            Edge(
                cluster["DBClusterArn"],
                arns[m["DBInstanceIdentifier"]],
                "routes",
                f"rds cluster {_role(m)}",
                1.0,
            )
            for m in _members(cluster)
            if m["DBInstanceIdentifier"] in arns
        ]


def _add_instance(account: Account, database: dict[str, Any], roles: dict[str, str]) -> None:
    name, engine = database["DBInstanceIdentifier"], database["Engine"]
    allocated = database.get("AllocatedStorage") or 0
    shared = engine.startswith(_SHARED_STORAGE)
    group = database.get("DBSubnetGroup") or {}
    source = database.get("ReadReplicaSourceDBInstanceIdentifier")
    account.found.append(
        Resource(
            database["DBInstanceArn"],
            "rds:instance",
            name,
            account.region,
            None if shared or not allocated else allocated << 30,
            tags_of(database.get("TagList")),
            {
                "engine": engine,
                "version": database.get("EngineVersion"),
                "type": database.get("DBInstanceClass"),
                "state": database.get("DBInstanceStatus"),
                "address": database.get("Endpoint", {}).get("Address"),
                "port": database.get("Endpoint", {}).get("Port"),
                "size_is": "of the cluster" if shared else "allocated",
                "storage": database.get("StorageType"),
                "cluster": database.get("DBClusterIdentifier"),
                "role": roles.get(name, "replica" if source else "writer"),
                "source": source,
                "zone": database.get("AvailabilityZone"),
                "multi_zone": database.get("MultiAZ"),
                "vpc": group.get("VpcId"),
                "subnets": [s["SubnetIdentifier"] for s in group.get("Subnets", [])],
                "secrets": _secrets(database),
                "security_groups": _groups(database),
            },
        )
    )


def _add_cluster(account: Account, cluster: dict[str, Any]) -> None:
    allocated = cluster.get("AllocatedStorage") or 0
    shared = cluster["Engine"].startswith(_SHARED_STORAGE)
    account.found.append(
        Resource(
            cluster["DBClusterArn"],
            "rds:cluster",
            cluster["DBClusterIdentifier"],
            account.region,
            None if shared or not allocated else allocated << 30,
            tags_of(cluster.get("TagList")),
            {
                "engine": cluster["Engine"],
                "version": cluster.get("EngineVersion"),
                "mode": cluster.get("EngineMode"),
                "state": cluster.get("Status"),
                "address": cluster.get("Endpoint"),
                "reader_address": cluster.get("ReaderEndpoint"),
                "addresses": [e for k in ("Endpoint", "ReaderEndpoint") if (e := cluster.get(k))]
                + cluster.get("CustomEndpoints", []),
                "port": cluster.get("Port"),
                "size_is": "not told by the service" if shared else "allocated",
                "writers": [m["DBInstanceIdentifier"] for m in _members(cluster, writer=True)],
                "readers": [m["DBInstanceIdentifier"] for m in _members(cluster, writer=False)],
                "zones": cluster.get("AvailabilityZones", []),
                "secrets": _secrets(cluster),
                "security_groups": _groups(cluster),
            },
        )
    )


def _members(cluster: dict[str, Any], *, writer: bool | None = None) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = cluster.get("DBClusterMembers", [])
    return [m for m in members if writer in (None, m.get("IsClusterWriter", False))]


def _role(member: dict[str, Any]) -> str:
    return "writer" if member.get("IsClusterWriter") else "reader"


def _secrets(database: dict[str, Any]) -> list[str]:
    """Return the name of the secret that holds the password; the service keeps the password."""
    arn = (database.get("MasterUserSecret") or {}).get("SecretArn")
    return [arn] if arn else []


def _groups(database: dict[str, Any]) -> list[str]:
    return [g["VpcSecurityGroupId"] for g in database.get("VpcSecurityGroups", [])]
