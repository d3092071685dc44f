"""Collect place by place; what fails is an outcome, never the end of the audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qafila.audit.collectors.read import in_turn
from qafila.audit.estate import Collected, Outcome
from qafila.audit.inventory.storable import storable_part
from qafila.audit.places import Place
from qafila.errors import QafilaError


def collect(collector: str, at: Place) -> Collected:
    """Look at one thing in one place. A refusal is a result, not an error."""
    [chosen] = [c for c in at.collectors if c.name == collector]
    with at.look() as look:
        return storable_part(chosen.collect(look))


def looks_at(places: Sequence[Place]) -> list[tuple[str, Place]]:
    """Return every collector with its place, in the order of the places."""
    return [(collector.name, place) for place in places for collector in place.collectors]


def turns_of(looks: Sequence[tuple[str, Place]]) -> list[int]:
    """Return which look is begun first, second and so on.

    One service is begun in all its places before the next, since each place has a rate of its own
    for it, and the slow ones come first.
    """
    return in_turn([name for name, _ in looks])


def collected_or_why(
    collector: str, place: Place, back: object, note: Callable[[str], None]
) -> Collected:
    """Return what a look gave; one that broke gave nothing, and says so."""
    if isinstance(back, Collected):
        return back
    why = broken(collector, back, note)
    return Collected(collector, place.region, Outcome.UNSUPPORTED, (), (), 0, why, place.account)


def broken(what: str, error: object, note: Callable[[str], None]) -> str:
    """Return why something gave nothing. Foreign texts are for the log, not for evidence."""
    if isinstance(error, QafilaError):
        return error.what
    note(f"{what} stopped: {error}")
    return f"{what} stopped with {type(error).__name__}; the run's log has more"
