"""Time for collectors that stands still unless they sleep."""

from __future__ import annotations

from collections.abc import Mapping

from qafila.audit.collectors.pace import Pacing
from qafila.embedders.request_rate import Rate


def standing(rates: Mapping[str, Rate], waits: list[float] | None = None) -> Pacing:
    """Return a pacing in whose time nothing passes but its own waits, which are noted."""
    noted, now = [] if waits is None else waits, [0.0]

    def sleep(seconds: float) -> None:
        noted.append(seconds)
        now[0] += seconds

    return Pacing(rates, share=1, clock=lambda: now[0], sleep=sleep)
