"""S3: buckets, sized by listing their objects."""

from __future__ import annotations

from pathlib import PurePosixPath

from botocore.exceptions import ClientError

from qafila.core.estate import Resource
from tasks.collectors.aws_account import Account, tags_of

ACTIONS = (
    "s3:ListAllMyBuckets", "s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketTagging",
)  # fmt: skip
TEXT = frozenset(
    {".txt", ".md", ".rst", ".html", ".htm", ".json", ".jsonl", ".csv", ".xml", ".pdf", ".docx"}
)


def read(account: Account) -> None:
    """Add each bucket with its bytes, and how many of them look like text by their suffix.

    Sizes come from listing: exact for what is there now, one request a thousand objects. Where
    the page limit ends a listing, the size is a lower bound and the outcome is ``truncated``.
    """
    s3 = account.client("s3")
    for bucket in list(account.pages(s3, "list_buckets", "Buckets", MaxBuckets=1000)):
        name = bucket["Name"]
        objects = size = text_objects = text_bytes = 0
        listed = False
        tags: dict[str, str] = {}
        region = account.region
        with account.tolerating(f"bucket {name}"):
            region = s3.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1"
            tags = _tags(s3, name)
            for item in account.pages(s3, "list_objects_v2", "Contents", Bucket=name):
                objects, size = objects + 1, size + item["Size"]
                if PurePosixPath(item["Key"]).suffix.lower() in TEXT:
                    text_objects, text_bytes = text_objects + 1, text_bytes + item["Size"]
            listed = True
        account.found.append(
            Resource(
                name, "s3:bucket", name, region, size if listed or objects else None, tags,
                {
                    "arn": f"arn:aws:s3:::{name}", "objects": objects, "size_is": "listed",
                    "text_objects": text_objects, "text_bytes": text_bytes,
                },
            )
        )  # fmt: skip


def _tags(s3: object, bucket: str) -> dict[str, str]:
    try:
        return tags_of(s3.get_bucket_tagging(Bucket=bucket)["TagSet"])  # type: ignore[attr-defined]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchTagSet":
            return {}
        raise
