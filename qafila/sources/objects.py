"""Files of a folder or of S3: a record or a file is a document.

Neither JSON lines nor CSV nor Parquet can be asked for the rows behind a key, and PDF is slow to
read. So every file is read once, its documents go to a spool on local disk, and whoever reads by
key reads there. DuckDB only opens Parquet: asked for a page by key, it would sort the whole file
for every page.
"""

from __future__ import annotations

import errno
import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qafila.errors import BackfillHalted, BadInput
from qafila.sources.bounded_reader import BoundedReader
from qafila.sources.documents import READERS, Unreadable
from qafila.sources.fields import WrongField, dig, groups_of, holds, metadata_of, text_of
from qafila.sources.files import SUFFIXES, Files, FileVersion, LocalFiles, S3Files
from qafila.sources.port import Key, KeyRange, Semantics, SourceRow, Volume
from qafila.sources.records import Record, is_blank, read_csv, read_jsonl, read_parquet
from qafila.sources.relation import ranges_of
from qafila.sources.spool import Spool, Spooled, open_spool
from qafila.workload.corpus import ObjectSource as Settings
from qafila.workload.fingerprint import canonical_json

_VERSION = 9  # raise it when the same files would give other documents
_KEY_BYTES = 2_000  # a B-tree of the target takes 2 704 bytes a key
_DAY_SECONDS = 86_400.0
_MOST_REASONS = 19  # a spool tells twenty problems; one says how many more there are
_MANY_UNREADABLE = 1_000  # documents; a source with more of these than of others is refused
_NESTED = "are nested too deeply: name the fields that are needed in corpus.source.metadata"


