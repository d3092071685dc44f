"""What shows single requests where the router does not: an access log that the operator names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qafila.errors import Refused
from qafila.routers.envoy.access_log import read_log
from qafila.routers.port import Abilities, Request, Router
from qafila.settings import home


class LogSight:
    """A log of JSON lines; a relative path starts at QAFILA_HOME."""

    blind: tuple[str, ...] = (
        "requests are seen as the service logs them: one that never reached it is not seen",
    )

    def __init__(self, path: str) -> None:
        self._path = home() / Path(path).expanduser()

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return user requests logged after ``cursor``; None: from now."""
        return read_log(self._path, cursor)


def observed_in(log: str | None, cursor: int | None) -> tuple[Sequence[Request], int]:
    """Return requests of the log that the operator named; without one there are none."""
    return ([], 0) if log is None else LogSight(log).observed(cursor)


def require_sight(router: Router) -> Abilities:
    """Return a router's abilities when it shows single requests.

    Raises:
        Refused: it does not, and nothing could be judged; says what to name.
        Unavailable: whether it does cannot be read.
    """
    abilities = router.abilities
    if not abilities.requests:
        raise Refused(
            f"router {router.name} shows no single requests, so that no answer can be judged: "
            + "; ".join(abilities.blind)
            + ".",
            kept="all weights.",
            remedy="name an access log in service.router.log (for an ALB, or switch its access "
            "logs on), then: qafila apply FILE",
        )
    return abilities
