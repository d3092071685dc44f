"""ElastiCache: node clusters, replication groups, serverless caches."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.estate import Edge, Resource

ACTIONS = (
    "elasticache:DescribeCacheClusters",
    "elasticache:DescribeReplicationGroups",
    "elasticache:DescribeServerlessCaches",
    "elasticache:ListTagsForResource",
)


def read(account: Account) -> None:
    """Add each cache with the node types it is billed by; memory follows from the type."""
    client = account.client("elasticache")
    arns: dict[str, str] = {}
    with account.tolerating("elasticache clusters"):
        for cluster in account.pages(
            client, "describe_cache_clusters", "CacheClusters", ShowCacheNodeInfo=True
        ):
            arns[cluster["CacheClusterId"]] = cluster["ARN"]
            _add_cluster(account, client, cluster)
    with account.tolerating("elasticache replication groups"):
        for group in account.pages(client, "describe_replication_groups", "ReplicationGroups"):
            _add_group(account, client, group, arns)
    with account.tolerating("elasticache serverless caches"):
        for cache in account.pages(client, "describe_serverless_caches", "ServerlessCaches"):
            _add_serverless(account, client, cache)


def _tags(account: Account, client: Any, arn: str) -> dict[str, str]:
    with account.tolerating(f"elasticache tags of {arn}"):
        return tags_of(client.list_tags_for_resource(ResourceName=arn).get("TagList"))
    return {}


def _host(*endpoints: dict[str, Any] | None) -> str | None:
    return next((e["Address"].lower() for e in endpoints if e and e.get("Address")), None)


def _add_cluster(account: Account, client: Any, cluster: dict[str, Any]) -> None:
    nodes = cluster.get("CacheNodes", [])
    account.found.append(
        Resource(
            cluster["ARN"],
            "elasticache:cluster",
            cluster["CacheClusterId"],
            account.region,
            None,
            _tags(account, client, cluster["ARN"]),
            {
                "engine": cluster.get("Engine"),
                "version": cluster.get("EngineVersion"),
                "type": cluster.get("CacheNodeType"),
                "state": cluster.get("CacheClusterStatus"),
                "nodes": cluster.get("NumCacheNodes"),
                "address": _host(
                    cluster.get("ConfigurationEndpoint"), *(n.get("Endpoint") for n in nodes)
                ),
                "zone": cluster.get("PreferredAvailabilityZone"),
                "replication_group": cluster.get("ReplicationGroupId"),
                "security_groups": [
                    g["SecurityGroupId"] for g in cluster.get("SecurityGroups") or []
                ],
            },
        )
    )


def _add_group(account: Account, client: Any, group: dict[str, Any], arns: dict[str, str]) -> None:
    name = group["ReplicationGroupId"]
    arn = group.get("ARN", name)
    shards = group.get("NodeGroups", [])
    account.found.append(
        Resource(
            arn,
            "elasticache:replication-group",
            name,
            account.region,
            None,
            _tags(account, client, arn),
            {
                "engine": group.get("Engine"),
                "type": group.get("CacheNodeType"),
                "state": group.get("Status"),
                "address": _host(
                    group.get("ConfigurationEndpoint"), *(s.get("PrimaryEndpoint") for s in shards)
                ),
                "reader_address": _host(*(s.get("ReaderEndpoint") for s in shards)),
                "addresses": [
                    host
                    for s in shards
                    for end in ("PrimaryEndpoint", "ReaderEndpoint")
                    if (host := _host(s.get(end)))
                ],
                "shards": len(shards),
            },
        )
    )
    account.edges += [
        Edge(arn, arns[member], "routes", "elasticache member", 1.0)
        for member in group.get("MemberClusters", [])
        if member in arns
    ]


def _add_serverless(account: Account, client: Any, cache: dict[str, Any]) -> None:
    account.found.append(
        Resource(
            cache["ARN"],
            "elasticache:serverless",
            cache["ServerlessCacheName"],
            account.region,
            None,
            _tags(account, client, cache["ARN"]),
            {
                "engine": cache.get("Engine"),
                "state": cache.get("Status"),
                "address": _host(cache.get("Endpoint")),
                "reader_address": _host(cache.get("ReaderEndpoint")),
                "addresses": [
                    host
                    for end in ("Endpoint", "ReaderEndpoint")
                    if (host := _host(cache.get(end)))
                ],
                "subnets": cache.get("SubnetIds", []),
                "security_groups": cache.get("SecurityGroupIds", []),
            },
        )
    )
