"""Whether a place for a bundle is free, or holds nothing but an unchanged bundle of ours."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

from qafila.errors import BadInput

MANIFEST = "MANIFEST.json"
_OURS = frozenset({"format", "workload", "rollout", "written_at", "qafila", "chain", "files"})


def foreign_in_folder(folder: Path) -> list[str]:
    """Return every entry of a folder that is not of a bundle of ours as it was written.

    A link is never followed: it is an entry that is not ours.
    """
    entries = sorted(folder.iterdir())
    plain = {e.name: e for e in entries if e.is_file() and not e.is_symlink()}
    known = _known(plain.keys(), lambda name: plain[name].read_bytes())
    return [e.name for e in entries if e.name not in known]


def foreign_in_zip(file: Path) -> list[str]:
    """Return every entry that is not of a bundle of ours; the name of a file that is no zip."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            known = _known(names, archive.read)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return [file.name]
    return [name for name in names if name not in known] if names else [file.name]


def require_place(path: Path, zipped: bool, workload: str) -> None:
    """Return when a bundle may be written here.

    Raises:
        BadInput: something else is here; names it.
    """
    if path.is_symlink():
        problem = f"{path} is a link, which is not followed"
    elif zipped and path.is_dir():
        problem = f"{path} is a folder; a name that ends in .zip is to be a file"
    elif not zipped and path.exists() and not path.is_dir():
        problem = f"{path} is a file; name a folder, or a file that ends in .zip"
    elif path.exists() and (foreign := _foreign(path)):
        shown = ", ".join(foreign[:20]) + (f" and {len(foreign) - 20} more" * (len(foreign) > 20))
        problem = (
            f"{path} holds something that is no bundle, or was changed since it was written: "
            f"{shown}; it is left as it is"
        )
    else:
        return
    raise BadInput(
        f"the bundle cannot be written: {problem}.",
        remedy=f"qafila evidence export {workload} --to ANOTHER",
    )


def _foreign(path: Path) -> list[str]:
    return foreign_in_folder(path) if path.is_dir() else foreign_in_zip(path)


def _known(names: Collection[str], read: Callable[[str], bytes]) -> set[str]:
    """Return the names that the manifest among them tells of, with the digests that it tells."""
    if MANIFEST not in names:
        return set()
    try:
        manifest = json.loads(read(MANIFEST))
        if not (isinstance(manifest, dict) and manifest.keys() >= _OURS):
            return set()
        files = {str(name): str(told["sha256"]) for name, told in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    return {MANIFEST} | {
        name
        for name, digest in files.items()
        if name in names and hashlib.sha256(read(name)).hexdigest() == digest
    }