class ObjectSource:
    """Reads documents by key, as the files were when they were first looked at; to be closed."""

    semantics = Semantics(
        order="the key as text, byte by byte in UTF-8",
        snapshot="files are listed and read once, into a spool on local disk; every batch is read "
        "from there, so all of them show one state",
        change="a file that changes while it is read stops the load; one that is changed, added or "
        "removed afterwards is another state of the source (its shape differs): a load that was "
        "begun is not mixed with it, and the comparison at the end finds what it lacks",
    )

    def __init__(self, settings: Settings, files: Files, home: Path) -> None:
        self._settings = settings
        self._files = files
        self._folder = home / "spool"
        self._opened: Spool | None = None
        self._listing = ""

    def close(self) -> None:
        """Close the spool; it stays on disk for other processes."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def problems(self) -> list[str]:
        """Return everything that is wrong, each with file and line; reads every file once."""
        try:
            return self._spool().problems()
        except BadInput as error:
            return list(error.problems)

    def shape(self) -> str:
        """Return a digest of all files: names, sizes, and times or tags."""
        return self._listed()

    def volume(self) -> Volume:
        """Return how many documents there are, how many cannot be read, and bytes of text."""
        facts = self._spool().facts()
        return Volume(
            facts["documents"], facts["text_bytes"], "counted in the files", facts["unreadable"]
        )

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return ranges of at most ``rows_per_shard`` documents that cover every possible key."""
        spool = self._usable()
        ends: list[Key] = [[key] for key in spool.every_nth_key(rows_per_shard)]
        return ranges_of(ends, spool.facts()["documents"], rows_per_shard)

    def read(
        self, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[Sequence[SourceRow]]:
        """Yield batches of documents with low < key <= high, in key order."""
        spool = self._usable()
        after = None if low is None else str(low[0])
        until = None if high is None else str(high[0])
        while batch := spool.between(after, until, batch_rows):
            yield [_row(d) for d in batch]
            after = batch[-1].key

    def fetch(self, keys: Sequence[str]) -> list[SourceRow]:
        """Return these documents as they were when the files were listed, in key order.

        For the place of a line that gave no key (``orders.jsonl:812``), return the document that
        is in this place now, under its own key.
        """
        return [_row(d) for d in self._usable().these(keys)]

    def _usable(self) -> Spool:
        spool = self._spool()
        if problems := spool.problems():
            raise BadInput(
                f"{self._settings.location} cannot be read:",
                problems,
                remedy="mend the files, then start the load again.",
            )
        return spool

    def _listed(self) -> str:
        if not self._listing:
            told, files = 0, 0
            for file in self._files.listed():
                told, files = (told + file.digest) % 2**256, files + 1
            if files == 0:
                named = ", ".join(SUFFIXES[self._settings.format])
                raise BadInput(
                    "the files of the source cannot be read:",
                    [f"{self._settings.location} holds no file that ends with {named}"],
                    remedy="correct corpus.source.location or .format",
                )
            self._listing = _digest(files, told)
        return self._listing

    def _spool(self) -> Spool:
        if self._opened is None:
            asked = self._settings.model_dump(exclude={"block"})
            ours = hashlib.sha256(canonical_json([_VERSION, asked])).hexdigest()[:16]
            path = self._folder / f"{ours}-{self._listed()}.sqlite"
            is_new = not path.exists()
            self._opened = open_spool(path, self._content())
            if is_new:
                self._remove_older(path, ours)
        return self._opened

    def _remove_older(self, newest: Path, ours: str) -> None:
        """Remove earlier states of this source that nobody has needed for a day."""
        for path in self._folder.glob(f"{ours}-*"):
            with suppress(OSError):
                if path.stem != newest.stem and time.time() - path.stat().st_mtime > _DAY_SECONDS:
                    path.unlink()

    def _content(self) -> Iterator[Spooled | str]:
        with BoundedReader() as reader:
            yield from self._read_with(reader)

    def _read_with(self, reader: BoundedReader) -> Iterator[Spooled | str]:
        read, files = 0, 0
        unreadable = _Unreadable()
        texts = _Texts(self._settings.text)
        headless = self._settings.format == "csv"  # until a file has a first line
        for file in self._files.listed():
            read, files = (read + file.digest) % 2**256, files + 1
            if not _utf8(file.name):
                yield f"{file.name}: its name is not UTF-8: rename it"
                continue
            try:
                with self._files.local(file) as path:
                    headless = headless and is_blank(path)
                    if self._settings.format in READERS:
                        found = self._document(file, path, reader)
                        unreadable.look(found)
                        yield found
                    else:
                        for record in self._records(path):
                            texts.look(record)
                            found = self._record(file, record)
                            unreadable.look(found)
                            yield found
            except PermissionError:
                yield f"{file.name}: it must not be read: give its group or us the right to"
            except BadInput as error:  # S3 says no to this object
                yield from error.problems
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):  # here, not where the file lies
                    raise
                yield f"{file.name}: it cannot be read: {error.strerror or error}"
        yield from unreadable.problems()
        yield from texts.problems()
        if headless and files:
            yield (
                f"{self._settings.location}: nothing is in any of its files ({files}), and the "
                "first line of one must name the columns: export them with a header"
            )
        if _digest(files, read) != self._listed():
            raise BackfillHalted(
                f"files of {self._settings.location} came, went or changed while they were read.",
                kept="everything up to the last checkpoint.",
                remedy="let the files rest, then start the load again.",
            )

    def _records(self, path: Path) -> Iterator[Record]:
        settings = self._settings
        fields = [*settings.text, *settings.metadata, *([settings.acl] if settings.acl else [])]
        if settings.format == "jsonl":
            return read_jsonl(path)
        if settings.format == "csv":
            return read_csv(path, settings.key, fields)
        return read_parquet(path, [settings.key, *fields])

    def _record(self, file: FileVersion, record: Record) -> Spooled | str:
        settings, place = self._settings, f"{file.name}:{record.line}"
        if record.of_file:
            return f"{place}: {record.wrong}"
        if record.fields is None:
            return _set_aside(place, place, record.wrong)
        key = place
        try:
            key = _key(dig(record.fields, settings.key), settings.key)
            texts = [text_of(record.fields, t) for t in settings.text]
            return Spooled(
                key=key,
                place=place,
                title=texts[0] if len(texts) > 1 else "",
                text="\n".join(t for t in texts if t),
                acl=groups_of(record.fields, settings.acl),
                metadata=plain(
                    metadata_of(record.fields, settings.metadata),
                    infinite=settings.format != "jsonl",
                ),
            )
        except WrongField as error:
            return _set_aside(key, place, str(error))
        except RecursionError:
            return _set_aside(key, place, f"its metadata {_NESTED}")

    def _document(self, file: FileVersion, path: Path, reader: BoundedReader) -> Spooled | str:
        settings, name = self._settings, file.name
        try:
            found = reader.read(settings.format, path)
            return Spooled(
                key=_key(name, "its path"),
                place=name,
                title=found.title,
                text=found.text,
                acl=groups_of(found.fields, settings.acl),
                metadata=plain(metadata_of(found.fields, settings.metadata)),
            )
        except Unreadable as error:
            return _set_aside(name, name, f"it {error}")
        except RecursionError:
            return _set_aside(name, name, f"its metadata {_NESTED}")
        except WrongField as error:
            return _set_aside(name, name, str(error))


