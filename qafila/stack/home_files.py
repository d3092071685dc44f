"""Which files of a home folder Qafila and its servers made, by where they lie and their names.

Whatever is not described here belongs to somebody else: a wipe keeps it. A link is never followed,
and never deleted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NUMBERED = r"\d+(_fsm|_vm|_init)?(\.\d+)?"
_OURS = re.compile(
    "|".join(
        (
            r"stack\.(json|lock|new)",
            r"\.stack\.lock",
            r"keys/[a-z0-9][a-z0-9-]*",
            r"bindings\.(json|lock)",
            r"evidence-heads/[0-9a-f]{16}\.json",
            r"cards/[a-z0-9-]+\.json",
            r"spool/(rollbacks\.jsonl|[0-9a-z-]+\.(sqlite|lock|\d+)(-wal|-shm|-journal)?)",
            r"logs/[a-z0-9_-]+\.log(\.\d+)?",
            r"reports/[a-z0-9-]+\.html",
            r"evidence/[^/]+/(MANIFEST\.json|rollout\.html|looks\.parquet|approvals\.json"
            r"|evidence\.jsonl|certificate\.json)",
            r"demo/[a-z0-9_-]+(\.[a-z0-9_-]+)*\.(csv|json|jsonl|log|gz|parquet)",
            r"demo/code/[a-z_]+\.py",
            r"cache/embeddings\.sqlite(-wal|-shm)?",
            r"envoy/(\.lock|((bootstrap|cds|rds|lds)|rollback-card-[a-z0-9-]+)\.json|access\.jsonl(\.\d+)?"
            r"|admin/socket)",
            r"prefect/(prefect\.db(-wal|-shm)?|memo_store\.toml|profiles\.toml"
            r"|storage/[0-9a-f-]+)",
            r"postgres/(PG_VERSION|log|postmaster\.(pid|opts)|postgresql(\.auto)?\.conf"
            r"|pg_(hba|ident)\.conf|current_logfiles|\.handle_pids\.json|\.s\.PGSQL\.\d+(\.lock)?)",
            r"postgres/(global|base/\d+)/(" + _NUMBERED + r"|pg_filenode\.map|pg_control"
            r"|pg_internal\.init|PG_VERSION)",
            r"postgres/pg_wal/([0-9A-F]{24}(\.partial|\.\d+\.backup)?|[0-9A-F]{8}\.history)",
            r"postgres/pg_wal/archive_status/[0-9A-F]{24}\.(ready|done)",
            r"postgres/pg_wal/summaries/[0-9A-F]+\.summary",
            r"postgres/pg_(xact|subtrans|multixact/(offsets|members)|commit_ts|notify|serial)"
            r"/[0-9A-F]{4,15}",
            r"postgres/pg_logical/replorigin_checkpoint",
            r"postgres/pg_stat(_tmp)?/[a-z_0-9]+\.(stat|tmp)",
        )
    )
)


@dataclass(frozen=True)
class HomeFiles:
    """The files of a home: those that Qafila made, and those that it keeps."""

    ours: tuple[Path, ...]
    kept: tuple[Path, ...]


def list_home(home: Path) -> HomeFiles:
    """Return every file below a home, ours apart from others; deletes nothing."""
    ours: list[Path] = []
    kept: list[Path] = []
    for path in _files_below(home):
        relative = path.relative_to(home).as_posix()
        mine = not path.is_symlink() and _OURS.fullmatch(relative) is not None
        (ours if mine else kept).append(path)
    return HomeFiles(tuple(sorted(ours)), tuple(sorted(kept)))


def delete_home(home: Path) -> HomeFiles:
    """Delete what Qafila made in a home, then the folders that are empty; return what there was."""
    listed = list_home(home)
    folders = {parent for file in listed.ours for parent in file.parents if home in parent.parents}
    for path in listed.ours:
        path.unlink(missing_ok=True)
    postgres = home / "postgres"
    if not postgres.is_symlink() and any(file.parent == postgres for file in listed.ours):
        folders |= {Path(at) for at, _, _ in os.walk(postgres)}  # several are empty from the start
    for folder in sorted(folders, key=lambda f: -len(f.parts)):
        if not folder.is_symlink() and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if home.is_dir() and not any(home.iterdir()):
        home.rmdir()
    return listed


def _files_below(home: Path) -> Iterator[Path]:
    for at, folders, files in os.walk(home):  # which enters no link to a folder
        yield from (Path(at, name) for name in files)
        yield from (Path(at, name) for name in folders if Path(at, name).is_symlink())
