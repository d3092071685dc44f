"""S3: buckets, sized by listing their objects, or by the storage metric where they are large."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from qafila.core.estate import Outcome, Resource
from tasks.collectors import metrics
from tasks.collectors.aws_account import Account, tags_of
from tasks.collectors.metrics import list_metrics, read_days

ACTIONS = (
    "s3:ListAllMyBuckets", "s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketTagging",
    *metrics.ACTIONS,
)  # fmt: skip
TEXT = frozenset(
    {".txt", ".md", ".rst", ".html", ".htm", ".json", ".jsonl", ".csv", ".xml", ".pdf", ".docx"}
)
_EXACT = 10_000  # objects up to which a listing is short: ten requests
_METRIC_DAYS = 4  # the storage metric appears once a day, and up to two days late


@dataclass
class _Listed:
    objects: int = 0
    size: int = 0
    text_objects: int = 0
    text_bytes: int = 0
    whole: bool = False


def read(account: Account) -> None:
    """Add each bucket with its bytes, and how many of them look like text by their suffix.

    ``facts.size_is`` says where the size comes from. A bucket of up to 10 000 objects is listed:
    exact for what is there now. A larger one has the size of CloudWatch's storage metric,
    which is a day or two old, and the text of its first 10 000 objects. Without a usable metric it
    is listed on, one request a thousand objects; where the page limit ends that, the size is a
    lower bound and the outcome is ``truncated``. An inventory is not read: that would need the
    permission to read objects.
    """
    s3 = account.client("s3")
    storage = _Storage()
    buckets = account.pages(s3, "list_buckets", "Buckets", MaxBuckets=1000)
    account.each(buckets, partial(_read_bucket, storage))


def _read_bucket(storage: _Storage, account: Account, bucket: dict[str, Any]) -> None:
    s3 = account.client("s3")
    name = bucket["Name"]
    listed = _Listed()
    measured: tuple[int, int | None] | None = None
    tags: dict[str, str] = {}
    region = account.region
    with account.tolerating(f"s3 bucket {name}"):
        region = s3.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1"
        region = {"EU": "eu-west-1"}.get(region, region)  # its oldest name
        with account.tolerating(f"s3 tags of {name}"):
            tags = _tags(s3, name)
        objects = account.pages(s3, "list_objects_v2", "Contents", Bucket=name)
        for item in objects:
            if listed.objects == _EXACT:
                measured = storage.of(account, name, region)
                if measured is not None and measured[0] >= listed.size:
                    break
                measured = None
            _count(listed, item)
        else:  # the look is this bucket's alone, so that what it notes is, too
            listed.whole = account.collected("s3").outcome is not Outcome.TRUNCATED
    account.found.append(_bucket(name, region, tags, listed, measured))


def _bucket(
    name: str, region: str, tags: dict[str, str], listed: _Listed,
    measured: tuple[int, int | None] | None,
) -> Resource:  # fmt: skip
    size: int | None = listed.size if listed.whole or listed.objects else None
    facts: dict[str, Any] = {
        "arn": f"arn:aws:s3:::{name}", "objects": listed.objects,
        "size_is": "listed" if listed.whole else "listed, a lower bound",
        "text_objects": listed.text_objects, "text_bytes": listed.text_bytes,
    }  # fmt: skip
    if measured is not None:
        size = measured[0]
        facts |= {
            "objects": measured[1],
            "size_is": "storage metric",
            "text_is": f"of the first {_EXACT} objects",
        }
    return Resource(name, "s3:bucket", name, region, size, tags, facts)


def _count(listed: _Listed, item: dict[str, Any]) -> None:
    listed.objects, listed.size = listed.objects + 1, listed.size + item["Size"]
    if PurePosixPath(item["Key"]).suffix.lower() in TEXT:
        listed.text_objects += 1
        listed.text_bytes += item["Size"]


class _Storage:
    """The storage metrics of a region's buckets, read once, and only when a bucket is large."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[str, dict[str, int]] = {}
        self._counts: dict[str, dict[str, int]] = {}

    def of(self, account: Account, bucket: str, region: str) -> tuple[int, int | None] | None:
        """Return bytes and objects as last measured; None when the metric does not say."""
        with self._lock:
            if region not in self._sizes:
                self._sizes[region], self._counts[region] = {}, {}
                with account.tolerating(f"s3 storage metrics of {region}"):
                    self._read(account, region)
        size = self._sizes[region].get(bucket)
        return None if size is None else (size, self._counts[region].get(bucket))

    def _read(self, account: Account, region: str) -> None:
        client = account.client("cloudwatch", region)
        for name, totals in (
            ("BucketSizeBytes", self._sizes[region]),
            ("NumberOfObjects", self._counts[region]),
        ):
            found = list_metrics(
                account, client, "AWS/S3", name, {"BucketName", "StorageType"}, "Average"
            )
            for metric, values in read_days(account, client, found, days=_METRIC_DAYS).items():
                bucket = metric.of("BucketName")  # one metric for each storage class
                totals[bucket] = totals.get(bucket, 0) + round(values[-1])


def _tags(s3: Any, bucket: str) -> dict[str, str]:
    try:
        return tags_of(s3.get_bucket_tagging(Bucket=bucket)["TagSet"])
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchTagSet":
            return {}
        raise
