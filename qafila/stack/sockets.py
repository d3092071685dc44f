"""A place for a Unix socket that its owner alone can reach, short enough for the kernel."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from qafila.errors import BadInput

LONGEST = 107  # bytes of a socket's path: sockaddr_un holds 108 with the closing zero


def private_socket(folder: Path, name: str) -> Path:
    """Make ``folder``, 0700, and return the path of a socket in it.

    Where that path is too long for a socket, a short folder of this user in the temporary
    directory stands in; the same for the same ``folder`` each time.

    Raises:
        BadInput: the folder belongs to somebody else, or the temporary directory's own path is
            too long.
    """
    wanted = folder / name
    if len(os.fsencode(wanted)) > LONGEST:
        folder = _stand_in(folder)
        wanted = folder / name
        if len(os.fsencode(wanted)) > LONGEST:
            raise BadInput(
                f"no socket can be made: {wanted} is longer than {LONGEST} bytes.",
                remedy="set QAFILA_HOME or TMPDIR to a folder with a shorter path.",
            )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BadInput(
            f"{folder} belongs to somebody else or is no folder, so no socket is put there.",
            remedy="look at it and remove it, or set TMPDIR to a folder of yours.",
        )
    folder.chmod(0o700)
    return wanted


def remove_socket(folder: Path, name: str) -> None:
    """Remove the socket of ``private_socket`` and its folder, unless something else is in it."""
    for place in (folder, _stand_in(folder)):
        if place.is_dir() and not place.is_symlink() and place.stat().st_uid == os.getuid():
            (place / name).unlink(missing_ok=True)
            with suppress(OSError):
                place.rmdir()


def _stand_in(folder: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"qafila-{os.getuid()}-{digest}"
