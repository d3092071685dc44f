"""The true fake: the same contract as Envoy, in memory, for tests of what is above a router."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence

from qafila.errors import BadInput, StaleEpoch, Unavailable
from qafila.routers.envoy.config import version_text, weight_problem
from qafila.routers.port import Abilities, Request, RouterState, Shadowed


class MemoryRouter:
    """Splits by the hash of a key and keeps its own log; ``send`` plays one user request."""

    def __init__(self, name: str = "memory") -> None:
        self.candidate_fails = False
        self._name = name
        self._state = RouterState(0, 0, version_text(0, 1, 0, 0))
        self._shadowed: Shadowed | None = None
        self._sequence = 1
        self._log: list[Request] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def abilities(self) -> Abilities:
        return Abilities()

    @property
    def listen_url(self) -> str:
        return "memory:"

    def close(self) -> None:
        pass

    def software_version(self) -> str | None:
        return "1"

    def read(self) -> RouterState:
        return self._state

    def write(
        self,
        candidate_percent: int,
        *,
        epoch: int,
        why: str,
        twin_percent: int = 0,
        mirror_percent: int = 0,
    ) -> str:
        problem = weight_problem(candidate_percent, twin_percent, mirror_percent)
        if problem is not None:
            raise BadInput(problem)
        if epoch < self._state.epoch:
            raise StaleEpoch(f"epoch {epoch} is older than {self._state.epoch}.")
        self._sequence += 1
        version = version_text(
            epoch, self._sequence, candidate_percent, twin_percent, mirror_percent
        )
        self._state = RouterState(candidate_percent, epoch, version, twin_percent, mirror_percent)
        self._shadowed = Shadowed(0, 0, 0) if mirror_percent else None
        return version

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        if version != self._state.version:
            raise Unavailable(f"{self._name} reports {self._state.version}, not {version}.")
        return 0.0

    def shadowed(self) -> Shadowed | None:
        return self._shadowed

    def probe_headers(self, arm: str) -> Mapping[str, str]:
        return {}

    def reported(self) -> RouterState | None:
        return self._state

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        return ([] if cursor is None else self._log[cursor:]), len(self._log)

    def arm_of(self, key: str) -> str:
        """Return the arm that the present weights send a key to."""
        place = self._place(key)
        if place < self._state.candidate_percent * 100:
            return "candidate"
        return "twin" if place < self._state.twin_percent * 100 else "baseline"

    def send(self, key: str, *, latency_ms: float = 1.0, results: int = 3) -> Request:
        """Play one idempotent user request; a failing candidate is retried at the baseline."""
        arm = self.arm_of(key)
        retried = arm == "candidate" and self.candidate_fails
        request = Request(time.time(), arm, 200, latency_ms, 2 if retried else 1, results, key)
        self._log.append(request)
        if self._shadowed is not None and self._place(key) < self._state.mirror_percent * 100:
            copies, errors = self._shadowed.requests, self._shadowed.errors
            self._shadowed = Shadowed(copies + 1, errors + self.candidate_fails, 0)
        return request

    def _place(self, key: str) -> int:
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10_000
