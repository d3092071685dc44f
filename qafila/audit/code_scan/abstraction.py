"""Is a provider kept behind an abstraction of the repository's own?

Two ways count, for the hits of one kind and provider, with tests left out:

- **one door**: every file that touches the provider is one module, or lies in one package folder
  below the top, and other files of the repository import that module or folder;
- **a port**: the file that touches the provider defines a class that derives from or implements a
  type which the repository defines elsewhere. Such hits are behind it, whatever other files do.

Both are read from import lines, so code that is wired together by names in strings is not seen.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qafila.audit.code_scan.matches import Sighting
from qafila.audit.code_scan.model import Kind

_TEST = re.compile(
    r"(?:^|/)(?:tests?|testing|__tests__|spec|conftest\.py$|test_[^/]*$)"
    r"|(?:_test\.(?:py|go)|\.(?:test|spec)\.\w+|Test\.java)$"
)
_NO_PORT = re.compile(
    r"(?:Error|Exception|Warning|Config|Settings|Enum|Model|TestCase|Mixin|Dict)$"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One file that touches a provider; ``port`` says that it implements an own type."""

    file: str
    language: str
    sightings: tuple[Sighting, ...]
    port: bool


def is_test(file: str) -> bool:
    """Say whether a file is a test by where it is or how it is called."""
    return _TEST.search(file) is not None


def is_port(name: str) -> bool:
    """Say whether a type's name is one that can be a port: not an error, setting or mixin."""
    return _NO_PORT.search(name) is None


def behind(
    seen: Sequence[Seen], imports: Mapping[str, frozenset[str]]
) -> set[tuple[str, Kind, str]]:
    """Return (file, kind, provider) of what is behind an abstraction.

    ``imports`` holds, for each file of the repository, the paths it imports as its language
    writes them.
    """
    touched: defaultdict[tuple[Kind, str], list[Seen]] = defaultdict(list)
    for one in seen:
        if not is_test(one.file):
            for key in {(s.kind, s.provider) for s in one.sightings}:
                touched[key].append(one)
    kept = {(one.file, *key) for key, files in touched.items() for one in files if one.port}
    doors = {key: _door(files) for key, files in touched.items()}
    doors = {key: door for key, door in doors.items() if door is not None}
    if not doors:
        return kept
    importers = _importers({f for files in touched.values() for f in files}, imports)
    for key in doors:
        inside = {one.file for one in touched[key]}
        folder = doors[key]
        users = {
            user
            for one in inside
            for user in importers.get(one, ())
            if user not in inside and not is_test(user) and not (folder and _in(user, folder))
        }
        if users:
            kept |= {(file, *key) for file in inside}
    return kept


def _door(files: Sequence[Seen]) -> str | None:
    """Return the one folder that all files lie in, "" for a single module, None for no door."""
    if len(files) == 1:
        return ""
    folder = posixpath.commonpath([posixpath.dirname(f.file) for f in files])
    return folder if "/" in folder else None


def _in(file: str, folder: str) -> bool:
    return file.startswith(folder + "/")


def _importers(files: set[Seen], imports: Mapping[str, frozenset[str]]) -> Mapping[str, set[str]]:
    """Return for each touched file which files import it."""
    targets: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for one in files:
        for key in _keys(one.file, one.language):
            targets[one.language, key].add(one.file)
    languages = {one.language for one in files}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for user, paths in imports.items():
        for language in languages:
            for path in paths:
                for key in _asked(user, language, path):
                    for target in targets.get((language, key), ()):
                        if target != user:
                            found[target].add(user)
    return found


def _keys(file: str, language: str) -> Iterator[str]:
    """Yield what others may call a file: its path from the top, and its last parts."""
    path = posixpath.splitext(file)[0]
    if language == "go":
        path = posixpath.dirname(file)
    elif posixpath.basename(path) in ("__init__", "index"):
        path = posixpath.dirname(path)
    parts = path.split("/")
    yield path
    for at in range(1, len(parts) - 1):
        yield "/".join(parts[at:])
    if language == "go" and len(parts) > 1:
        yield parts[-1]


def _asked(user: str, language: str, path: str) -> Iterator[str]:
    """Yield the keys that an import may mean."""
    if language == "python":
        dotted = path
        if path.startswith("."):
            name = path.lstrip(".")
            folder = posixpath.dirname(user)
            for _ in range(len(path) - len(name) - 1):
                folder = posixpath.dirname(folder)
            dotted = ".".join(filter(None, (folder.replace("/", "."), name)))
        parts = dotted.split(".")
        yield from ("/".join(parts[:end]) for end in range(len(parts), max(0, len(parts) - 2), -1))
    elif language == "javascript":
        if path.startswith("."):
            whole = posixpath.normpath(posixpath.join(posixpath.dirname(user), path))
        else:
            whole = path.removeprefix("@/").removeprefix("~/")
        yield whole
        yield posixpath.splitext(whole)[0]
    elif language == "java":
        yield path.replace(".", "/")
    else:
        parts = path.split("/")
        yield from ("/".join(parts[at:]) for at in range(1, len(parts)))
