"""What an S3 Inventory report says of itself: its manifest, read and held against its checksum.

Format: Amazon S3 user guide, "Locating your inventory list". ``PREFIX/SOURCE/ID/`` holds
``DATE/manifest.json``, beside it ``manifest.checksum``, its MD5 in hexadecimal, and ``data/``.
Values in, values out; nothing is fetched here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

READ = ("CSV", "Parquet")  # formats; ORC is not read
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_FILE = re.compile(r"[A-Za-z0-9._-]{1,200}")
_PARQUET_COLUMN = re.compile(r"(?:required|optional)\s+\w+\s+(\w+)")


class Unusable(Exception):
    """A report that cannot be used, and why: in words, without anything of its content."""


@dataclass(frozen=True)
class DataFile:
    """One file of a report: ``key`` in the destination bucket, bytes, MD5 in hexadecimal."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True)
class Manifest:
    """One report. ``columns``: names in their order, lower case without ``_``: ``islatest``.

    ``begun``: when the bucket began to be looked at. ``format``: CSV or Parquet.
    """

    begun: datetime
    format: str
    columns: tuple[str, ...]
    files: tuple[DataFile, ...]

    @property
    def size(self) -> int:
        """Return the bytes of all its files, as they travel."""
        return sum(file.size for file in self.files)


def folder_of(destination: Mapping[str, Any], bucket: str, inventory: str) -> str:
    """Return where reports of a configuration lie: a prefix of keys that ends with ``/``.

    ``destination``: ``S3BucketDestination`` of the configuration. A prefix that ends with a slash
    gives two of them, as the service writes its keys.
    """
    prefix = str(destination.get("Prefix") or "")
    return f"{prefix}/{bucket}/{inventory}/" if prefix else f"{bucket}/{inventory}/"


def manifest_of(content: bytes, checksum: bytes, bucket: str, folder: str) -> Manifest:
    """Return the manifest of a whole report.

    Files are looked for in the report's own folder, whatever path the manifest gives: it names
    others where the prefix ends with a slash, and nothing else is to be read.

    Raises:
        Unusable: it is not what its checksum says, not of this bucket, or not in a format or with
            the columns that sizes can be read from.
    """
    said = checksum.decode("ascii", "replace").strip().lower()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != said:
        raise Unusable("its manifest is not what its checksum says")
    try:
        found = json.loads(content)
        if found["sourceBucket"] != bucket:
            raise Unusable("its manifest is of another bucket")
        file_format, schema = str(found["fileFormat"]), str(found["fileSchema"])
        begun = datetime.fromtimestamp(int(found["creationTimestamp"]) / 1000, UTC)
        files = tuple(_file(entry, folder) for entry in found["files"])
    except (
        ValueError,
        LookupError,
        TypeError,
        OverflowError,
        OSError,
        RecursionError,
    ) as error:
        raise Unusable("its manifest is not in the published form") from error
    if file_format not in READ:
        raise Unusable(
            f"it is in {'ORC' if file_format == 'ORC' else 'another format'}, which is not read"
        )
    columns = _columns(file_format, schema)
    if not {"bucket", "key", "size"} <= set(columns):
        raise Unusable("it does not hold sizes")
    return Manifest(begun, file_format, columns, files)


def _file(entry: Mapping[str, Any], folder: str) -> DataFile:
    name, size, md5 = str(entry["key"]).rpartition("/")[2], entry["size"], str(entry["MD5checksum"])
    if not _FILE.fullmatch(name) or not _MD5.fullmatch(md5) or type(size) is not int or size < 0:
        raise ValueError("an entry is not in the published form")
    return DataFile(f"{folder}data/{name}", size, md5.lower())


def _columns(file_format: str, schema: str) -> tuple[str, ...]:
    given = schema.split(",") if file_format == "CSV" else _PARQUET_COLUMN.findall(schema)
    return tuple(name.strip().replace("_", "").lower() for name in given)
