"""Several Envoys that carry the same weights under one epoch, as one router."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from qafila.errors import BadInput, Disagreement, QafilaError, StaleEpoch, Unavailable
from qafila.routers.envoy.arms import Arm, RouteSettings
from qafila.routers.envoy.config import weight_problem
from qafila.routers.envoy.router import EnvoyRouter
from qafila.routers.port import Abilities, Request, RouterState, Shadowed

_BETWEEN = " "  # between the members' versions in the fleet's
_CURSOR_BITS = 128  # of each member's cursor in the fleet's
_LEAST_S = 0.25  # that a member is waited for, however long the others took


class FleetRouter:
    """Down is written to every member, even when one fails; up stops at the first that fails.

    So a fleet that is in parts never has more on the candidate than what was asked last.
    """

    def __init__(self, name: str, members: Sequence[EnvoyRouter]) -> None:
        if not members:
            raise BadInput(f"fleet {name} has no member.")
        self.members = tuple(members)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def abilities(self) -> Abilities:
        return Abilities()

    @property
    def listen_url(self) -> str:
        """Where users reach the first member; ``listen_urls`` has them all."""
        return self.members[0].listen_url

    @property
    def listen_urls(self) -> tuple[str, ...]:
        return tuple(member.listen_url for member in self.members)

    def close(self) -> None:
        for member in self.members:
            member.close()

    def software_version(self) -> str | None:
        """Return the members' version, or all of them; None when one does not answer."""
        found = [member.software_version() for member in self.members]
        known = [version for version in found if version is not None]
        return ", ".join(dict.fromkeys(known)) if len(known) == len(found) else None

    def install(
        self, baseline: Arm | str, candidate: Arm | str, settings: RouteSettings | None = None
    ) -> RouterState:
        """Install the same arms everywhere; a member that is new takes the others' epoch at 0 %.

        Raises:
            BadInput: an address that Envoy cannot route to.
            Unavailable: a member runs and did not take the files.
            Disagreement: the members carry different weights.
        """
        states = [member.install(baseline, candidate, settings) for member in self.members]
        newest = max(state.epoch for state in states)
        if all(_weights(state) == (0, 0, 0) for state in states):
            for member, state in zip(self.members, states, strict=True):
                if state.epoch < newest:
                    member.write(0, epoch=newest, why="joined the fleet")
        return self.read()

    def serves(
        self, baseline: Arm | str, candidate: Arm | str, settings: RouteSettings | None = None
    ) -> bool:
        """Say whether exactly these arms are installed everywhere."""
        return all(member.serves(baseline, candidate, settings) for member in self.members)

    def candidate_percent_if_installed(self) -> int:
        """Return the largest weight that a member gives the candidate."""
        return max(member.candidate_percent_if_installed() for member in self.members)

    def read(self) -> RouterState:
        """Return the weights that all members' files hold.

        Raises:
            Disagreement: they hold different ones, or one cannot be read; names each.
            Unavailable: no member has any.
        """
        states, lost = self._known_states()
        if not states:
            raise next(iter(lost.values()))
        return self._agreed(states, "hold", lost)

    def reported(self) -> RouterState | None:
        """Return what all members work with; None when one does not say.

        Raises:
            Disagreement: they work with different weights; names each.
        """
        states = {m.name: s for m in self.members if (s := m.reported()) is not None}
        return self._agreed(states, "work with", {}) if len(states) == len(self.members) else None

    def write(
        self,
        candidate_percent: int,
        *,
        epoch: int,
        why: str,
        twin_percent: int = 0,
        mirror_percent: int = 0,
    ) -> str:
        """Write every member; return the version to wait for.

        Members that disagreed before agree afterwards. Nothing is written by an old epoch.

        Raises:
            BadInput: a weight outside 0 … 100, or two shares at once.
            StaleEpoch: a newer epoch has written a member already.
            Unavailable: a member was not written. Going down, all others were; going up, those
                before it have their old weights again.
        """
        problem = weight_problem(candidate_percent, twin_percent, mirror_percent)
        if problem is not None:
            raise BadInput(problem)
        before, _ = self._known_states()
        newer = {name: s.epoch for name, s in before.items() if s.epoch > epoch}
        if newer:
            raise StaleEpoch(
                f"fleet {self.name} was written by epoch {max(newer.values())} "
                f"({', '.join(newer)}); epoch {epoch} is old.",
                kept="all weights.",
            )

        def put(member: EnvoyRouter) -> str:
            return member.write(
                candidate_percent,
                epoch=epoch,
                why=why,
                twin_percent=twin_percent,
                mirror_percent=mirror_percent,
            )

        # None of its members may end with more than what it had, unless all of them can.
        down = all(s.candidate_percent >= candidate_percent for s in before.values())
        if down and not mirror_percent:
            return self._write_all(put, candidate_percent)
        return self._write_or_take_back(put, before, epoch)

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Wait for one member after the other; return the seconds until all had reported.

        Raises:
            Unavailable: naming each member that did not, and why.
        """
        versions = version.split(_BETWEEN)
        if len(versions) != len(self.members):
            raise Unavailable(f"{version!r} is no version of fleet {self.name}.")
        started, late = time.monotonic(), {}
        for member, expected in zip(self.members, versions, strict=True):
            left = timeout_s - (time.monotonic() - started)
            try:
                member.acknowledged(expected, timeout_s=max(left, min(_LEAST_S, timeout_s)))
            except Unavailable as error:
                late[member.name] = error.what
        if late:
            named = "; ".join(f"{name}: {what}" for name, what in late.items())
            raise Unavailable(
                f"{len(late)} of {len(self.members)} members of fleet {self.name} did not "
                f"acknowledge. {named}",
                kept="the others work with the new weights; each one's file holds them.",
                remedy="qafila doctor",
            )
        return time.monotonic() - started

    def shadowed(self) -> Shadowed | None:
        """Return what the candidate did with all members' copies; None when one does not say."""
        parts = [found for m in self.members if (found := m.shadowed()) is not None]
        if len(parts) < len(self.members):
            return None
        return Shadowed(
            sum(p.requests for p in parts),
            sum(p.errors for p in parts),
            sum(p.unanswered for p in parts),
            sum(p.left_out for p in parts),
            sum(p.open for p in parts),
        )

    def probe_headers(self, arm: str) -> Mapping[str, str]:
        """Return what sends a request of Qafila's own to ``arm`` of the first member."""
        return self.members[0].probe_headers(arm)

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return all members' user requests after ``cursor``, oldest first; None: from now."""
        seen: list[Request] = []
        following = 1  # a leading bit, so that the number of members can be told
        for member, position in zip(
            reversed(self.members), reversed(self._positions(cursor)), strict=True
        ):
            more, position = member.observed(position)
            seen.extend(more)
            following = following << _CURSOR_BITS | position
        return sorted(seen, key=lambda request: request.started_at), following

    def _positions(self, cursor: int | None) -> list[int | None]:
        """Return each member's cursor; those of a fleet of another size start from now."""
        count = len(self.members)
        if cursor is None or cursor >> (_CURSOR_BITS * count) != 1:
            return [None] * count
        mask = (1 << _CURSOR_BITS) - 1
        return [cursor >> (_CURSOR_BITS * n) & mask for n in range(count)]

    def _known_states(self) -> tuple[dict[str, RouterState], dict[str, Unavailable]]:
        """Return the states of the members that can be read, and why the others cannot."""
        states, lost = {}, {}
        for member in self.members:
            try:
                states[member.name] = member.read()
            except Unavailable as error:
                lost[member.name] = error
        return states, lost

    def _agreed(
        self, states: Mapping[str, RouterState], verb: str, lost: Mapping[str, Unavailable]
    ) -> RouterState:
        first = next(iter(states.values()))
        if lost or any(_same(state) != _same(first) for state in states.values()):
            said = {
                name: f"{s.candidate_percent} % on the candidate, epoch {s.epoch} ({s.version})"
                for name, s in states.items()
            } | {name: f"cannot be read: {error.what}" for name, error in lost.items()}
            raise Disagreement(
                f"the members of fleet {self.name} {verb} different weights:",
                {member.name: said[member.name] for member in self.members},
                kept="each member's weights.",
                remedy="qafila rollback WORKLOAD, which writes every member",
            )
        version = _BETWEEN.join(states[member.name].version for member in self.members)
        return RouterState(
            first.candidate_percent,
            first.epoch,
            version,
            first.twin_percent,
            first.mirror_percent,
        )

    def _write_all(self, put: Callable[[EnvoyRouter], str], percent: int) -> str:
        """Write all at the same time: one that hangs must not hold up the others' way down."""
        with ThreadPoolExecutor(len(self.members)) as pool:
            written = {member.name: pool.submit(put, member) for member in self.members}
        failed = {name: e for name, one in written.items() if (e := one.exception()) is not None}
        unexpected = [e for e in failed.values() if not isinstance(e, QafilaError | OSError)]
        if unexpected:
            raise unexpected[0]
        if failed:
            done = len(written) - len(failed)
            raise self._not_written(
                failed, f"the other {done} were written: {percent} % on the candidate."
            ) from next(iter(failed.values()))
        return _BETWEEN.join(one.result() for one in written.values())

    def _write_or_take_back(
        self, put: Callable[[EnvoyRouter], str], before: Mapping[str, RouterState], epoch: int
    ) -> str:
        versions: list[str] = []
        for member in self.members:
            try:
                versions.append(put(member))
            except (QafilaError, OSError) as error:
                written = self.members[: len(versions)]
                left = self._take_back(written, before, epoch)
                kept = "the weights as they were" + (
                    f", except of {', '.join(left)}, which has the new ones." if left else "."
                )
                raise self._not_written({member.name: error}, kept) from error
        return _BETWEEN.join(versions)

    def _take_back(
        self, written: Sequence[EnvoyRouter], before: Mapping[str, RouterState], epoch: int
    ) -> list[str]:
        left = []
        for member in written:
            old = before[member.name]
            try:
                member.write(
                    old.candidate_percent,
                    epoch=epoch,
                    why="another member was not written",
                    twin_percent=old.twin_percent,
                    mirror_percent=old.mirror_percent,
                )
            except (QafilaError, OSError):
                left.append(member.name)
        return left

    def _not_written(self, failed: Mapping[str, BaseException], kept: str) -> Unavailable:
        named = "; ".join(
            f"{name}: {error.what if isinstance(error, QafilaError) else error}"
            for name, error in failed.items()
        )
        return Unavailable(
            f"{len(failed)} of {len(self.members)} members of fleet {self.name} "
            f"could not be written. {named}",
            kept=kept,
            remedy="qafila doctor; then the same command again",
        )


def _weights(state: RouterState) -> tuple[int, int, int]:
    return state.candidate_percent, state.twin_percent, state.mirror_percent


def _same(state: RouterState) -> tuple[int, int, int, int]:
    return (*_weights(state), state.epoch)
