"""Write the evidence of one rollout as files that prove themselves: page, looks, answers, rows."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from qafila.errors import BadInput
from qafila.ledger.ledger import Connection
from qafila.report.bundle_place import MANIFEST, foreign_in_folder, require_place
from qafila.report.rollout import render_rollout
from qafila.report.rollout_facts import RolloutFacts
from qafila.settings import home
from qafila.sql import statement
from qafila.text.masking import mask_text, masked, passwords_in

FORMAT = 1
PAGE, LOOKS, APPROVALS, ROWS, CERTIFICATE = (
    "rollout.html",
    "looks.parquet",
    "approvals.json",
    "evidence.jsonl",
    "certificate.json",
)
_ARMS = ("baseline", "candidate")
_COUNTS = ("requests", "bad", "errors", "latency", "empty", "ungrounded", "over_budget", "flagged")
_E_VALUES = (
    "errors",
    "latency",
    "empty",
    "ungrounded",
    "over_budget",
    "flagged",
    "tenant",
    "fine",
    "under",
)
LOOK_COLUMNS: Mapping[str, str] = {
    "workload": "VARCHAR",
    "generation": "INTEGER",
    "rollout": "VARCHAR",
    "number": "INTEGER",
    "looked_at": "TIMESTAMPTZ",
    "step": "VARCHAR",
    "weight": "INTEGER",
    "acknowledged": "INTEGER",
    "observed": "DOUBLE",
    "verdict": "VARCHAR",
    "sentence": "VARCHAR",
    "counts": "VARCHAR",
    "e_values": "VARCHAR",
    **{f"{arm}_{key}": "BIGINT" for arm in _ARMS for key in _COUNTS},
    **{f"e_{name}": "DOUBLE" for name in _E_VALUES},
}
"""Columns of looks.parquet; ``counts`` and ``e_values`` are the JSON as stored, then by name."""


@dataclass(frozen=True)
class Bundle:
    """Where a bundle went, and the digest that names all of it."""

    path: Path
    rollout: str
    files: dict[str, str]
    manifest_sha256: str
    evidence_rows: int
    masked_rows: int


def default_bundle(facts: RolloutFacts) -> Path:
    """Return where a bundle goes by itself."""
    return home() / "evidence" / facts.rollout


def write_bundle(ledger: Connection, facts: RolloutFacts, to: Path | None = None) -> Bundle:
    """Write the bundle of a rollout to a folder, or to one file whose name ends in ``.zip``.

    An earlier bundle is replaced when it is as it was written and nothing else lies beside it; any
    other place that is not empty is refused. A
    reader never meets half of one. No secret leaves: passwords in addresses, those of recorded
    connections and those in the environment are masked, and a row of evidence that held one says
    so, since its digest cannot be computed from what is left.

    Raises:
        BadInput: the place holds something else, or cannot be written.
    """
    path = (to or default_bundle(facts)).absolute()
    zipped = path.suffix == ".zip"
    require_place(path, zipped, facts.workload)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        rows = _fill(ledger, facts, work / "bundle")
        bundle = _sealed(work / "bundle", facts, rows, path)
        if zipped:
            _zip(work / "bundle", work / "whole.zip")
            require_place(path, zipped, facts.workload)  # nothing came meanwhile
            (work / "whole.zip").replace(path)
        else:
            require_place(path, zipped, facts.workload)
            _swap(work / "bundle", path, work / "before", facts.workload)
        return bundle
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def evidence_lines(
    ledger: Connection, workload: str, generation: int | None, secrets: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return rows of the chain, oldest first, as JSON-able objects whose digest can be checked.

    ``masked`` stands in a row from which a secret was taken out.
    """
    key = {"workload": workload, "generation": generation}
    with ledger.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("rollouts", "chain_rows"), key).fetchall()
    lines = []
    for row in rows:
        at = row["recorded_at"].astimezone(UTC).isoformat(timespec="microseconds")
        plain = {**row, "recorded_at": at}
        said = {
            **plain,
            "sentence": masked(plain["sentence"], secrets),
            "body": masked(plain["body"], secrets),
        }
        lines.append(said if said == plain else {**said, "masked": True})
    return lines


def known_secrets(ledger: Connection) -> tuple[str, ...]:
    """Return every secret that this process can know: of connections and of the environment."""
    secrets = passwords_in(dict(os.environ))
    secrets |= {v for k, v in os.environ.items() if k.startswith("QAFILA_SECRET_") and v}
    with ledger.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(statement("rollouts", "settings_of_connections")):
            secrets |= passwords_in(row["settings"])
    return tuple(sorted(secrets))


