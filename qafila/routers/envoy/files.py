"""The folder that an Envoy watches: one writer at a time, and files that are whole or not there.

A change is a temporary file, fsync, rename: Envoy ignores writes in place, and a file survives
a restart where a runtime change would not. The folder's lock serialises writers.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qafila.errors import Unavailable
from qafila.whole_file import write_whole

_LOCK_S = 15.0  # longer than an install, which waits for Envoy to take two files


class Folder:
    """Holds cds.json, lds.json and rds.json of one Envoy."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one writer; others wait, but not for ever.

        A writer that was stopped inside is not passed by: it could put its old file over ours when
        it goes on. A writer that died holds nothing.

        Raises:
            Unavailable: the folder is not there, or another writer does not leave it.
        """
        try:
            lock = (self.path / ".lock").open("w")
        except FileNotFoundError as error:
            raise Unavailable(
                f"the folder {self.path} of an Envoy is not there.",
                kept="nothing was written.",
                remedy="qafila up, or mount the folder",
            ) from error
        with lock:
            self._hold(lock.fileno())
            yield

    def _hold(self, lock: int) -> None:
        end = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() < end:
                    time.sleep(0.002)
                    continue
                raise Unavailable(
                    f"another process holds {self.path / '.lock'} for more than {_LOCK_S:g} s.",
                    kept="the files as they are.",
                    remedy=f"fuser -v {self.path / '.lock'} names it: end it, then the same "
                    "command again",
                ) from error
            return

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a file's content; None when it is not there.

        Raises:
            Unavailable: it is not JSON.
        """
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Unavailable(
                f"{self.path / name} is not JSON: {error}",
                kept="the file; Envoy goes on with what it read before.",
                remedy="move it away, then: qafila up",
            ) from error
        return content

    def replace(self, name: str, content: dict[str, Any]) -> None:
        """Put a whole file in the place of the old one; it is on the disk when this returns."""
        write_whole(self.path / name, json.dumps(content))
