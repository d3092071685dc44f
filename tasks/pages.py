"""Write a page where a reader never meets half of one."""

from __future__ import annotations

import os
from pathlib import Path

from qafila.errors import BadInput


def save_page(page: str, to: Path | None, default: Path) -> Path:
    """Write a page to ``to``, else to ``default``, and return its file.

    It appears whole, or stays as it was.

    Raises:
        BadInput: the file cannot be written.
    """
    path = (to or default).absolute()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if to is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise BadInput(
            f"the report cannot be written to {path}: {error.strerror}.",
            remedy="name another file with --to",
        ) from error
    return path
