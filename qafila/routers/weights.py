"""What routers with weights of their own have in common: shares, versions and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qafila.errors import BadInput, StaleEpoch, Unavailable
from qafila.routers.envoy.config import parse_version, version_text, weight_problem
from qafila.routers.port import Abilities, RouterState, Shadowed

ARMS = ("candidate", "twin", "baseline")


class CopiesNothing:
    """A router that cannot copy requests to the candidate."""

    def shadowed(self) -> Shadowed | None:
        """Return None: this router copies no requests."""
        return None

    def probe_headers(self, arm: str) -> Mapping[str, str]:
        """Return nothing: at this router no request chooses its arm."""
        return {}


def require_weights(
    name: str, abilities: Abilities, candidate: int, twin: int = 0, mirror: int = 0
) -> None:
    """Refuse weights that do not fit, or that this router cannot carry.

    Raises:
        BadInput: naming every problem.
    """
    problem = weight_problem(candidate, twin, mirror)
    problems = [] if problem is None else [problem]
    if twin and not abilities.twin:
        problems.append(f"router {name} has no twin of the baseline; name one in service.router.")
    if mirror and not abilities.mirror:
        problems.append(f"router {name} cannot copy requests to the candidate.")
    if problems:
        raise BadInput(f"router {name} cannot carry these weights:", problems)


def require_epoch(name: str, state: RouterState, epoch: int) -> None:
    """Refuse a writer that an other one has followed.

    Raises:
        StaleEpoch: a newer epoch has written already.
    """
    if epoch < state.epoch:
        raise StaleEpoch(
            f"router {name} was written by epoch {state.epoch}; epoch {epoch} is old.",
            kept=f"the weights: {state.candidate_percent} % on the candidate.",
        )


def following(stored: str, epoch: int, candidate: int, twin: int) -> str:
    """Return the version after ``stored``, one that was read from the router itself."""
    return version_text(epoch, parse_version(stored)[1] + 1, candidate, twin)


def shares(state: RouterState) -> dict[str, int]:
    """Return the percent of each arm; they sum to 100."""
    candidate, twin = state.candidate_percent, state.twin_percent
    return {"candidate": candidate, "twin": twin, "baseline": 100 - candidate - twin}


def configured(stored: str, weights: Mapping[str, int]) -> RouterState:
    """Return the state that weights make, under the version that was stored beside them.

    Shares are of the sum of all weights, rounded up: a candidate with any weight never counts as
    one without. Where the weights are not those of the version, somebody else moved them: the
    version says so, and is none of ours any more.
    """
    meant, _ = parse_version(stored)
    total = sum(weights.values())
    percent = {arm: -(-100 * weights.get(arm, 0) // total) if total else 0 for arm in ARMS}
    expected = shares(meant)
    if total and all(weights.get(arm, 0) * 100 == expected[arm] * total for arm in ARMS):
        return meant
    told = "/".join(str(weights.get(arm, 0)) for arm in ARMS)
    return RouterState(
        percent["candidate"], meant.epoch, f"{stored} changed by hand to {told}", percent["twin"]
    )


def ours(state: RouterState) -> bool:
    """Say whether a state is one that Qafila wrote, unchanged."""
    try:
        parse_version(state.version)
    except ValueError:
        return False
    return True


def read_if_ours(read: Callable[[], RouterState]) -> RouterState | None:
    """Return what a router works with; None where it cannot be read or somebody else changed it."""
    try:
        state = read()
    except Unavailable:
        return None
    return state if ours(state) else None
