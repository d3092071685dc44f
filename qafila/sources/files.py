"""Files of a folder or an S3 prefix: listed once, and read only as they were listed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from qafila.errors import BackfillHalted, BadInput, Unavailable

SUFFIXES = {
    "jsonl": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "parquet": (".parquet",),
    "markdown": (".md", ".markdown"),
    "html": (".html", ".htm"),
    "pdf": (".pdf",),
}


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One file as it was listed: ``name`` is its path in the source, ``place`` where it lies.

    ``version`` is the same on every machine that sees the same file; ``seen`` only on this one.
    """

    name: str
    place: str
    size_bytes: int
    version: str
    seen: str = ""

    @property
    def digest(self) -> int:
        """Return a number to be added up: a sum does not depend on the order of a listing."""
        told = "\0".join((self.name, str(self.size_bytes), self.version))
        return int.from_bytes(hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest())


class Files(Protocol):
    """Where files come from."""

    def listed(self) -> Iterator[FileVersion]:
        """Yield every file of the format; memory does not grow with their number.

        Raises:
            BadInput: there is no such place, or it must not be read.
        """

    def local(self, file: FileVersion) -> AbstractContextManager[Path]:
        """Give a path with the content of exactly this version.

        Raises:
            BackfillHalted: the file is not what was listed.
        """


class LocalFiles:
    """A folder, read through all its folders, or one file."""

    def __init__(self, location: Path, format_: str) -> None:
        self._root = location
        self._suffixes = SUFFIXES[format_]

    def listed(self) -> Iterator[FileVersion]:
        if self._root.is_file():
            yield self._version(self._root, self._root.name)
        elif self._root.is_dir():
            yield from self._walk(self._root)
        else:
            raise BadInput(
                "the files of the source cannot be read:",
                [f"there is no folder or file {self._root}"],
                remedy="name it in corpus.source.location; a relative path starts at QAFILA_HOME",
            )

    def _walk(self, folder: Path) -> Iterator[FileVersion]:
        try:
            entries = os.scandir(folder)
        except OSError as error:
            raise BadInput(
                "the files of the source cannot be read:", [f"{folder}: {error.strerror}"]
            ) from error
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(path)
                elif path.is_dir():
                    self._require_inside(path)  # then its files are met under their own names
                elif entry.name.lower().endswith(self._suffixes):
                    if entry.is_symlink():
                        self._require_inside(path)
                    if entry.is_file():
                        yield self._version(path, path.relative_to(self._root).as_posix())

    def _require_inside(self, link: Path) -> None:
        """Refuse a link that would leave documents out in silence, or take in foreign ones."""
        if not link.exists():
            told = f"{link} is a link that leads nowhere: mend or remove it"
        elif not link.resolve().is_relative_to(self._root.resolve()):
            told = f"{link} is a link that leads out of {self._root}: copy what it leads to"
        else:
            return
        raise BadInput("the files of the source cannot be read:", [told])

    def _version(self, path: Path, name: str) -> FileVersion:
        stat = path.stat()
        seen = f"{stat.st_ino}-{stat.st_ctime_ns}"
        return FileVersion(name, str(path), stat.st_size, str(stat.st_mtime_ns), seen)

    @contextmanager
    def local(self, file: FileVersion) -> Iterator[Path]:
        path = Path(file.place)
        self._require(file, path)
        try:
            yield path
        except FileNotFoundError as error:
            raise _changed(file) from error
        self._require(file, path)  # what was read in between is this version only if it still is

    def _require(self, file: FileVersion, path: Path) -> None:
        try:
            now = self._version(path, file.name)
        except OSError as error:
            raise _changed(file) from error
        if now != file:
            raise _changed(file)


class S3Files:
    """The objects under a prefix of a bucket, or one object."""

    def __init__(self, client: Any, location: str, format_: str) -> None:
        self._client = client
        self._bucket, _, self._prefix = location.removeprefix("s3://").partition("/")
        self._suffixes = SUFFIXES[format_]

    def listed(self) -> Iterator[FileVersion]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        folder = (
            self._prefix if self._prefix.endswith("/") or not self._prefix else (self._prefix + "/")
        )
        with _asking_s3(f"s3://{self._bucket}/{self._prefix}"):
            for page in pages:
                for found in page.get("Contents", []):
                    key = found["Key"]
                    exact = key == self._prefix  # one object, whatever its suffix
                    if exact or self._belongs(key, folder):
                        name = PurePosixPath(key).name if exact else key[len(folder) :]
                        yield FileVersion(name, key, found["Size"], found["ETag"])

    def _belongs(self, key: str, folder: str) -> bool:
        inside = key.startswith(folder) and key.lower().endswith(self._suffixes)
        return inside and not any(p.startswith(".") for p in key[len(folder) :].split("/"))

    @contextmanager
    def local(self, file: FileVersion) -> Iterator[Path]:
        place = f"s3://{self._bucket}/{file.place}"
        with tempfile.NamedTemporaryFile(prefix="qafila-", suffix=".object") as copy:
            with _asking_s3(place, file):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=file.place, IfMatch=file.version
                )
                shutil.copyfileobj(answer["Body"], copy, 1 << 20)
            copy.flush()
            if copy.tell() != file.size_bytes:
                raise Unavailable(
                    f"{place} ended after {copy.tell()} of {file.size_bytes} bytes.",
                    kept="nothing was changed.",
                    remedy="run it again.",
                )
            yield Path(copy.name)


@contextmanager
def _asking_s3(place: str, file: FileVersion | None = None) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if file is not None and (status in (404, 412) or code == "PreconditionFailed"):
            raise _changed(file) from error
        if code == "InvalidObjectState":
            raise BadInput(
                "the files of the source cannot be read:",
                [f"{place} is archived: restore it, or move it out of the prefix"],
            ) from error
        if status >= 500 or status == 429 or code in ("SlowDown", "Throttling"):
            raise Unavailable(f"S3 answers {code} for {place}.", remedy="run it again.") from error
        raise BadInput(
            "the files of the source cannot be read:",
            [
                f"{place}: S3 answers {code}; correct corpus.source.location, or let the keys of "
                "the connection list and read it"
            ],
        ) from error
    except ParamValidationError as error:
        raise BadInput(
            "the files of the source cannot be read:",
            [
                f"{place} names no bucket, or none that can be: write s3://bucket/prefix into "
                "corpus.source.location"
            ],
        ) from error
    except BotoCoreError as error:
        raise Unavailable(
            f"S3 does not answer for {place}: {error}",
            kept="nothing was changed.",
            remedy="check the connection of the source, then run it again.",
        ) from error


def _changed(file: FileVersion) -> BackfillHalted:
    return BackfillHalted(
        f"{file.name} is not what it was when the files were listed; half of the old and half of "
        "the new would be mixed.",
        kept="everything up to the last checkpoint.",
        remedy="let the files rest, then start the load again.",
    )