def _fill(ledger: Connection, facts: RolloutFacts, folder: Path) -> list[dict[str, Any]]:
    """Write every file but the manifest."""
    folder.mkdir()
    secrets = known_secrets(ledger)
    rows = evidence_lines(ledger, facts.workload, facts.generation, secrets)
    page = mask_text(render_rollout(facts), secrets)
    drill = facts.latest("drill")
    proven = {
        "certificate": facts.certificate,
        "drill": None if drill is None else asdict(drill),
    }
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / ROWS).write_text("".join(_line(row) for row in rows), encoding="utf-8")
    for name, value in (
        (APPROVALS, [asdict(a) for a in facts.approvals]),
        (CERTIFICATE, proven),
    ):
        text = json.dumps(masked(value, secrets), indent=2, ensure_ascii=False, default=_plain)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    write_looks(facts, folder / LOOKS, secrets)
    return rows


def write_looks(facts: RolloutFacts, path: Path, secrets: Sequence[str] = ()) -> None:
    """Write the looks as Parquet, one row a look, in order."""
    from qafila.locked_duckdb import locked_duckdb

    columns = ", ".join(f"{name}: '{kind}'" for name, kind in LOOK_COLUMNS.items())
    read = f"read_json(?, format = 'newline_delimited', columns = {{{columns}}})"
    with tempfile.TemporaryDirectory(prefix="qafila-") as folder:
        lines, looks = Path(folder) / "looks.jsonl", Path(folder) / "looks.parquet"
        with lines.open("w", encoding="utf-8") as file:
            for look in facts.looks:
                file.write(_line(look_row(facts, look, secrets)))
        with locked_duckdb(Path(folder)) as database:
            database.sql(
                f"SELECT {', '.join(LOOK_COLUMNS)} FROM {read} ORDER BY number", params=[str(lines)]
            ).write_parquet(str(looks), compression="zstd")
        shutil.move(looks, path)


def look_row(
    facts: RolloutFacts, look: Mapping[str, Any], secrets: Sequence[str] = ()
) -> dict[str, Any]:
    """Return one look as a row of the file; what an earlier release did not count is 0."""
    row = {
        "workload": facts.workload,
        "generation": facts.generation,
        "rollout": facts.rollout,
        **{k: look[k] for k in ("number", "step", "weight", "acknowledged", "observed", "verdict")},
        "looked_at": look["looked_at"].astimezone(UTC).isoformat(timespec="microseconds"),
        "sentence": masked(look["sentence"], secrets),
        "counts": json.dumps(look["counts"], sort_keys=True),
        "e_values": json.dumps(look["e_values"], sort_keys=True),
    }
    for arm in _ARMS:
        counted = look["counts"].get(arm) or {}
        row |= {f"{arm}_{key}": int(counted.get(key) or 0) for key in _COUNTS}
    return row | {f"e_{name}": (look["e_values"] or {}).get(name) for name in _E_VALUES}


def _sealed(
    folder: Path, facts: RolloutFacts, rows: Sequence[Mapping[str, Any]], path: Path
) -> Bundle:
    """Write the manifest: what each file is by its digest, and where the chain stood."""
    files = {
        f.name: {"sha256": hashlib.sha256(f.read_bytes()).hexdigest(), "bytes": f.stat().st_size}
        for f in sorted(folder.iterdir())
    }
    manifest = {
        "format": FORMAT,
        "workload": facts.workload,
        "generation": facts.generation,
        "rollout": facts.rollout,
        "verdict": facts.ended.verdict if facts.ended is not None else None,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "qafila": package_version("qafila"),
        "chain": asdict(facts.chain),
        "files": files,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return Bundle(
        path=path,
        rollout=facts.rollout,
        files={name: str(file["sha256"]) for name, file in files.items()},
        manifest_sha256=hashlib.sha256(text.encode()).hexdigest(),
        evidence_rows=len(rows),
        masked_rows=sum("masked" in row for row in rows),
    )


def _unwritable(path: Path, error: OSError) -> BadInput:
    return BadInput(
        f"the bundle cannot be written to {path}: {error.strerror}.",
        remedy="name another place with --to",
    )


def _swap(new: Path, path: Path, aside: Path, workload: str) -> None:
    if path.exists():
        path.rename(aside)
        if foreign_in_folder(aside):  # it came after the last look: back with all of it
            aside.rename(path)
            require_place(path, False, workload)
    new.rename(path)


def _zip(folder: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in sorted(folder.iterdir()):
            archive.write(one, one.name)


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
