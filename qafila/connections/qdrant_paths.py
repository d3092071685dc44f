"""Paths of payload fields as Qdrant writes them: what it would not take bare is put in quotes."""

from __future__ import annotations

import re

from qafila.errors import Refused

_BARE = re.compile(r"[A-Za-z0-9_-]+")  # what Qdrant takes in a path without quotes, and more
_IN_NO_PATH = '"\\'  # between its quotes Qdrant takes neither, and it has no escape for them
OTHER_NAME = "write the field under another name into the payloads, or name another one"


def why_unsayable(name: str) -> str | None:
    """Return why no path of Qdrant's can have a name in it, as the end of a sentence; or None.

    Source: qdrant, lib/segment/src/json_path/parse.rs, ``quoted_str``.
    """
    held = [c for c in _IN_NO_PATH if c in name]
    if not held:
        return None
    return f"Qdrant has no way to write {' or '.join(held)} in the path of a payload field"


def quoted(name: str) -> str:
    """Return one step of a path into the payload: a dot in a name is no step deeper.

    Raises:
        Refused: no path can have this name in it.
    """
    if why := why_unsayable(name):
        raise Refused(
            f"there is no asking for the field {name!r}: {why}.",
            kept="nothing was changed.",
            remedy=f"{OTHER_NAME}.",
        )
    return name if _BARE.fullmatch(name) else f'"{name}"'
