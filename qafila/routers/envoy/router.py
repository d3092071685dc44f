"""An Envoy that watches a folder: its files are the record, its admin port acknowledges."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qafila import home_keys
from qafila.errors import BadInput, StaleEpoch, Unavailable
from qafila.routers.envoy import clusters as envoy_clusters
from qafila.routers.envoy import config as envoy_config
from qafila.routers.envoy.access_log import read_log
from qafila.routers.envoy.admin import Admin
from qafila.routers.envoy.arms import Arm, RouteSettings, as_arm, require_arms
from qafila.routers.envoy.config import Kept
from qafila.routers.envoy.files import Folder
from qafila.routers.port import Abilities, Request, RouterState, Shadowed

_POLL_S = 0.002
_ASK_S = 0.25  # longest that a write waits for an admin port that hangs
_TOKEN_KEY = "edge-probe"  # the purpose of the home's key that tokens are made with
_REFUSED_S = 0.2  # that a version still has, once Envoy has refused a file


class EnvoyRouter:
    """One Envoy edge; ``directory`` holds cds.json, lds.json, rds.json and access.jsonl."""

    def __init__(self, name: str, *, directory: str, admin_url: str, listen_url: str) -> None:
        self.directory = Path(directory)
        self.listen_url = listen_url
        self._name = name
        self._folder = Folder(self.directory)
        self._admin = Admin(name, admin_url)
        self._refused: int | None = None  # how often Envoy had refused routes before the write

    @property
    def name(self) -> str:
        return self._name

    @property
    def abilities(self) -> Abilities:
        return Abilities()

    def close(self) -> None:
        """Close the connection to the admin port."""
        self._admin.close()

    def install(
        self, baseline: Arm | str, candidate: Arm | str, settings: RouteSettings | None = None
    ) -> RouterState:
        """Write clusters, arms and routes, the candidate at weight 0; harmless while Envoy is down.

        With the same arms installed already, the weights stay as they are; routes that a former
        version of Qafila wrote are written anew with them. Clusters come before
        listeners and those before routes: a running Envoy refuses a route to a cluster that it does
        not know yet. When an arm changed, the weights fall to 0 first.

        Raises:
            BadInput: an address that Envoy cannot route to.
            Unavailable: Envoy runs and did not take the files.
        """
        first, second = as_arm(baseline), as_arm(candidate)
        settings = settings or RouteSettings()
        require_arms(first, second, settings)
        files = {
            "cds.json": envoy_clusters.clusters(first, second, settings),
            "lds.json": envoy_clusters.listeners(first, second, settings),
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._folder.locked():
            same = all(self._folder.read(name) == content for name, content in files.items())
            state, sequence, kept = self._stored()
            if same and state is not None:
                if kept.settings == settings and self._up_to_date(state, kept):
                    return state
                return self._settle(state, sequence, replace(kept, settings=settings))
            epoch = 0 if state is None else state.epoch
            version = envoy_config.version_text(epoch, sequence + 1, 0, 0)
            weightless = envoy_config.routes(version, "installed", settings)
            if state is not None:  # nobody meets a new candidate before its first weight
                self._folder.replace("rds.json", weightless)
            for name, stat, what in (
                ("cds.json", "cluster_manager.cds", "clusters"),
                ("lds.json", "listener_manager.lds", "listeners"),
            ):
                self._folder.replace(name, files[name])
                self._admin.await_version(stat, str(files[name]["version_info"]), what)
            if state is None:
                self._folder.replace("rds.json", weightless)
        return RouterState(0, epoch, version)

    def serves(
        self, baseline: Arm | str, candidate: Arm | str, settings: RouteSettings | None = None
    ) -> bool:
        """Say whether exactly these arms are installed."""
        arms = as_arm(baseline), as_arm(candidate), settings or RouteSettings()
        return self._folder.read("cds.json") == envoy_clusters.clusters(*arms) and (
            self._folder.read("lds.json") == envoy_clusters.listeners(*arms)
        )

    def candidate_percent_if_installed(self) -> int:
        """Return the candidate's weight; 0 also when nothing was installed yet."""
        state = self._stored()[0]
        return 0 if state is None else state.candidate_percent

    def read(self) -> RouterState:
        """Return the weights that the route file holds.

        Raises:
            Unavailable: nothing was installed, or the file is not ours.
        """
        return self._installed()[0]

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
        with self._folder.locked():
            state, sequence, kept = self._installed()
            if epoch < state.epoch:
                raise StaleEpoch(
                    f"router {self.name} was written by epoch {state.epoch}; epoch {epoch} is old.",
                    kept=f"the weights: {state.candidate_percent} % on the candidate.",
                )
            version = envoy_config.version_text(
                epoch, sequence + 1, candidate_percent, twin_percent, mirror_percent
            )
            counted = self._admin.shadow_counts() if mirror_percent else None
            _, self._refused = self._admin.routes(_ASK_S)
            token = self._token(epoch) if mirror_percent else None
            self._folder.replace(
                "rds.json", envoy_config.routes(version, why, kept.settings, counted, token)
            )
        return version

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Wait until Envoy itself reports ``version``; return the seconds it took.

        Raises:
            Unavailable: it did not within the time, or refused it; says what it reports instead.
        """
        started = time.monotonic()
        refused_at = None
        while True:
            reported, refused = self._admin.routes()
            waited = time.monotonic() - started
            if reported == version:
                return waited
            if refused is not None and self._refused is not None and refused > self._refused:
                refused_at = waited if refused_at is None else refused_at
            # It may have been an earlier file: ours would be taken within milliseconds.
            if refused_at is not None and waited - refused_at > _REFUSED_S:
                raise Unavailable(
                    f"router {self.name} refused {version}: Envoy goes on with "
                    f"{reported or 'no routes'}; the route names a cluster that it does not have, "
                    "or the file is not as it should be. Envoy's own log says which.",
                    kept=f"the weights of {reported or 'no version'}, as long as Envoy runs.",
                    remedy="qafila apply FILE, which writes clusters and routes again",
                )
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
        return self._admin.routes()[0]

    def software_version(self) -> str | None:
        """Return Envoy's own version, for instance ``1.40.0``; None when it does not answer."""
        return self._admin.software_version()

    def shadowed(self) -> Shadowed | None:
        """Return what the candidate did with the copies since the last write.

        None: that write asked for none, or Envoy does not answer. Envoy's counters start at 0 with
        it, so that after its restart the copies before are not counted.
        """
        state, _, kept = self._installed()
        now = self._admin.shadow_counts()
        if not state.mirror_percent or now is None:
            return None
        open_now = now.pop("active")
        before = kept.shadow_from or {}
        if any(before.get(name, 0) > count for name, count in now.items()):
            before = {}
        since = {name: count - before.get(name, 0) for name, count in now.items()}
        left_out = since["active_overflow"] + since["pending_overflow"]
        return Shadowed(
            requests=since["completed"] - left_out,
            errors=since["5xx"] - since["504"] - left_out,
            unanswered=since["504"],
            left_out=left_out,
            open=open_now,
        )

    def probe_headers(self, arm: str) -> Mapping[str, str]:
        """Return what a request of Qafila's own carries to be sent to ``arm``.

        It is heeded while copies are made, and under the epoch that makes them; users' requests
        lose both headers.
        """
        token = self._token(self.read().epoch)
        return {envoy_config.ARM_HEADER: arm, envoy_config.TOKEN_HEADER: token}

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return user requests logged after ``cursor``; None: from now.

        Probes, which name their arm, are not users and are left out; copies are not logged.
        """
        return read_log(self.directory / "access.jsonl", cursor)

    def _installed(self) -> tuple[RouterState, int, Kept]:
        state, sequence, kept = self._stored()
        if state is None:
            raise Unavailable(
                f"router {self.name} has no routes yet ({self.directory / 'rds.json'}).",
                kept="nothing was touched.",
                remedy="qafila apply FILE, with the stack up",
            )
        return state, sequence, kept

    def _stored(self) -> tuple[RouterState | None, int, Kept]:
        """Return the state, the change's number, and what is kept beside the routes."""
        content = self._folder.read("rds.json")
        if content is None or content.get("version_info") == "none":
            return None, 0, Kept()  # a new edge, without a workload behind it
        try:
            state, sequence = envoy_config.parse_version(str(content["version_info"]))
        except (KeyError, ValueError) as error:
            raise Unavailable(
                f"{self.directory / 'rds.json'} is not a file that Qafila wrote: {error}",
                kept="the file.",
                remedy="move it away, then: qafila up",
            ) from error
        return state, sequence, envoy_config.kept_beside(content)

    def _settle(self, state: RouterState, sequence: int, kept: Kept) -> RouterState:
        """Write the same weights with other settings."""
        version = envoy_config.version_text(
            state.epoch,
            sequence + 1,
            state.candidate_percent,
            state.twin_percent,
            state.mirror_percent,
        )
        token = self._token(state.epoch) if state.mirror_percent else None
        self._folder.replace(
            "rds.json",
            envoy_config.routes(version, "settings", kept.settings, kept.shadow_from, token),
        )
        return envoy_config.parse_version(version)[0]

    def _token(self, epoch: int) -> str:
        return envoy_config.probe_token(home_keys.ensure_key(_TOKEN_KEY), self.name, epoch)

    def _up_to_date(self, state: RouterState, kept: Kept) -> bool:
        """Say whether the routes are as this version writes them, whatever their reason was."""
        token = self._token(state.epoch) if state.mirror_percent else None
        content = self._folder.read("rds.json")
        as_now = envoy_config.routes(state.version, "", kept.settings, kept.shadow_from, token)
        return content is not None and _without_reason(content) == _without_reason(as_now)


def _without_reason(content: Mapping[str, Any]) -> list[Any]:
    """Return what decides where requests go: the notes beside the routes left out."""
    return [
        {**host, "routes": [{**route, "metadata": None} for route in host.get("routes", [])]}
        for resource in content.get("resources", [])
        for host in resource.get("virtual_hosts", [])
    ]
