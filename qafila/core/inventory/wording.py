"""How the audit writes sizes, shares, and what it could not see."""

from __future__ import annotations

from collections.abc import Iterable

from qafila.core.estate import Collected, Outcome

_PLACES = 4


def size_text(size_bytes: int | None) -> str:
    """Return a size for a reader, in binary units; "not known" when it was not measured."""
    if size_bytes is None:
        return "not known"
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def percent(share: float, digits: int = 0) -> str:
    """Return a share of 1 as per cent; what is there and rounds to nothing is not called 0."""
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"under {least:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def gaps(looked: Iterable[Collected]) -> list[str]:
    """Return a sentence for each thing that was not seen whole, the worst outcome first.

    The same gap in several places is one sentence that names them.
    """
    parts = [part for part in looked if part.outcome is not Outcome.COMPLETE]
    accounts = {part.account for part in parts if part.account}
    places: dict[tuple[Outcome, str, str], list[str]] = {}
    for part in parts:
        whose = f" of {part.account}" if len(accounts) > 1 and part.account else ""
        told = part.missed.removeprefix(f"{part.collector}: ")
        place = f"{part.region}{whose}".strip()
        places.setdefault((part.outcome, part.collector, told), []).append(place)
    severity = list(reversed(Outcome))
    return [
        f"{collector}{_in([w for w in where if w])} is {outcome.value}: {told}"
        for (outcome, collector, told), where in sorted(
            places.items(), key=lambda p: severity.index(p[0][0])
        )
    ]


def _in(places: list[str]) -> str:
    if len(places) < 2:
        return f" in {places[0]}" if places else ""
    more = f" and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
    return f" in {len(places)} places ({', '.join(sorted(places)[:_PLACES])}{more})"
