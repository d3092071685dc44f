"""Write a file so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: str) -> None:
    """Replace a file at once; it is on the disk when this returns.

    The content goes to another name in the same folder, which must exist, then takes the place of
    the old file, whose mode it keeps. A new file has the mode that the umask leaves.

    Raises:
        OSError: the folder does not exist or the file cannot be written; the old file is as it was.
    """
    draft = _draft(path, content, 0o666)
    try:
        with suppress(FileNotFoundError):
            draft.chmod(stat.S_IMODE(path.stat().st_mode))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_once(path: Path, content: str) -> bool:
    """Write a file that only its owner can read, unless it exists; return whether this wrote it.

    Of several processes that write the same file at the same moment, one does.

    Raises:
        OSError: the folder does not exist or the file cannot be written.
    """
    draft = _draft(path, content, 0o600)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _draft(path: Path, content: str, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
