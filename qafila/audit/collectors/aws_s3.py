"""S3: buckets, sized by listing, and where they are large by an inventory or the storage metric."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from qafila.audit.collectors import aws_s3_inventory, metrics
from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.aws_s3_inventory import Stock, stock_of
from qafila.audit.collectors.metrics import list_metrics, read_days
from qafila.audit.estate import Outcome, Resource

ACTIONS = (
    "s3:ListAllMyBuckets",
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "s3:GetBucketTagging",
    *aws_s3_inventory.ACTIONS,
    *metrics.ACTIONS,
)
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


@dataclass
class _Elsewhere:
    """What other sources say of a large bucket; ``why``: why its inventory was not used."""

    stock: Stock | None = None
    measured: tuple[int, int | None] | None = None
    why: str | None = None

    @property
    def tells(self) -> bool:
        return self.stock is not None or self.measured is not None


def read(account: Account) -> None:
    """Add each bucket with its bytes, and how many of them look like text by their suffix.

    ``facts.size_is`` says where the size comes from. A bucket of up to 10 000 objects is listed:
    exact for what is there now. A larger one has the size of its newest whole inventory report,
    whose age is told: exact for that time, earlier versions and all text included. Without one it
    has the size of CloudWatch's storage metric, which is a day or two old, and the text of its
    first 10 000 objects. Without a usable metric it is listed on, one request a thousand objects;
    where the page limit ends that, the size is a lower bound and the outcome is ``truncated``.
    ``facts.inventory_not_used`` says why a report did not serve.
    """
    s3 = account.client("s3")
    storage = _Storage()
    buckets = account.pages(s3, "list_buckets", "Buckets", MaxBuckets=1000)
    account.each(buckets, partial(_read_bucket, storage))


def _read_bucket(storage: _Storage, account: Account, bucket: dict[str, Any]) -> None:
    s3 = account.client("s3")
    name = bucket["Name"]
    listed = _Listed()
    elsewhere = _Elsewhere()
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
                elsewhere = _told_elsewhere(storage, account, name, region, listed.size)
                if elsewhere.tells:
                    break
            _count(listed, item)
        else:  # the look is this bucket's alone, so that what it notes is, too
            listed.whole = account.collected("s3").outcome is not Outcome.TRUNCATED
    account.found.append(_bucket(name, region, tags, listed, elsewhere))


def _told_elsewhere(
    storage: _Storage, account: Account, bucket: str, region: str, least: int
) -> _Elsewhere:
    """Return the inventory of a bucket, else its storage metric.

    Whichever knows of less than was listed by now (``least``, bytes) is older than what stands
    there, and does not count.
    """
    found = stock_of(account, bucket, TEXT)
    if isinstance(found, Stock):
        if found.size + found.old_size >= least:
            return _Elsewhere(stock=found)
        found = "its newest inventory report knows of less than stands there now"
    measured = storage.of(account, bucket, region)
    if measured is not None and measured[0] < least:
        measured = None
    return _Elsewhere(measured=measured, why=found)


def _bucket(
    name: str, region: str, tags: dict[str, str], listed: _Listed, elsewhere: _Elsewhere
) -> Resource:
    size: int | None = listed.size if listed.whole or listed.objects else None
    facts: dict[str, Any] = {
        "arn": f"arn:aws:s3:::{name}",
        "objects": listed.objects,
        "size_is": "listed" if listed.whole else "listed, a lower bound",
        "text_objects": listed.text_objects,
        "text_bytes": listed.text_bytes,
    }
    if elsewhere.stock is not None:
        size = elsewhere.stock.size + elsewhere.stock.old_size
        facts |= _facts_of(elsewhere.stock)
    elif elsewhere.measured is not None:
        size = elsewhere.measured[0]
        facts |= {
            "objects": elsewhere.measured[1],
            "size_is": "storage metric",
            "text_is": f"of the first {_EXACT} objects",
        }
    if elsewhere.why is not None:
        facts["inventory_not_used"] = elsewhere.why
    return Resource(name, "s3:bucket", name, region, size, tags, facts)


def _facts_of(stock: Stock) -> dict[str, Any]:
    """Return what an inventory report says. The age is of the moment that it began to look."""
    age = datetime.now(UTC) - stock.begun
    return {
        "objects": stock.objects,
        "size_is": "inventory report",
        "measured_at": stock.begun.isoformat(),
        "age_hours": round(age / timedelta(hours=1), 1),
        "earlier_objects": stock.old_objects,
        "earlier_measured_bytes": stock.old_size,
        "text_objects": stock.text_objects,
        "text_bytes": stock.text_bytes,
    }


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
