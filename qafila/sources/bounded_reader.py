"""Read HTML and PDF in a process of its own, which may be stopped.

Their parsers are large, and a file of a few kB can keep one busy for hours or fill all memory.
The process is bounded in both; a file that breaks a bound has one reason, and the next is read by
a new process. Run as ``python -m qafila.sources.bounded_reader``, it answers one path a line with
the length of a pickle and the pickle, which only the process that started it reads.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from qafila.sources.documents import READERS, Document, Unreadable

BOUNDED = frozenset({"html", "pdf"})
_ROOT = Path(__file__).parents[2]
_MEMORY_BYTES = 2 << 30
_SECONDS = 60.0  # for any file,
_SECONDS_A_MIB = 20.0  # and more for a larger one: a long PDF takes minutes
_LENGTH = struct.Struct("<Q")
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


class BoundedReader:
    """Reads documents one after another; to be closed."""

    def __init__(
        self,
        *,
        seconds: float = _SECONDS,
        seconds_a_mib: float = _SECONDS_A_MIB,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        self._seconds = seconds
        self._seconds_a_mib = seconds_a_mib
        self._memory_bytes = memory_bytes
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> BoundedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the process."""
        self._stop()

    def read(self, kind: str, path: Path) -> Document:
        """Return the document in a file.

        Raises:
            Unreadable: it holds none, or takes more time or memory than a document may.
            OSError: the file cannot be opened.
        """
        if kind not in BOUNDED:
            return READERS[kind](path)
        seconds = self._seconds + self._seconds_a_mib * path.stat().st_size / (1 << 20)
        child = self._started()
        assert child.stdin is not None
        try:
            child.stdin.write(f"{kind} {path.absolute()}".encode().hex().encode() + b"\n")
            child.stdin.flush()
            ends = time.monotonic() + seconds
            (length,) = _LENGTH.unpack(self._take(child, _LENGTH.size, ends))
            answer = pickle.loads(self._take(child, length, ends))
        except TimeoutError as error:
            self._stop()
            raise Unreadable(f"takes more than {seconds:.0f} s to be read") from error
        except (EOFError, BrokenPipeError) as error:
            self._stop()
            raise Unreadable("stops the process that reads it") from error
        except BaseException:
            self._stop()
            raise
        if isinstance(answer, Document):
            return answer
        raise answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._memory_bytes)],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            )
        return self._child

    def _take(self, child: subprocess.Popen[bytes], size: int, ends: float) -> bytes:
        assert child.stdout is not None
        parts = []
        while size:
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise TimeoutError
            part = os.read(child.stdout.fileno(), min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()


def main() -> None:
    """Answer every path on standard input; end with it."""
    memory_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        kind, _, path = bytes.fromhex(line.decode().strip()).decode().partition(" ")
        _answer(_read(kind, Path(path), memory_bytes))


def _read(kind: str, path: Path, memory_bytes: int) -> Document | Exception:
    try:
        return READERS[kind](path)
    except (Unreadable, OSError) as error:
        error.__cause__ = None  # it may hold what no pickle takes
        return error
    except MemoryError:
        return Unreadable(f"needs more than {memory_bytes >> 20} MiB of memory to be read")
    except RecursionError:
        return Unreadable("is nested too deeply to be read")


def _answer(found: Any) -> None:
    answer = pickle.dumps(found)
    sys.stdout.buffer.write(_LENGTH.pack(len(answer)) + answer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
