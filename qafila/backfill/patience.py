"""Servers that go away: how they are told from those that refuse, and how long to wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psycopg

from qafila.errors import BackfillHalted, QafilaError, Unavailable
from qafila.ledger.ledger import Connection, open_ledger
from qafila.settings import ledger_url

PATIENCE_SECONDS = 120.0  # how long servers may be away before somebody gives up
PAUSE_SECONDS = 0.5  # before they are asked again
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, Unavailable)
_WENT_AWAY = ("57P01", "57P02", "57P03", "57P05")  # stopped, crashed, starting, session too idle

T = TypeVar("T")


class Outage:
    """How long servers have been away, for whoever waits for them. Not for several threads."""

    def __init__(
        self,
        workload: str,
        note: Callable[[str], None] = lambda _: None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """``note`` hears once that a server is away, and once that it is back."""
        self._workload = workload
        self._note = note
        self._patience = patience_seconds
        self._since: float | None = None

    def bear(self, error: BaseException) -> None:
        """Return when another try is worth it; ask ``PAUSE_SECONDS`` later.

        Raises:
            Unavailable: the patience is at its end.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._note(f"a server is away, waited for: {first_line(error)}")
        if now - self._since > self._patience:
            raise Unavailable(
                f"a server was away for {now - self._since:.0f} s: {first_line(error)}",
                kept="everything up to the last checkpoints.",
                remedy=f"qafila doctor; then: qafila run embedding-backfill {self._workload}",
            ) from error

    def over(self) -> None:
        """Note that the servers answer."""
        if self._since is not None:
            self._note(f"the server is back after {time.monotonic() - self._since:.0f} s")
            self._since = None


def is_away(error: BaseException | None) -> bool:
    """Say whether an error means that a server is away, not that it answered and said no.

    A full disk, a time-out or a deadlock are answers. So is a session that was not let in for its
    password, but PostgreSQL's driver does not tell that from a server that is silent.
    """
    if isinstance(error, psycopg.Error):
        state = error.sqlstate  # none: the connection itself is gone
        silent = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return silent if state is None else state in _WENT_AWAY or state.startswith("08")
    if isinstance(error, BackfillHalted):
        return isinstance(error.__cause__, psycopg.Error) and is_away(error.__cause__)
    if isinstance(error, Unavailable):
        cause = error.__cause__
        if cause is None or isinstance(cause, QafilaError):
            return False  # nothing was asked, or another process of ours is what is waited for
        return is_away(cause) if isinstance(cause, psycopg.Error) else True
    return False


def outage_error(error: BaseException, workload: str) -> QafilaError:
    """Return the error that tells an operator of a server that ``is_away`` and how to go on."""
    if isinstance(error, BackfillHalted):
        return error  # it says itself what was kept
    gone = Unavailable(
        f"a server is away: {first_line(error)}",
        kept="everything up to the last checkpoints.",
        remedy=f"qafila doctor; then: qafila run embedding-backfill {workload}",
    )
    gone.__cause__ = error if isinstance(error, psycopg.Error) else error.__cause__
    return gone


class PatientLedger:
    """A connection to the ledger that is opened anew when the server was away; for one thread.

    Use it as a context manager. What is asked of it may happen twice, when the server went away
    after it had done it and before it had said so; so ask only for what is harmless to repeat.
    """

    def __init__(self, workload: str, note: Callable[[str], None] = lambda _: None) -> None:
        """Connect at the first ``ask``; the workload is named in what the operator is told.

        Raises:
            Unavailable: no ledger is configured, and waiting would not help.
        """
        self._address = ledger_url()
        self._workload = workload
        self._note = note
        self._connection: Connection | None = None

    def __enter__(self) -> PatientLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def ask(
        self, what: Callable[[Connection], T], *, patience_seconds: float = PATIENCE_SECONDS
    ) -> T:
        """Return what ``what`` returns, called again from its start when the server was away.

        Raises:
            Unavailable: it was away for longer than the patience, in seconds.
        """
        outage = Outage(self._workload, self._note, patience_seconds)
        while True:
            try:
                if self._connection is None:
                    self._connection = open_ledger(self._address)
                done = what(self._connection)
            except AWAY as error:
                self._drop()
                outage.bear(error)
                time.sleep(PAUSE_SECONDS)
            else:
                outage.over()
                return done

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def first_line(error: BaseException) -> str:
    """Return an error in one line; of ours, what happened."""
    if isinstance(error, QafilaError):
        return error.what
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
