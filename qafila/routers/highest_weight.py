"""What a router says of its weights, also where the members of a fleet disagree."""

from __future__ import annotations

from contextlib import suppress

from qafila.errors import Disagreement, Unavailable
from qafila.routers.port import Router, RouterState


def read_highest_weight(router: Router) -> RouterState:
    """Return the router's state; of a fleet that disagrees, the highest weight and epoch.

    Raises:
        Unavailable: it has no state at all.
    """
    try:
        return router.read()
    except Disagreement:
        states = []
        for member in getattr(router, "members", ()):
            with suppress(Unavailable):  # a member that is lost; writing it will say so
                states.append(member.read())
        if not states:
            raise
        newest = max(states, key=lambda s: s.epoch)
        return RouterState(
            max(s.candidate_percent for s in states),
            newest.epoch,
            newest.version,
            max(s.twin_percent for s in states),
            max(s.mirror_percent for s in states),
        )
