"""SNS: topics, and what they deliver to. Addresses and numbers of people are counted, not kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.variables import host_in
from qafila.audit.estate import Edge, Resource

ACTIONS = ("sns:ListTopics", "sns:ListSubscriptions", "sns:ListTagsForResource")
_DELIVERS = {"sqs": "writes", "firehose": "writes", "lambda": "calls"}


def read(account: Account) -> None:
    """Add each topic with its subscribers by protocol; queues, functions and hosts are edges."""
    client = account.client("sns")
    protocols: defaultdict[str, Counter[str]] = defaultdict(Counter)
    known = False

    def read_topic(look: Account, topic: dict[str, str]) -> None:
        arn = topic["TopicArn"]
        name = arn.rsplit(":", 1)[-1]
        tags: dict[str, str] = {}
        with look.tolerating(f"sns tags of {name}"):
            tags = tags_of(client.list_tags_for_resource(ResourceArn=arn)["Tags"])
        subscribers = dict(sorted(protocols.get(arn, Counter()).items())) if known else None
        look.found.append(
            Resource(arn, "sns:topic", name, look.region, None, tags, {"subscribers": subscribers})
        )

    with account.tolerating("sns subscriptions"):
        for subscription in account.pages(client, "list_subscriptions", "Subscriptions"):
            protocols[subscription["TopicArn"]][subscription["Protocol"]] += 1
            _connect(account, subscription)
        known = True
    with account.tolerating("sns topics"):
        account.each(account.pages(client, "list_topics", "Topics"), read_topic)


def _connect(account: Account, subscription: dict[str, Any]) -> None:
    protocol, endpoint = subscription["Protocol"], subscription.get("Endpoint", "")
    to: str | None = None
    if protocol in _DELIVERS:
        to = endpoint
    elif protocol in ("http", "https"):
        to = host_in("endpoint", endpoint)
    if to:
        account.edges.append(
            Edge(
                subscription["TopicArn"],
                to,
                _DELIVERS.get(protocol, "calls"),
                f"sns subscription over {protocol}",
                1.0,
            )
        )
