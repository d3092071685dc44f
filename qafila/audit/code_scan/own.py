"""Which module paths are the repository's own: what it imports of itself is no lock-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_ROOTS = frozenset({"src", "lib", "python", "java", "packages", "libs"})  # of sources


def is_source_root(folder: str) -> bool:
    """Say whether a folder holds packages and is none: by a usual name, or one no package has."""
    return folder in _ROOTS or not folder.isidentifier()


@dataclass(frozen=True, slots=True)
class Own:
    """Which module paths are the repository's own code, seen from one file.

    ``package`` is the topmost package that the file is in, with the namespaces around it (a file in
    ``google/adk/`` shares ``google`` with others), ``beside`` the modules in the folder of a
    script and the other packages of the repository, and ``folders`` the folders the file is in,
    from the top: a file in ``src/google/cloud/storage/`` is that SDK, and its imports of itself are
    no lock-in.
    """

    package: str = ""
    beside: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()

    def contains(self, path: str) -> bool:
        """Say whether a path is the package that the file is in, or below it."""
        return bool(self.package) and f"{path}.".startswith(f"{self.package}.")

    def holds(self, prefix: str, path: str) -> bool:
        """Say whether an imported path, and the rule's path it begins with, mean own code here."""
        if self.contains(path):
            return True
        if self.beside and any(begun in self.beside for begun in _beginnings(path)):
            return True
        parts = tuple(prefix.split("."))
        return len(parts) > 1 and any(
            self.folders[n : n + len(parts)] == parts
            for n in range(len(self.folders))
            if n == 0 or is_source_root(self.folders[n - 1])
        )


def _beginnings(path: str) -> Iterator[str]:
    yield path
    while "." in path:
        path = path[: path.rfind(".")]
        yield path
