"""S3 Inventory: what a bucket holds by the newest whole report that it had written of itself.

Reports are found by the bucket's inventory configurations and read where they are delivered, which
needs ``s3:GetObject`` there. Nothing is kept of a key but what its suffix says.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from botocore.exceptions import ClientError

from qafila.audit.collectors.aws_account import Account
from qafila.audit.collectors.aws_s3_manifest import READ, Manifest, Unusable, folder_of, manifest_of
from qafila.audit.estate import Outcome
from qafila.locked_duckdb import locked_duckdb

ACTIONS = ("s3:GetInventoryConfiguration",)
OBJECT_ACTIONS = ("s3:GetObject",)  # where reports are delivered, and nowhere else
OLDEST = timedelta(days=8)  # reports come daily or weekly; an older one has no successor
MOST_BYTES = 512 << 20  # of one report, as it travels
_MOST_CONFIGURATIONS = 1_000  # a bucket has no more
_MOST_OF_A_MANIFEST = 32 << 20
_TRIED = 3  # reports of one configuration, newest first
_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\dZ)/")
_GONE = frozenset({"NoSuchKey", "404"})
_MEMORY = "512MB"


@dataclass(frozen=True)
class Stock:
    """What one report counted; sizes in bytes, text by the suffix of the key.

    ``objects`` and ``size`` are of current versions; ``old_objects`` and ``old_size`` of earlier
    ones, zero where the report has none. Parts of uploads that were never completed are in no
    report.
    """

    begun: datetime
    objects: int = 0
    size: int = 0
    old_objects: int = 0
    old_size: int = 0
    text_objects: int = 0
    text_bytes: int = 0


def stock_of(account: Account, bucket: str, texts: frozenset[str]) -> Stock | str | None:
    """Return what the newest whole report says, else why none can be used; None: there is none.

    ``texts``: suffixes of what looks like text, with their dot. A refusal is noted and does not
    spoil the outcome: other sources tell the size as well.

    Raises what means that nothing more can be read from the account at all.
    """
    try:
        return _stock(account, bucket, texts)
    except Unusable as unusable:
        return str(unusable)
    except duckdb.Error:
        return "its data files are not in the published form"
    except Exception as error:
        told = account.outcome_of(error)
        if told is None or account.over:
            raise
        account.missed(
            Outcome.COMPLETE,
            f"{told[1]}; sizes are taken from elsewhere",
            f"s3 inventory of {bucket}",
        )
        return told[1]


def _stock(account: Account, bucket: str, texts: frozenset[str]) -> Stock | None:
    s3 = account.client("s3")
    newest: tuple[Manifest, str] | None = None
    why: Unusable | None = None
    configured = False
    for one in _configurations(s3, bucket):
        configured = True
        try:
            found = _newest(account, s3, bucket, one)
        except Unusable as unusable:
            why = unusable
            continue
        if newest is None or found[0].begun > newest[0].begun:
            newest = found
    if newest is None:
        if configured:
            raise why or Unusable("its inventories are switched off")
        return None
    manifest, place = newest
    if manifest.size > MOST_BYTES:
        raise Unusable(f"its newest report has more than {MOST_BYTES:,} bytes")
    return _counted(s3, bucket, manifest, place, texts)


def _configurations(s3: Any, bucket: str) -> Iterator[Any]:
    """Yield a bucket's inventory configurations; they come a hundred at a time."""
    more: dict[str, str] = {}
    for _ in range(_MOST_CONFIGURATIONS // 100):
        answer = s3.list_bucket_inventory_configurations(Bucket=bucket, **more)
        yield from answer.get("InventoryConfigurationList") or []
        if not answer.get("IsTruncated") or not answer.get("NextContinuationToken"):
            return
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def _newest(account: Account, s3: Any, bucket: str, configured: Any) -> tuple[Manifest, str]:
    """Return the newest whole report of one configuration, and the bucket that it is in."""
    if not configured.get("IsEnabled"):
        raise Unusable("its inventory is switched off")
    if (configured.get("Filter") or {}).get("Prefix"):
        raise Unusable("its inventory is of a part of it")
    destination = configured["Destination"]["S3BucketDestination"]
    if destination.get("Format") not in READ:
        raise Unusable("its inventory is in ORC, which is not read")
    place = str(destination["Bucket"]).rpartition(":")[2]
    folder = folder_of(destination, bucket, str(configured["Id"]))
    since = f"{datetime.now(UTC) - OLDEST:%Y-%m-%dT%H-%M}Z"
    listed = account.pages(
        s3,
        "list_objects_v2",
        "CommonPrefixes",
        Bucket=place,
        Prefix=folder,
        Delimiter="/",
        StartAfter=f"{folder}{since}",
    )
    dates = [m[1] for p in listed if (m := _DATE.fullmatch(p["Prefix"].removeprefix(folder)))]
    why = Unusable(f"it has no inventory report of the last {OLDEST.days} days")
    for date in sorted((d for d in dates if d >= since), reverse=True)[:_TRIED]:
        try:
            checksum = _content(s3, place, f"{folder}{date}/manifest.checksum")
            content = _content(s3, place, f"{folder}{date}/manifest.json")
            return manifest_of(content, checksum, bucket, folder), place
        except Unusable as unusable:
            why = unusable
    raise why


def _content(s3: Any, bucket: str, key: str) -> bytes:
    content: bytes = _body(s3, bucket, key).read(_MOST_OF_A_MANIFEST + 1)
    if len(content) > _MOST_OF_A_MANIFEST:
        raise Unusable("the manifest of its inventory report is too large")
    return content


def _body(s3: Any, bucket: str, key: str) -> Any:
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _GONE:
            raise Unusable("its inventory report is not whole: a file is missing") from error
        raise


def _counted(s3: Any, bucket: str, manifest: Manifest, place: str, texts: frozenset[str]) -> Stock:
    """Count file by file, so that one at a time lies on this machine."""
    totals = [0] * 6
    with (
        tempfile.TemporaryDirectory(prefix="qafila-inventory-") as room,
        locked_duckdb(Path(room), memory=_MEMORY) as database,
    ):
        for number, file in enumerate(manifest.files):
            path = Path(room, f"{number}.{'csv.gz' if manifest.format == 'CSV' else 'parquet'}")
            digest, size = hashlib.md5(usedforsecurity=False), 0
            with path.open("wb") as out:
                for part in _body(s3, place, file.key).iter_chunks(1 << 20):
                    digest.update(part)
                    size += len(part)
                    if size > file.size:
                        break
                    out.write(part)
            if size != file.size or digest.hexdigest() != file.md5:
                raise Unusable("a file of its inventory report is not what the manifest says")
            *counts, strange = database.execute(
                _query(manifest, texts), {"bucket": bucket, "file": str(path)}
            ).fetchall()[0]
            if strange:
                raise Unusable("its inventory report has rows without a size, or of other buckets")
            totals = [total + int(count or 0) for total, count in zip(totals, counts, strict=True)]
            path.unlink()
    return Stock(manifest.begun, *totals)


def _query(manifest: Manifest, texts: frozenset[str]) -> str:
    """Return the statement that counts one file; every name in it is ours.

    Keys are URL-encoded in CSV and plain in Parquet: a dot and a suffix are the same in both.
    """
    names = [f"c{n}" for n in range(len(manifest.columns))]
    given = dict(zip(manifest.columns, names, strict=True))
    if manifest.format == "CSV":
        fields = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
        rows = (
            f"read_csv($file, auto_detect = false, header = false, delim = ',', quote = '\"', "
            f"escape = '\"', compression = 'gzip', columns = {{{fields}}})"
        )
    else:
        rows = f"read_parquet($file) AS columns({', '.join(names)})"
    latest, marker = given.get("islatest"), given.get("isdeletemarker")
    suffixes = "|".join(sorted(re.escape(text.removeprefix(".")) for text in texts))
    return f"""
        WITH entry AS (
            SELECT {given["bucket"]} AS bucket, lower({given["key"]}) AS key,
                   TRY_CAST({given["size"]} AS BIGINT) AS size,
                   {f"coalesce(CAST({latest} AS BOOLEAN), true)" if latest else "true"} AS latest,
                   {f"coalesce(CAST({marker} AS BOOLEAN), false)" if marker else "false"} AS marker
            FROM {rows}
        ), counted AS (
            SELECT *, regexp_matches(key, '[^/]\\.({suffixes})$') AS text
            FROM entry WHERE NOT marker
        )
        SELECT count(*) FILTER (WHERE latest), sum(size) FILTER (WHERE latest),
               count(*) FILTER (WHERE NOT latest), sum(size) FILTER (WHERE NOT latest),
               count(*) FILTER (WHERE latest AND text), sum(size) FILTER (WHERE latest AND text),
               count(*) FILTER (WHERE size IS NULL OR size < 0 OR bucket <> $bucket)
        FROM counted"""