def _set_aside(key: str, place: str, why: str) -> Spooled | str:
    """Return a document without text, which becomes one dead letter; the others are loaded."""
    try:
        return Spooled(_key(key, "its path"), place, "", "", [], {}, why)
    except WrongField as error:
        return f"{place}: {error}"


class _Unreadable:
    """Documents that cannot be read, counted beside the others.

    Where there are no others, or where most of a great many cannot be read, the files have another
    format than the workload says: dead letters would be all that is left of the source.
    """

    def __init__(self) -> None:
        self._readable = self._unreadable = 0
        self._reasons: list[str] = []

    def look(self, found: Spooled | str) -> None:
        if isinstance(found, str):
            return
        if not found.unreadable:
            self._readable += 1
            return
        self._unreadable += 1
        if len(self._reasons) < _MOST_REASONS:
            self._reasons.append(f"{found.place}: {found.unreadable}")

    def problems(self) -> list[str]:
        if self._readable and self._unreadable <= max(_MANY_UNREADABLE, self._readable):
            return []
        more = self._unreadable - len(self._reasons)
        return self._reasons + ([f"and {more} more that cannot be read"] if more else [])


class _Texts:
    """The text fields that no record had so far: one that none has at all is a wrong name.

    Without this, every document of a misspelt field would come without its text.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._missing = list(dict.fromkeys(paths))
        self._names: list[str] = []
        self._records = 0

    def look(self, record: Record) -> None:
        fields = record.fields
        if self._missing and fields is not None:
            self._records += 1
            self._names = self._names or list(fields)
            self._missing = [p for p in self._missing if not holds(fields, p)]

    def problems(self) -> list[str]:
        if not self._records:
            return []
        return [
            f"none of {self._records} records has the text field {path!r}; the first has: "
            + ", ".join(self._names)
            for path in self._missing
        ]


def _digest(files: int, told: int) -> str:
    return hashlib.sha256(f"{files} {told}".encode()).hexdigest()[:16]


def plain(value: Any, *, infinite: bool = True) -> Any:
    """Return a value as JSON has it; times, decimals and what is no number become texts.

    Raises:
        WrongField: an infinite number, unless there may be ``infinite`` ones: JSON has none, so it
            was a number too large for a float.
        RecursionError: it is nested too deeply, or in itself.
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v, infinite=infinite) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v, infinite=infinite) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, bytes | bytearray):
        return "\\x" + value.hex()  # as PostgreSQL writes them
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, float) and not infinite:
        raise WrongField("its metadata hold a number beyond 1.8e308, more than a float holds")
    return str(value)


def _key(value: Any, name: str) -> str:
    """Return the key as a text; numbers that are whole are one, others have too many forms."""
    if value is None or value == "":
        raise WrongField(f"{name} is missing, and it is the key")
    if isinstance(value, bool | float | bytes | bytearray | Mapping | list):
        raise WrongField(f"{name} holds {value!r}, and a key is a text or a whole number")
    key = str(value)
    if "\0" in key or not _utf8(key):
        raise WrongField(f"{name} holds a NUL or half a character, which no database keeps")
    if len(key.encode()) > _KEY_BYTES:
        raise WrongField(f"{name} is longer than {_KEY_BYTES} bytes, too long for a key")
    return key


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row(document: Spooled) -> SourceRow:
    return SourceRow(
        [document.key],
        document.title,
        document.text,
        document.acl,
        document.metadata,
        unreadable=document.unreadable,
    )


def files_of(settings: Settings, home: Path, s3: Any = None) -> Files:
    """Return where the files of a source are; ``s3`` is a client for ``s3://`` locations."""
    if settings.location.startswith("s3://"):
        return S3Files(s3, settings.location, settings.format)
    return LocalFiles(home / settings.location, settings.format)
