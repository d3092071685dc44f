"""Check a bundle: its files by the manifest, its rows by their digests, both by the ledger."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from psycopg.rows import dict_row

from qafila.errors import BadInput
from qafila.ledger.chain import link_digest
from qafila.ledger.evidence import hashed
from qafila.ledger.ledger import Connection
from qafila.report.bundle import FORMAT, LOOKS, ROWS
from qafila.report.bundle_place import MANIFEST
from qafila.report.rollout_reader import canary_looks
from qafila.sql import statement

_KEPT_COLUMNS = (  # also of a row from which a secret was taken out
    "workload",
    "generation",
    "kind",
    "run_id",
    "verdict",
    "recorded_at",
    "previous",
    "digest",
)
MOST_BYTES = 256 << 20  # of all files of a bundle, unpacked: more is taken for an attack
_MOST_FILES = 1_000


@dataclass(frozen=True)
class BundleCheck:
    """What a bundle is, and what is wrong with it, if anything.

    ``masked`` counts the rows from which a secret was taken out: their digest cannot be computed,
    and is only compared with the ledger's. ``compared`` tells whether the ledger was asked.
    """

    rollout: str
    workload: str
    files: int
    rows: int
    looks: int
    masked: int
    compared: bool
    manifest_sha256: str
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.problems


def check_bundle(path: Path, ledger: Connection | None) -> BundleCheck:
    """Return what is wrong with a bundle, a folder or a zip; None for the ledger: by itself alone.

    By itself: every file is as the manifest names it, none is missing or more, and every row of
    evidence has the digest that its content and the row before make. By the ledger: it holds the
    same rows with the same digests, none more up to the head that the manifest names, and the same
    looks.

    Raises:
        BadInput: there is no bundle, or its manifest or a file of it cannot be read.
    """
    files = _read(path)
    manifest = _manifest(path, files)
    problems = list(_wrong_files(manifest["files"], files))
    rows = _rows(path, files.get(ROWS, b""))
    problems += _wrong_rows(rows)
    looks = _looks(path, files.get(LOOKS))
    if ledger is not None:
        problems += _other_rows(ledger, manifest, rows)
        problems += _other_looks(ledger, manifest["rollout"], looks)
    return BundleCheck(
        rollout=str(manifest["rollout"]),
        workload=str(manifest["workload"]),
        files=len(manifest["files"]),
        rows=len(rows),
        looks=len(looks),
        masked=sum(bool(row.get("masked")) for row in rows),
        compared=ledger is not None,
        manifest_sha256=hashlib.sha256(files[MANIFEST]).hexdigest(),
        problems=tuple(problems),
    )


def _read(path: Path) -> dict[str, bytes]:
    """Return every file of a bundle by name; nothing is unpacked."""
    try:
        if path.is_dir():
            found = [f for f in path.iterdir() if f.is_file()]
            return _within(path, ((f.name, f.open("rb")) for f in found))
        with zipfile.ZipFile(path) as archive:
            packed = [i for i in archive.infolist() if not i.is_dir()]
            if len(packed) > _MOST_FILES:
                raise _no_bundle(path, f"it holds {len(packed)} files")
            return _within(path, ((i.filename, archive.open(i)) for i in packed))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise _no_bundle(path, str(error)) from error


def _within(path: Path, opened: Iterable[tuple[str, IO[bytes]]]) -> dict[str, bytes]:
    """Return the files, read no further than all of them may be, whatever sizes they claim."""
    files: dict[str, bytes] = {}
    left = MOST_BYTES
    for name, stream in opened:
        with stream:
            files[name] = stream.read(left + 1)
        left -= len(files[name])
        if left < 0:
            raise _no_bundle(path, f"its files have more than {MOST_BYTES >> 20} MiB")
    return files


def _no_bundle(path: Path, why: str) -> BadInput:
    return BadInput(
        f"{path} is no readable bundle: {why}.",
        remedy="write one: qafila evidence export WORKLOAD --to FOLDER",
    )


def _manifest(path: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    if MANIFEST not in files:
        raise _no_bundle(path, f"it holds no {MANIFEST}")
    try:
        manifest = json.loads(files[MANIFEST])
        known = manifest["format"] == FORMAT and isinstance(manifest["files"], dict)
        if not known or not all(isinstance(manifest[k], str) for k in ("rollout", "workload")):
            raise _no_bundle(path, f"its {MANIFEST} is of another format")
        chain = manifest["chain"]
        if not isinstance(chain["head_number"], int) or not isinstance(manifest["generation"], int):
            raise TypeError("the head of the chain and the generation are numbers")
        if not isinstance(chain["head_digest"], str):
            raise TypeError("the digest of the head is text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_bundle(path, f"its {MANIFEST} cannot be read ({error})") from error
    return dict(manifest)


def _wrong_files(listed: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterable[str]:
    for name, file in listed.items():
        if name not in files:
            yield f"{name} is missing"
        elif hashlib.sha256(files[name]).hexdigest() != file.get("sha256"):
            yield f"{name} was changed after it was written"
    for name in sorted(set(files) - set(listed) - {MANIFEST}):
        yield f"{name} is not of this bundle"
    for name in (ROWS, LOOKS):
        if name not in listed:
            yield f"{name} is not in the manifest"


def _rows(path: Path, text: bytes) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in text.decode("utf-8").splitlines() if line.strip()]
        for row in rows:
            row["recorded_at"] = datetime.fromisoformat(row["recorded_at"])
            if not isinstance(row["number"], int):
                raise ValueError("a row without a number")
            hashed(row)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _no_bundle(path, f"its {ROWS} cannot be read ({error!r})") from error
    return rows


def _wrong_rows(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    before: Mapping[str, Any] | None = None
    for row in rows:
        number = row["number"]
        if (
            not row.get("masked")
            and link_digest(row["previous"], number, hashed(row)) != (row["digest"])
        ):
            yield f"row {number} was changed after it was written"
        if before is not None:
            if number <= before["number"]:
                yield f"row {number} stands after row {before['number']}"
            elif number == before["number"] + 1 and row["previous"] != before["digest"]:
                yield f"row {number} does not follow the row before it"
        before = row


def _other_rows(
    ledger: Connection, manifest: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Iterable[str]:
    """Compare with the ledger: rows that differ, that it lacks, and that the bundle lacks."""
    with ledger.cursor(row_factory=dict_row) as cursor:
        stored = cursor.execute(statement("rollouts", "chain_rows"), manifest).fetchall()
    known = {row["number"]: row for row in stored}
    for row in rows:
        one = known.pop(row["number"], None)
        if one is None:
            yield f"row {row['number']} is not in the ledger"
        elif any(one[name] != row[name] for name in _KEPT_COLUMNS):
            yield f"row {row['number']} is another one in the ledger"
    number, digest = manifest["chain"]["head_number"], manifest["chain"]["head_digest"]
    for missing in known:
        if missing <= number:  # rows that came after the bundle was written are no fault of it
            yield f"row {missing} of the ledger is missing"
    heads = ledger.execute(statement("rollouts", "digests_of"), {"numbers": [number]}).fetchone()
    if number and (heads is None or heads[1] != digest):
        yield f"the head of the chain, row {number}, is another one in the ledger"


def _looks(path: Path, parquet: bytes | None) -> list[tuple[Any, ...]]:
    """Return what a look is made of, except its sentence, from which a secret may be missing."""
    import duckdb

    from qafila.locked_duckdb import locked_duckdb

    if parquet is None:
        return []
    with tempfile.TemporaryDirectory(prefix="qafila-") as folder:
        file = Path(folder) / LOOKS
        file.write_bytes(parquet)
        try:
            with locked_duckdb(Path(folder)) as database:
                rows = database.execute(
                    "SELECT number, epoch_us(looked_at), step, weight, acknowledged, observed,"
                    " counts, e_values, verdict FROM read_parquet(?) ORDER BY number",
                    [str(file)],
                ).fetchall()
        except duckdb.Error as error:
            raise _no_bundle(path, f"its {LOOKS}: {str(error).splitlines()[0]}") from error
    try:
        return [(*row[:6], json.loads(row[6]), json.loads(row[7]), row[8]) for row in rows]
    except (ValueError, TypeError, RecursionError) as error:
        raise _no_bundle(path, f"its {LOOKS} cannot be read ({error!r})") from error


def _other_looks(
    ledger: Connection, rollout: str, looks: Sequence[tuple[Any, ...]]
) -> Iterable[str]:
    stored = {look["number"]: look for look in canary_looks(ledger, rollout)}
    for look in looks:
        one = stored.pop(look[0], None)
        if one is None:
            yield f"look {look[0]} is not in the ledger"
            continue
        at = round(one["looked_at"].timestamp() * 1_000_000)
        kept = (
            one["number"],
            at,
            one["step"],
            one["weight"],
            one["acknowledged"],
            one["observed"],
            one["counts"],
            one["e_values"],
            one["verdict"],
        )
        if kept != look:
            yield f"look {look[0]} is another one in the ledger"
    # Looks that came after the bundle was written are no fault of it.
    last = max((look[0] for look in looks), default=0)
    for number in stored:
        if number < last:
            yield f"look {number} of the ledger is missing"
