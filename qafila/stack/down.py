"""Stop exactly what was started, by recorded pid and start time, and leave no process behind."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass, field

import psutil

from qafila import settings
from qafila.errors import Refused
from qafila.stack import state
from qafila.stack.processes import family, marked, stop


@dataclass
class Stopped:
    """What a `down` stopped, by name, and the pids that had to be killed."""

    pieces: list[str] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    wiped: bool = False


def bring_down(*, wipe: bool = False) -> Stopped:
    """Stop every piece, flow runs and services included; data stays unless ``wipe``.

    In three waves, so that each can still speak to what it needs while it ends: first what runs
    flows and moves weights, then the servers, then the database.
    """
    report = Stopped()
    if not settings.home().is_dir():
        return report
    with state.alone("qafila down"):
        recorded = settings.stack_state()
        workers = {p: state.recorded(p) for p in ("worker", "watchdog")} | state.services()
        servers = {p: state.recorded(p) for p in ("envoy", "moto", "prefect")}
        for wave, patience_s in ((workers, 8.0), (servers, 8.0)):
            processes = []
            for name, record in wave.items():
                if record is not None and (members := family(record)):
                    report.pieces.append(name)
                    processes += members
            report.killed += stop(processes, patience_s=patience_s)
        if (mark := recorded.get("id")) and (orphans := _orphans(str(mark))):
            # Flow runs of a worker that was killed: no parent leads to them, our mark does.
            report.pieces.append("flow runs without a worker")
            report.killed += stop(orphans, patience_s=5.0)
        database = state.recorded("postgres")
        if database is not None and (process := database.process()) is not None:
            report.pieces.append("postgres")
            # SIGINT is PostgreSQL's fast shutdown: sessions are ended, everything is written.
            report.killed += stop([process], patience_s=20.0, ask=signal.SIGINT)
        state.forget_running()
    if wipe:
        _wipe()
        report.wiped = True
    return report


def _orphans(mark: str) -> list[psutil.Process]:
    database = state.recorded("postgres")
    spared = {p.pid for p in family(database)} if database is not None else set()
    return [p for p in marked(mark) if p.pid not in spared]


def _wipe() -> None:
    home = settings.home()
    if not (home / "stack.json").is_file():
        raise Refused(
            f"{home} holds no stack.json, so it may not be ours.",
            kept="the folder; nothing was deleted.",
            remedy="look at it, then delete it by hand.",
        )
    shutil.rmtree(home)
