"""Secret keys of a home folder: one random key per purpose, in ``QAFILA_HOME/keys``, mode 0600.

A key is made once and then only read, so everything that must be recognised later (a rollback
card, the head of the evidence chain, the password of the embedded Prefect server) uses the same
value in every process of this home.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from qafila import settings
from qafila.errors import BadInput, Unavailable
from qafila.whole_file import write_once

_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,40}")
_KEY = re.compile(r"[0-9a-f]{64}")


def key_path(purpose: str, home: Path | None = None) -> Path:
    """Return the file that holds the key of a purpose (``rollback-card``, ``evidence-head``, …)."""
    if not _PURPOSE.fullmatch(purpose):
        raise BadInput(f"{purpose!r} cannot name a key: use lower-case letters, digits and dashes.")
    return (settings.home() if home is None else home) / "keys" / purpose


def read_key(purpose: str, home: Path | None = None) -> str | None:
    """Return the key of a purpose, 64 hexadecimal digits, or None where none was made yet.

    Raises:
        Unavailable: the file cannot be read, or holds something else than a key.
    """
    path = key_path(purpose, home)
    try:
        value = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"the key file {path} cannot be read: {error}",
            kept="everything as it was.",
            remedy="restore the file, with mode 0600, from where you keep copies of it.",
        ) from error
    if not _KEY.fullmatch(value):
        raise Unavailable(
            f"the key file {path} does not hold a key of 64 hexadecimal digits.",
            kept="everything as it was.",
            remedy="restore the file, with mode 0600, from where you keep copies of it.",
        )
    return value


def ensure_key(purpose: str, home: Path | None = None) -> str:
    """Return the key of a purpose; make it, readable by its owner alone, where there is none.

    Two processes that ask at the same moment get the same key.
    """
    existing = read_key(purpose, home)
    if existing is not None:
        return existing
    path = key_path(purpose, home)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    write_once(path, secrets.token_hex(32) + "\n")  # else another process was first
    made = read_key(purpose, home)
    if made is None:
        raise Unavailable(f"the key file {path} disappeared while it was made.", remedy="try again")
    return made
