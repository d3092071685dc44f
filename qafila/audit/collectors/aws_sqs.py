"""SQS: queues, what waits in them, and where their dead letters go."""

from __future__ import annotations

import json

from qafila.audit.collectors.aws_account import Account
from qafila.audit.collectors.variables import partition_of
from qafila.audit.estate import Edge, Resource

ACTIONS = ("sqs:ListQueues", "sqs:GetQueueAttributes", "sqs:ListQueueTags")
_ATTRIBUTES = ["QueueArn", "ApproximateNumberOfMessages", "RedrivePolicy", "FifoQueue"]


def read(account: Account) -> None:
    """Add each queue with the approximate number of messages that wait.

    A queue that may be listed and not described stays, with its name alone.
    """
    client = account.client("sqs")
    urls = account.pages(client, "list_queues", "QueueUrls", MaxResults=1000)
    account.each(urls, _read_queue)


def _read_queue(account: Account, url: str) -> None:
    client = account.client("sqs")
    owner, name = ("", *url.split("/"))[-2:]
    arn = f"arn:{partition_of(account.region)}:sqs:{account.region}:{owner}:{name}"
    attributes: dict[str, str] = {}
    tags: dict[str, str] = {}
    with account.tolerating(f"sqs queue {name}"):
        attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=_ATTRIBUTES).get(
            "Attributes", {}
        )
        tags = client.list_queue_tags(QueueUrl=url).get("Tags", {})
    waiting = attributes.get("ApproximateNumberOfMessages")
    arn = attributes.get("QueueArn", arn)
    account.found.append(
        Resource(
            arn,
            "sqs:queue",
            name,
            account.region,
            None,
            tags,
            {
                "messages": None if waiting is None else int(waiting),
                "fifo": attributes.get("FifoQueue") == "true",
            },
        )
    )
    if "RedrivePolicy" in attributes:
        dead = json.loads(attributes["RedrivePolicy"]).get("deadLetterTargetArn")
        if dead:
            account.edges.append(Edge(arn, dead, "writes", "sqs dead letters", 1.0))
