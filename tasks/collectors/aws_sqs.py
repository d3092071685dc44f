"""SQS: queues and what waits in them."""

from __future__ import annotations

from qafila.core.estate import Resource
from tasks.collectors.aws_account import Account

ACTIONS = ("sqs:ListQueues", "sqs:GetQueueAttributes", "sqs:ListQueueTags")


def read(account: Account) -> None:
    """Add each queue with the approximate number of messages that wait."""
    client = account.client("sqs")
    for url in account.pages(client, "list_queues", "QueueUrls", MaxResults=1000):
        name = url.rsplit("/", 1)[-1]
        with account.tolerating(f"queue {name}"):
            attributes = client.get_queue_attributes(
                QueueUrl=url, AttributeNames=["QueueArn", "ApproximateNumberOfMessages"]
            )["Attributes"]
            tags = client.list_queue_tags(QueueUrl=url).get("Tags", {})
            account.found.append(
                Resource(
                    attributes["QueueArn"], "sqs:queue", name, account.region, None, tags,
                    {"messages": int(attributes["ApproximateNumberOfMessages"])},
                )
            )  # fmt: skip
