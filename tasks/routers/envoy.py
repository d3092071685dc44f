"""An Envoy that watches a folder: its files are the record, its admin port acknowledges.

A change is a temporary file, fsync, rename: Envoy ignores writes in place, and a file survives
a restart where a runtime change would not. The folder's lock serialises writers.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from qafila.errors import BadInput, StaleEpoch, Unavailable
from tasks.routers import envoy_config
from tasks.routers.access_log import read_log
from tasks.routers.port import Abilities, Request, RouterState

_POLL_S = 0.004


class EnvoyRouter:
    """One Envoy edge; ``directory`` holds cds.json, rds.json and access.jsonl."""

    def __init__(self, name: str, *, directory: str, admin_url: str, listen_url: str) -> None:
        self.directory = Path(directory)
        self.listen_url = listen_url
        self._name = name
        self._admin = httpx.Client(base_url=admin_url, timeout=2.0, trust_env=False)

    @property
    def name(self) -> str:
        return self._name

    @property
    def abilities(self) -> Abilities:
        return Abilities()

    def close(self) -> None:
        """Close the connection to the admin port."""
        self._admin.close()

    def install(self, baseline_url: str, candidate_url: str) -> RouterState:
        """Write clusters and routes, the candidate at weight 0; harmless while Envoy is down.

        With the same addresses installed already, the weights stay as they are. Clusters come
        before routes: a running Envoy refuses a route to a cluster that it does not know yet.
        When an address changed, the weights fall to 0 first.

        Raises:
            BadInput: an address that Envoy cannot route to.
            Unavailable: Envoy runs and did not take the clusters.
        """
        wanted = envoy_config.clusters(baseline_url, candidate_url)
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            now = self._read_json("cds.json")
            state, sequence = self._stored()
            if now == wanted and state is not None:
                return state
            epoch = 0 if state is None else state.epoch
            version = envoy_config.version_text(epoch, sequence + 1, 0, 0)
            weightless = envoy_config.routes(version, "installed")
            if state is not None:  # nobody meets a new candidate before its first weight
                self._replace("rds.json", weightless)
            self._replace("cds.json", wanted)
            self._await_clusters(str(wanted["version_info"]))
            if state is None:
                self._replace("rds.json", weightless)
        return RouterState(0, epoch, version)

    def serves(self, baseline_url: str, candidate_url: str) -> bool:
        """Say whether exactly these addresses are installed."""
        return self._read_json("cds.json") == envoy_config.clusters(baseline_url, candidate_url)

    def candidate_percent_if_installed(self) -> int:
        """Return the candidate's weight; 0 also when nothing was installed yet."""
        state, _ = self._stored()
        return 0 if state is None else state.candidate_percent

    def read(self) -> RouterState:
        """Return the weights that the route file holds.

        Raises:
            Unavailable: nothing was installed, or the file is not ours.
        """
        state, _ = self._stored()
        if state is None:
            raise Unavailable(
                f"router {self.name} has no routes yet ({self.directory / 'rds.json'}).",
                kept="nothing was touched.",
                remedy="qafila apply FILE, with the stack up",
            )
        return state

    def write(
        self,
        candidate_percent: int,
        *,
        epoch: int,
        why: str,
        twin_percent: int = 0,
        mirror_percent: int = 0,
    ) -> str:
        """Replace the route file; return the version to wait for.

        Raises:
            BadInput: a weight outside 0 … 100, or candidate and twin at once.
            StaleEpoch: a newer epoch has written already.
            Unavailable: nothing was installed.
        """
        problem = envoy_config.weight_problem(candidate_percent, twin_percent, mirror_percent)
        if problem is not None:
            raise BadInput(problem)
        with self._locked():
            state, (_, sequence) = self.read(), self._stored()
            if epoch < state.epoch:
                raise StaleEpoch(
                    f"router {self.name} was written by epoch {state.epoch}; epoch {epoch} is old.",
                    kept=f"the weights: {state.candidate_percent} % on the candidate.",
                )
            version = envoy_config.version_text(
                epoch, sequence + 1, candidate_percent, twin_percent, mirror_percent
            )
            self._replace("rds.json", envoy_config.routes(version, why))
        return version

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Wait until Envoy itself reports ``version``; return the seconds it took.

        Raises:
            Unavailable: it did not within the time; says what it reports instead.
        """
        started = time.monotonic()
        while True:
            reported = self.reported_version()
            waited = time.monotonic() - started
            if reported == version:
                return waited
            if waited > timeout_s:
                raise Unavailable(
                    f"router {self.name} did not take {version} within {timeout_s:g} s; "
                    f"it reports {reported or 'nothing'}.",
                    kept="the route file holds the new weights; Envoy reads it when it starts.",
                    remedy="qafila doctor",
                )
            time.sleep(_POLL_S)

    def reported(self) -> RouterState | None:
        """Return the weights of the routes that Envoy is using; None when it does not say."""
        version = self.reported_version()
        try:
            return None if version is None else envoy_config.parse_version(version)[0]
        except ValueError:
            return None

    def reported_version(self) -> str | None:
        """Return the version of the routes that Envoy is using; None when it does not answer."""
        try:
            reply = self._admin.get("/config_dump", params={"resource": "dynamic_route_configs"})
            entries = reply.json().get("configs", [])
        except (httpx.HTTPError, ValueError):
            return None
        return next((str(e["version_info"]) for e in entries if "version_info" in e), None)

    def software_version(self) -> str | None:
        """Return Envoy's own version, for instance ``1.40.0``; None when it does not answer."""
        try:
            text = str(self._admin.get("/server_info").json()["version"])
        except (httpx.HTTPError, ValueError, KeyError):
            return None
        parts = text.split("/")
        return parts[1] if len(parts) > 1 else text

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return user requests logged after ``cursor`` (a byte position); None: from now.

        Probes, which name their arm, are not users and are left out.
        """
        return read_log(self.directory / "access.jsonl", cursor)

    # -- files ---------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _stored(self) -> tuple[RouterState | None, int]:
        content = self._read_json("rds.json")
        if content is None or content.get("version_info") == "none":
            return None, 0  # a new edge, without a workload behind it
        try:
            return envoy_config.parse_version(str(content["version_info"]))
        except (KeyError, ValueError) as error:
            raise Unavailable(
                f"{self.directory / 'rds.json'} is not a file that Qafila wrote: {error}",
                kept="the file.",
                remedy="move it away, then: qafila up",
            ) from error

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads((self.directory / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Unavailable(
                f"{self.directory / name} is not JSON: {error}",
                kept="the file; Envoy goes on with what it read before.",
                remedy="move it away, then: qafila up",
            ) from error
        return content

    def _replace(self, name: str, content: dict[str, Any]) -> None:
        temporary = self.directory / f".{name}.{os.getpid()}"
        with temporary.open("w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.directory / name)
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _await_clusters(self, version: str, timeout_s: float = 5.0) -> None:
        """Wait for a running Envoy to take the clusters; return at once when none runs."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                text = self._admin.get(
                    "/stats", params={"filter": "^cluster_manager.cds.version_text$"}
                ).text
            except httpx.TransportError:
                return
            if version in text:
                return
            if time.monotonic() > end:
                raise Unavailable(
                    f"router {self.name} did not take its clusters within {timeout_s:g} s.",
                    kept="the routes.",
                    remedy="qafila doctor",
                )
            time.sleep(_POLL_S)
