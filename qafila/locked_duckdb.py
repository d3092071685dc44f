"""DuckDB that sees one private folder and nothing else; the only place that opens it.

DuckDB takes a file's name for a pattern (``bill[1].csv`` means ``bill1.csv``), and a statement can
read and write every file that we may. So a file from outside is opened through a link with a plain
name in a private temporary folder, and the connection is locked to that folder before the first
statement that outside text has a part in.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_NO_EXTENSIONS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def link_into(folder: Path, path: Path, name: str) -> Path:
    """Make a link to a file under a plain name in a private folder; return the link.

    A file whose path is not UTF-8 or has a backslash is copied instead, because DuckDB cannot be
    told to allow such a path.
    """
    link, real = folder / name, path.resolve()
    if b"\\" in os.fsencode(real) or not _is_text(str(real)):
        shutil.copyfile(real, link)
    else:
        link.symlink_to(real)
    return link


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def locked_duckdb(
    folder: Path,
    *,
    database: str = "",
    memory: str = "1GB",
    threads: int = 1,
    keep_order: bool = True,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open DuckDB; it reads and writes in ``folder``, and reads what a link in there points to.

    Links must be made before. Nothing of the configuration can be changed afterwards, no extension
    is installed or loaded, times are in UTC, and what does not fit into memory goes to ``folder``.
    ``database``: the name of a file in ``folder`` that keeps the tables; none: memory keeps them.
    ``keep_order``: rows are read and written in the order of the file.
    """
    where = str(folder / database) if database else ":memory:"
    linked = [str(entry.resolve()) for entry in folder.iterdir() if entry.is_symlink()]
    with duckdb.connect(where, config=_NO_EXTENSIONS) as connection:
        for setting, value in (
            ("TimeZone", "UTC"),
            ("threads", threads),
            ("memory_limit", memory),
            ("temp_directory", str(folder)),
            ("enable_progress_bar", False),
            ("preserve_insertion_order", keep_order),
            ("allowed_directories", [str(folder)]),
            ("allowed_paths", linked),
            ("enable_external_access", False),
            ("lock_configuration", True),
        ):
            connection.execute(f"SET {setting} = ?", [value])
        yield connection
