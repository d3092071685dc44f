"""Stop exactly what was started, by recorded pid and start time, and leave no process behind."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from qafila import settings
from qafila.errors import Refused
from qafila.stack import state
from qafila.stack.home_files import delete_home
from qafila.stack.processes import Recorded, family, marked, stop
from qafila.stack.sockets import remove_socket


@dataclass
class Stopped:
    """What a `down` stopped, the pids that had to be killed, and the files that a wipe kept."""

    pieces: list[str] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    wiped: bool = False
    kept: list[str] = field(default_factory=list)


def bring_down(*, wipe: bool = False) -> Stopped:
    """Stop every piece, flow runs and services included; data stays unless ``wipe``.

    In three waves, so that each can still speak to what it needs while it ends: first what runs
    flows and moves weights, then the servers, then the database.
    """
    report = Stopped()
    if not settings.home().is_dir():
        return report
    if wipe:
        _require_home()
    with state.alone("qafila down"):
        first = _families({p: state.recorded(p) for p in ("worker", "watchdog")} | state.services())
        servers = _families({p: state.recorded(p) for p in ("envoy", "moto", "prefect")})
        database = _families({"postgres": state.recorded("postgres")})
        if strays := _strays([first, servers, database]):
            # Flow runs of a worker that was killed: no parent leads to them, our mark does.
            first["flow runs without a worker"] = strays
        report.killed += stop(_members(first), patience_s=8.0)
        report.killed += stop(_members(servers), patience_s=8.0)
        # SIGINT is PostgreSQL's fast shutdown: it ends its own sessions and writes everything.
        postmaster = [members[0] for members in database.values()]
        report.killed += stop(postmaster, patience_s=20.0, ask=signal.SIGINT)
        report.pieces = [*first, *servers, *database]
        state.forget_running()
    if wipe:
        report.kept = _wipe()
        report.wiped = True
    return report


def _families(records: Mapping[str, Recorded | None]) -> dict[str, list[psutil.Process]]:
    """Return the live processes of every record that still runs, its own first."""
    found = {name: family(record) for name, record in records.items() if record is not None}
    return {name: members for name, members in found.items() if members}


def _members(families: Mapping[str, list[psutil.Process]]) -> list[psutil.Process]:
    return [process for members in families.values() for process in members]


def _strays(known: Sequence[Mapping[str, list[psutil.Process]]]) -> list[psutil.Process]:
    """Return processes that carry this stack's mark and belong to none of its pieces."""
    mark = settings.stack_state().get("id")
    pids = {process.pid for families in known for process in _members(families)}
    return [p for p in marked(str(mark)) if p.pid not in pids] if mark else []


def _require_home() -> None:
    """Refuse a folder in which nothing says that Qafila started a stack there."""
    home, file = settings.home(), settings.stack_file()
    try:
        told = settings.stack_state() if file.is_file() and not file.is_symlink() else {}
    except ValueError:
        told = {}
    if not (isinstance(told, dict) and isinstance(told.get("id"), str)):
        raise Refused(
            f"{home} holds no stack.json that Qafila wrote, so it may not be ours.",
            kept="the folder; nothing was stopped or deleted.",
            remedy="look at it, then delete it by hand.",
        )


def _wipe() -> list[str]:
    """Delete what Qafila made in the home; return what else is there, which is kept."""
    remove_socket(settings.home() / "envoy" / "admin", "socket")
    return [str(path) for path in delete_home(settings.home()).kept]
