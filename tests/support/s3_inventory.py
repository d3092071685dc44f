"""S3 Inventory reports as the service publishes them, put into a bucket by the test itself.

Keys, manifest and files are those of the Amazon S3 user guide ("Locating your inventory list"):
CSV without a header, gzip, keys URL-encoded; Parquet with the columns of ``message s3.inventory``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

CSV_SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, StorageClass"
CSV_CURRENT = "Bucket, Key, Size, LastModifiedDate"
PARQUET_SCHEMA = (
    "message s3.inventory {  required binary bucket (STRING);  required binary key (STRING);"
    "  optional binary version_id (STRING);  optional boolean is_latest;"
    "  optional boolean is_delete_marker;  optional int64 size;"
    "  optional int64 last_modified_date (TIMESTAMP(MILLIS,true));}"
)


@dataclass(frozen=True)
class Entry:
    """One object or version. ``size`` None: a delete marker."""

    key: str
    size: int | None
    latest: bool = True


def csv_file(bucket: str, entries: Sequence[Entry], *, versions: bool = True) -> bytes:
    """Return one data file, with versions or of current objects alone."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for e in entries:
        key, size = quote(e.key), "" if e.size is None else e.size
        if versions:
            flags = (str(e.latest).lower(), str(e.size is None).lower())
            writer.writerow([bucket, key, "v1", *flags, size, "STANDARD"])
        else:
            writer.writerow([bucket, key, size, "2026-11-26T01:02:03.000Z"])
    return gzip.compress(text.getvalue().encode())


def parquet_file(bucket: str, entries: Sequence[Entry]) -> bytes:
    """Return one data file in Parquet."""
    with tempfile.TemporaryDirectory() as room, duckdb.connect() as database:
        database.execute(
            "CREATE TABLE inventory (bucket VARCHAR, key VARCHAR, version_id VARCHAR,"
            " is_latest BOOLEAN, is_delete_marker BOOLEAN, size BIGINT,"
            " last_modified_date TIMESTAMPTZ)"
        )
        database.executemany(
            "INSERT INTO inventory VALUES (?, ?, 'v1', ?, ?, ?, '2026-11-26 01:02:03+00')",
            [(bucket, e.key, e.latest, e.size is None, e.size) for e in entries],
        )
        path = Path(room, "data.parquet")
        database.execute(f"COPY inventory TO '{path}' (FORMAT parquet)")
        return path.read_bytes()


@dataclass
class Report:
    """One report, to be delivered with whatever is wrong with it."""

    source: str
    begun: datetime
    files: list[bytes]
    format: str = "CSV"
    schema: str = CSV_SCHEMA
    checksum: bool = True
    spoilt: bool = False
    data: bool = True

    def put(self, s3: Any, place: str, folder: str) -> None:
        """Write data files, the manifest, and last its checksum."""
        suffix = {"CSV": "csv.gz", "Parquet": "parquet"}.get(self.format, "orc")
        listed = []
        for content in self.files:
            key = f"{folder}data/{uuid.uuid4()}.{suffix}"
            if self.data:
                s3.put_object(Bucket=place, Key=key, Body=b"x" if self.spoilt else content)
            listed.append(
                # as the service writes it, where the prefix ends with a slash
                {
                    "key": key.replace("//", "/"),
                    "size": len(content),
                    "MD5checksum": hashlib.md5(content).hexdigest(),
                }
            )
        manifest = json.dumps(
            {
                "sourceBucket": self.source,
                "destinationBucket": f"arn:aws:s3:::{place}",
                "version": "2016-11-30",
                "fileFormat": self.format,
                "fileSchema": self.schema,
                "creationTimestamp": str(int(self.begun.timestamp() * 1000)),
                "files": listed,
            }
        ).encode()
        date = f"{folder}{self.begun:%Y-%m-%dT%H-%M}Z/"
        s3.put_object(Bucket=place, Key=f"{date}manifest.json", Body=manifest)
        if self.checksum:
            digest = hashlib.md5(manifest).hexdigest() + "\n"
            s3.put_object(Bucket=place, Key=f"{date}manifest.checksum", Body=digest.encode())


def configure(
    s3: Any,
    source: str,
    place: str,
    *,
    name: str = "all",
    prefix: str = "inventories",
    file_format: str = "CSV",
    enabled: bool = True,
    part: str = "",
) -> str:
    """Configure an inventory of a bucket; return the folder that its reports go to."""
    destination = {"Bucket": f"arn:aws:s3:::{place}", "Format": file_format, "Prefix": prefix}
    s3.put_bucket_inventory_configuration(
        Bucket=source,
        Id=name,
        InventoryConfiguration={
            "Destination": {"S3BucketDestination": destination},
            "IsEnabled": enabled,
            "Id": name,
            "IncludedObjectVersions": "All",
            "OptionalFields": ["Size"],
            "Schedule": {"Frequency": "Daily"},
            **({"Filter": {"Prefix": part}} if part else {}),
        },
    )
    return f"{prefix}/{source}/{name}/" if prefix else f"{source}/{name}/"
