"""What our sessions in PostgreSQL are called, so that pg_stat_activity tells who they are for.

A name is made of fixed words, numbers and a workload's name, never of an address: ``qafila load g2
w1 docs``, ``qafila index g2 docs``, ``qafila ledger live-sync docs``. It goes to libpq as
``fallback_application_name``: what the operator put into the address (``application_name``) or
into the variable PGAPPNAME stays as he wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

MOST_BYTES = 63  # PostgreSQL's NAMEDATALEN - 1; it cuts off what is longer
LEDGER = "ledger"
_OURS = "qafila"
_NO_WORD = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class Work:
    """What sessions are opened for; ``worker`` is the number of a load's worker, from 1."""

    what: str = ""
    workload: str = ""
    generation: int | None = None
    worker: int | None = None


_of_process = Work()
_here: ContextVar[Work | None] = ContextVar("work", default=None)


def name_process(what: str) -> None:
    """Say what this process is for, where nothing closer is said: the command that it runs."""
    global _of_process
    _of_process = Work(what)


@contextmanager
def working_on(
    what: str,
    *,
    workload: str | None = None,
    generation: int | None = None,
    worker: int | None = None,
) -> Iterator[None]:
    """Name the sessions that are opened in the block; the workload of the block around it stays.

    A thread that is begun inside knows of it when it runs in ``contextvars.copy_context()``.
    """
    around = _here.get() or _of_process
    now = replace(
        around,
        what=what,
        generation=generation,
        worker=worker,
        workload=around.workload if workload is None else workload,
    )
    token = _here.set(now)
    try:
        yield
    finally:
        _here.reset(token)


def session_name(room: str = "") -> str:
    """Return the name of a session that is opened now, at most 63 bytes of ASCII.

    ``room`` is ``LEDGER`` for the ledger, empty for a workload's source or target.
    """
    work = _here.get() or _of_process
    words = [_OURS, room, work.what]
    if work.generation is not None:
        words.append(f"g{work.generation}")
    if work.worker is not None:
        words.append(f"w{work.worker}")
    words.append(work.workload)  # last: what does not fit is cut off here
    plain = (_NO_WORD.sub("-", word.lower()) for word in words)
    return " ".join(word for word in plain if word)[:MOST_BYTES].rstrip()
