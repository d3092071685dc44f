"""Write what a command was told to write to a file, and replace nothing of somebody else."""

from __future__ import annotations

from pathlib import Path

from qafila.errors import BadInput
from qafila.whole_file import write_whole

MARK = '<meta name="generator" content="Qafila">'
_HEAD = 1000  # characters within which a page of ours has its mark


def save_page(
    page: str, to: Path | None, default: Path, *, force: bool = False, option: str = "--to"
) -> Path:
    """Write a page to ``to``, else to ``default``, and return its file.

    It appears whole, or stays as it was. An existing ``to`` is replaced when it is a page that
    Qafila wrote, or with ``force``. ``option`` is what names ``to`` on the command line.

    Raises:
        BadInput: the file cannot be written, or is not a page of ours.
    """
    if to is None:
        default.parent.mkdir(parents=True, exist_ok=True)
        return _write(default, page)
    require_page_place(to, force=force)
    return _write(to, page, option)


def save_rows(text: str, to: Path, *, force: bool = False) -> Path:
    """Write rows to a file and return it; an existing file is replaced with ``force`` alone.

    Raises:
        BadInput: the file exists or cannot be written.
    """
    if not force and (to.is_symlink() or to.exists()):
        raise _exists(to, "exists")
    return _write(to, text)


def require_page_place(to: Path, *, force: bool = False) -> None:
    """Return when a page may be written to ``to``.

    Raises:
        BadInput: it is something else than a page that Qafila wrote. A link is not followed.
    """
    if force or not (to.is_symlink() or to.exists()):
        return
    if to.is_symlink() or not to.is_file() or not _is_ours(to):
        raise _exists(to, "exists, and is not a page that Qafila wrote")


def _is_ours(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8") as content:
            return MARK in content.read(_HEAD)
    except (OSError, UnicodeDecodeError):
        return False


def _exists(to: Path, what: str) -> BadInput:
    return BadInput(
        f"{to} {what}; it is left as it is.",
        remedy="name another file, or replace this one: the same command with --force",
    )


def _write(path: Path, text: str, option: str = "--to") -> Path:
    path = path.absolute()
    try:
        if path.is_symlink():  # with force: the link is replaced, not what it leads to
            path.unlink()
        write_whole(path, text)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror}.",
            remedy=f"name another file with {option}",
        ) from error
    return path
