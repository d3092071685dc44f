"""What stands in the demo's AWS account, by name, and what is planted for the audit to find.

Planted: a disk attached to nothing and a GPU instance without a tag. (The bill plants the rest.)
"""

from __future__ import annotations

from dataclasses import dataclass

REGION = "eu-west-3"

# name, type, zone, app, security group; the last one has no tag at all
INSTANCES = (
    ("shop-web-1", "t3.medium", "a", "shop", "web"),
    ("shop-web-2", "t3.medium", "b", "shop", "web"),
    ("shop-web-3", "t3.medium", "a", "shop", "web"),
    ("orders-api-1", "m6i.large", "a", "orders", "api"),
    ("orders-api-2", "m6i.large", "b", "orders", "api"),
    ("docs-search-1", "r6i.large", "a", "docs", "search"),
    ("docs-search-2", "r6i.large", "b", "docs", "search"),
    ("worker-1", "c6i.xlarge", "a", "orders", "worker"),
    ("worker-2", "c6i.xlarge", "b", "orders", "worker"),
    ("assistant-gpu-1", "g5.xlarge", "a", "assistant", "gpu"),
    ("", "g6.xlarge", "b", "", "gpu"),
)
OWNERS = {
    "shop": "shop@example.org",
    "orders": "orders@example.org",
    "docs": "search@example.org",
    "assistant": "assistant@example.org",
}
DISKS = (
    ("docs-search-data-1", 200, "docs-search-1"),
    ("docs-search-data-2", 200, "docs-search-2"),
    ("assistant-models", 150, "assistant-gpu-1"),
    ("old-reporting-data", 500, None),
)
# group: ports open to whom
GROUPS = {
    "balancer": [(443, "internet")],
    "web": [(8080, "balancer")],
    "api": [(8081, "web"), (8081, "balancer")],
    "search": [(9200, "web")],
    "worker": [],
    "gpu": [(8000, "api")],
    "database": [(5432, "api"), (5432, "worker")],
}
DATABASES = (("orders-db", "db.r6g.large", 200, "orders"), ("shop-db", "db.r6g.large", 100, "shop"))
# bucket, app, objects, suffix; texts are the topics that ship with Python
BUCKETS = (
    ("northbazaar-product-manuals", "docs", 12, ".md"),
    ("northbazaar-support-tickets", "assistant", 12, ".txt"),
    ("northbazaar-shop-images", "shop", 4, ".jpg"),
    ("northbazaar-order-exports", "orders", 4, ".csv"),
    ("northbazaar-backups", "orders", 2, ".dump"),
)
BALANCERS = (("shop", ("shop-web",)), ("docs", ("docs-search", "orders-api")))
FUNCTIONS = (
    ("orders-invoice", "orders", "orders-db"),
    ("orders-export", "orders", "orders-db"),
    ("shop-thumbnails", "shop", None),
    ("assistant-feedback", "assistant", None),
)
TABLES = (("shop-sessions", "shop"), ("orders-events", "orders"), ("assistant-chats", "assistant"))
QUEUES = (
    ("orders-new", "orders"),
    ("orders-dead", "orders"),
    ("shop-mail", "shop"),
    ("assistant-jobs", "assistant"),
)


@dataclass(frozen=True)
class Seeded:
    """One thing that stands in the account and that a bill may name.

    ``address``: where others reach it; empty: nobody does, or it has none of its own.
    """

    id: str
    name: str
    kind: str
    spec: str
    app: str
    size_gib: int = 0
    address: str = ""


def tags_of(name: str, app: str) -> list[dict[str, str]]:
    """Return the tags of a thing of an app, as most services take them."""
    tags = {"Name": name, "app": app, "owner": OWNERS[app], "env": "production"}
    return [{"Key": k, "Value": v} for k, v in tags.items()]


def lower_tags(name: str, app: str) -> dict[str, str]:
    """Return the same as Lambda and SQS take them."""
    return {t["Key"]: t["Value"] for t in tags_of(name, app)}
