"""Open what was observed: plain or gzip, read in pieces, and say where reading had to end."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qafila.audit.estate import Outcome, worst_outcome
from qafila.errors import BadInput

_GZIP = b"\x1f\x8b"
_NAMED = 5


class CutShort(Exception):
    """A file ends in the middle of its compression, or its compression is broken."""


@contextmanager
def opened(path: Path) -> Iterator[io.TextIOBase]:
    """Open a file as text; bytes that are not UTF-8 become the replacement character."""
    with path.open("rb") as raw:
        packed = raw.peek(2)[:2] == _GZIP
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")


def read_some(stream: io.TextIOBase, size: int) -> str:
    """Return the next characters.

    Raises:
        CutShort: the compression is broken here.
    """
    try:
        return stream.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CutShort(str(error)) from error


def lines(stream: io.TextIOBase, longest: int = 1 << 16) -> Iterator[str]:
    """Yield each line without its end; of one that is longer than ``longest``, pieces.

    Raises:
        CutShort: the compression is broken here.
    """
    try:
        while line := stream.readline(longest):
            yield line.rstrip("\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CutShort(str(error)) from error


@dataclass
class Gaps:
    """What could not be read, counted and named, and how far reading came with it."""

    bad: int = 0
    examples: list[str] = field(default_factory=list)
    noted: list[tuple[Outcome, str]] = field(default_factory=list)

    def wrong(self, path: Path, line: int, why: str) -> None:
        """Count one record that is not readable; the first five are named."""
        self.bad += 1
        if len(self.examples) < _NAMED:
            self.examples.append(f"{path.name} line {line}: {why}")

    def note(self, outcome: Outcome, what: str) -> None:
        """Note what is missing as a whole."""
        self.noted.append((outcome, what))

    @property
    def outcome(self) -> Outcome:
        """Return the worst of what was noted; a bad record makes a reading truncated."""
        bad = [Outcome.TRUNCATED] if self.bad else []
        return worst_outcome([*bad, *(outcome for outcome, _ in self.noted)])

    @property
    def missed(self) -> str:
        """Return all of it as one text; "" when nothing was missed."""
        said = [what for _, what in self.noted]
        if self.bad:
            more = "" if self.bad <= len(self.examples) else ", and more"
            count = "1 record" if self.bad == 1 else f"{self.bad:,} records"
            said.append(f"{count} not readable: {'; '.join(self.examples)}{more}")
        return "; ".join(said)


def files(paths: Sequence[Path | str], what: str) -> list[Path]:
    """Return the files, each once.

    Raises:
        BadInput: a path is no file, or there is none; names every one.
    """
    found = list(dict.fromkeys(Path(p) for p in paths))
    problems = [
        f"{path} is a folder: name its files" if path.is_dir() else f"{path} is not there"
        for path in found
        if not path.is_file()
    ]
    if not found:
        problems = ["no file was given"]
    if problems:
        raise BadInput(
            f"these {what} cannot be read:",
            problems,
            remedy="give paths of files that are there, or leave them out",
        )
    return found
