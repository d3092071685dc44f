"""Start what is missing, in an order that keeps two cores busy, and wait until all of it is ready.

The Prefect server takes longest, so it starts first; PostgreSQL, Envoy and moto start meanwhile.
Every process is recorded as soon as it exists: a start that dies half-way is stopped by
`qafila down` and completed by the next `qafila up`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from qafila import settings
from qafila.connections.envoy import SOCKET_SCHEME
from qafila.errors import BadInput, Unavailable
from qafila.home_keys import ensure_key
from qafila.session_name import session_name
from qafila.sql import apply_schema
from qafila.stack import envoy, ground, moto, ports, postgres, prefect, state
from qafila.stack.environment import bare_environment, environment, root, server_environment
from qafila.stack.prefect_access import choose_login, recorded_login
from qafila.stack.processes import MARK, Recorded, family, launch, marked, stop
from qafila.stack.sockets import private_socket

READY_S = 180.0  # a dead process is noticed at once; this is for a busy machine
WATCHDOG = (sys.executable, "-m", "qafila.cli", "watchdog")
REGISTER = (sys.executable, "-m", "qafila.cli.registering")
HOME_KEYS = ("rollback-card", "connection-bindings")  # made before anything needs them
DATABASES = {
    "ledger_url": "qafila_ledger",
    "source_url": "demo_source",
    "target_url": "demo_target",
}


@dataclass
class Report:
    """What an `up` found running, what it started, and how long it took until all was ready."""

    started: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    registered: bool = False
    seconds: float = 0.0
    ui_url: str = ""


def bring_up(digest: str, tell: Callable[[str], None] = lambda _line: None) -> Report:
    """Start every missing piece and wait until all are ready; safe to call at any time.

    ``digest`` names the deployments as they are in the checkout; they are registered again only
    when it, an address, or the server's memory of them changed. ``tell`` gets a line a step.

    Raises:
        BadInput: ports, disk, Python or home forbid the start; nothing was started.
        Unavailable: a piece did not become ready; names its log.
    """
    begun = time.monotonic()
    home = settings.home()
    found = ground.problems(home, root())
    choice = ports.choose(settings.stack_state().get("ports", {}), _running_ports())
    if problems := [
        *found,
        *postgres.problems(home / "postgres"),
        *choice.problems,
        *_open_server(),
    ]:
        raise BadInput("the stack cannot start.", problems, remedy="mend these, then: qafila up")
    ground.make_private(home)
    with state.alone("qafila up"):
        report = _Start(home, choice.ports, tell).run(digest)
    report.seconds = round(time.monotonic() - begun, 2)
    return report


def _open_server() -> list[str]:
    """Return the problem of a server that runs without a password: one of an earlier release."""
    process = state.recorded("prefect")
    if process is None or not process.alive or settings.stack_state()["prefect"].get("auth"):
        return []
    return [
        "the Prefect server that runs was started by an earlier release and asks for no password; "
        "stop it with its runs: qafila down"
    ]


def _running_ports() -> dict[str, int]:
    """Return the ports of the pieces that run now."""
    recorded = settings.stack_state()
    running = {}
    for piece, names in {
        "prefect": ("prefect",),
        "moto": ("moto",),
        "envoy": ("edge",),
    }.items():
        if (process := state.recorded(piece)) is not None and process.alive:
            running.update({name: int(recorded["ports"][name]) for name in names})
    return running


class _Start:
    """One run of `up`: the choices made, and what was started so far."""

    def __init__(self, home: Path, chosen: Mapping[str, int], tell: Callable[[str], None]) -> None:
        self.home = home
        self.ports = dict(chosen)
        self.tell = tell
        self.report = Report()
        self.api = prefect.api_url(self.ports["prefect"])
        process = state.recorded("prefect")
        runs = process is not None and process.alive
        self.login = (recorded_login() if runs else None) or choose_login()
        self.mark = state.mark()
        self.env = environment(self.api, self.mark, self.login)
        state.record("ports", self.ports)

    def run(self, digest: str) -> Report:
        for purpose in HOME_KEYS:
            ensure_key(purpose, self.home)
        self._leave_an_old_server()
        self._prefect()
        self._envoy()
        self._moto()
        self._postgres()
        registering = self._start_registering(digest)
        try:
            self._wait("prefect", lambda: prefect.healthy(self.api))
            prefect.ensure_pool(self.api)
            self._worker()
            self._watchdog()
            if registering is None and self._forgotten_by_server():
                registering = self._start_registering("")
            section = settings.stack_state()
            self._wait("envoy", lambda: envoy.healthy(section["envoy"]["admin_url"]))
            self._wait("moto", lambda: moto.healthy(section["moto"]["url"]))
            self._wait("worker", self._worker_heard)
            if registering is not None:
                self._finish_registering(registering, digest)
        finally:
            if registering is not None and registering.poll() is None:
                registering.kill()
                registering.wait()
        self.report.ui_url = section["prefect"]["ui_url"]
        return self.report

    def _prefect(self) -> None:
        facts = {
            "port": self.ports["prefect"],
            "api_url": self.api,
            "ui_url": self.api.removesuffix("/api"),
            "auth": self.login.origin,
        }
        self._piece(
            "prefect",
            prefect.server_command(self.ports["prefect"]),
            facts,
            env=server_environment(self.api, self.mark, self.login),
        )

    def _envoy(self) -> None:
        directory = self.home / "envoy"
        port = self.ports["edge"]
        if self._runs("envoy"):
            return  # its files are in use
        admin = private_socket(directory / "admin", "socket")
        bootstrap = envoy.prepare(directory, port=port, admin=admin)
        facts = {
            "listen_url": f"http://127.0.0.1:{port}",
            "admin_url": f"{SOCKET_SCHEME}{admin}",
            "directory": str(directory),
        }
        self._piece("envoy", envoy.command(bootstrap), facts)

    def _postgres(self) -> None:
        runs = self._runs("postgres")
        try:
            server = postgres.start(self.home / "postgres")
        except (OSError, subprocess.SubprocessError) as error:
            log = self.home / "postgres" / "log"
            raise Unavailable(
                f"PostgreSQL did not start: {_last_line(log)}",
                kept="the pieces that run go on running; the data folder is as it was.",
                remedy=f"read {log}, then: qafila up",
            ) from error
        urls = {key: postgres.ensure_database(server, name) for key, name in DATABASES.items()}
        state.record("postgres", {**Recorded.of(server.pid).section(), **urls})
        with psycopg.connect(
            urls["ledger_url"], fallback_application_name=session_name()
        ) as connection:
            apply_schema(connection, "ledger")
        with psycopg.connect(
            urls["target_url"], fallback_application_name=session_name()
        ) as connection:
            apply_schema(connection, "target")
        if not runs:
            self.report.started.append("postgres")
            self.tell("postgres ready")

    def _moto(self) -> None:
        port = self.ports["moto"]
        self._piece("moto", moto.command(port), {"port": port, "url": f"http://127.0.0.1:{port}"})

    def _leave_an_old_server(self) -> None:
        """Stop a worker that speaks to a server address which is no longer ours."""
        section = settings.stack_state().get("worker", {})
        record = Recorded.read(section)
        if record is not None and section.get("api_url") not in (None, self.api):
            stop(family(record), patience_s=5)

    def _worker(self) -> None:
        record = state.recorded("worker")
        if record is None or not record.alive:
            self._leave_no_orphans()
        self._piece(
            "worker",
            prefect.worker_command(),
            {"api_url": self.api},
            env={**self.env, **prefect.WORKER_VARIABLES},
        )

    def _leave_no_orphans(self) -> None:
        """End the flow runs of a worker that is gone, so that nothing looks alive and is not.

        What they had done stands in the ledger; started again, they go on there.
        """
        runs = [p for p in marked(state.mark()) if prefect.is_flow_run(p.cmdline())]
        stop(runs, patience_s=2.0)
        ended = prefect.end_orphans(self.api)
        if ended:
            self.tell(f"{ended} runs had lost their worker; start them again")

    def _watchdog(self) -> None:
        self._piece("watchdog", list(WATCHDOG), {}, env=self.env)

    def _worker_heard(self) -> bool:
        """Say whether the worker of *this* record was heard, not an earlier one of its name."""
        record = state.recorded("worker")
        age_s = prefect.worker_age_s(self.api, time.time())
        return record is not None and age_s is not None and time.time() - age_s > record.started

    def _facts_to_register(self, digest: str) -> dict[str, Any]:
        recorded = settings.stack_state()
        addresses = [recorded["postgres"][key] for key in DATABASES]
        addresses += [recorded["envoy"]["admin_url"], recorded["moto"]["url"]]
        return {"digest": digest, "addresses": addresses}

    def _start_registering(self, digest: str) -> subprocess.Popen[bytes] | None:
        """Start registering, unless all of it is as recorded; it waits for the server itself."""
        known = settings.stack_state().get("registered", {})
        if all(known.get(k) == v for k, v in self._facts_to_register(digest).items()):
            return None
        with self._log("registering").open("wb") as output:
            return subprocess.Popen(
                REGISTER, stdout=output, stderr=subprocess.STDOUT, env=self.env, cwd=root()
            )

    def _forgotten_by_server(self) -> bool:
        known = settings.stack_state().get("registered", {}).get("deployments", [])
        return not set(known) <= prefect.deployments(self.api)

    def _finish_registering(self, registering: subprocess.Popen[bytes], digest: str) -> None:
        log = self._log("registering")
        try:
            code = registering.wait(READY_S)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            raise Unavailable(
                f"the deployments and connections were not registered: {_last_line(log)}",
                kept="the pieces that run go on running.",
                remedy=f"read {log}, mend it, then: qafila up",
            )
        names = sorted(prefect.declared(root() / "prefect.yaml"))
        if missing := sorted(set(names) - prefect.deployments(self.api)):
            raise Unavailable(
                f"Prefect did not register {', '.join(missing)}.",
                kept="the pieces that run go on running.",
                remedy=f"read {self._log('registering')}, mend it, then: qafila up",
            )
        state.record("registered", {**self._facts_to_register(digest), "deployments": names})
        self.report.registered = True
        self.tell(f"registered: the demo's connections and {', '.join(names)}")

    def _log(self, piece: str) -> Path:
        log = self.home / "logs" / f"{piece}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return log

    def _runs(self, piece: str) -> bool:
        record = state.recorded(piece)
        if record is None or not record.alive:
            return False
        self.report.found.append(piece)
        return True

    def _piece(
        self,
        piece: str,
        command: list[str],
        facts: Mapping[str, Any],
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start a piece, unless it runs already; without ``env`` it gets no secret."""
        if self._runs(piece):
            return
        record = launch(
            command,
            log=self._log(piece),
            env=bare_environment(**{MARK: self.mark}) if env is None else env,
            cwd=root(),
        )
        state.record(piece, {**record.section(), **facts})
        self.report.started.append(piece)

    def _wait(self, piece: str, ready: Callable[[], bool]) -> None:
        record = state.recorded(piece)
        deadline = time.monotonic() + READY_S
        while not ready():
            log = self._log(piece)
            ended = record is None or not record.alive
            if ended or time.monotonic() > deadline:
                how = "ended at once" if ended else f"was not ready after {READY_S:.0f} s"
                raise Unavailable(
                    f"{piece} {how}: {_last_line(log)}",
                    kept="the pieces that run go on running.",
                    remedy=f"read {log}, then: qafila down && qafila up",
                )
            time.sleep(0.1)
        if piece in self.report.started:
            self.tell(f"{piece} ready")


def _last_line(log: Path) -> str:
    """Return the line of a log that says most: its last error, else its last words."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return "it wrote no log."
    said = [line for line in lines if any(c.isalnum() for c in line)]
    errors = [line for line in said if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or said or ["its log is empty."])[-1]
