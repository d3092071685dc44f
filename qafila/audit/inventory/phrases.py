"""How the audit writes sizes, shares, and what it could not see."""

from __future__ import annotations

from collections.abc import Iterable

from qafila.audit.estate import Collected, Outcome, limits_in

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

    Before them stands what nobody asked for, such as the other namespaces of a cluster: it is no
    gap of a collector, and unseen all the same. The same gap in several places is one sentence
    that names them.
    """
    looked = tuple(looked)
    parts = [part for part in looked if part.outcome is not Outcome.COMPLETE]
    accounts = {part.account for part in parts if part.account}
    places: dict[tuple[Outcome, str, str], list[str]] = {}
    for part in parts:
        whose = f" of {part.account}" if len(accounts) > 1 and part.account else ""
        limits = limits_in(part.missed)
        told = "; ".join(n for n in part.missed.split("; ") if n not in limits)
        told = told.removeprefix(f"{part.collector}: ")
        place = f"{part.region}{whose}".strip()
        places.setdefault((part.outcome, part.collector, told), []).append(place)
    severity = list(reversed(Outcome))
    return [
        *_limits(looked),
        *(
            f"{collector}{_in([w for w in where if w])} is {outcome.value}: {told}"
            for (outcome, collector, told), where in sorted(
                places.items(), key=lambda p: severity.index(p[0][0])
            )
        ),
    ]


def _limits(looked: Iterable[Collected]) -> list[str]:
    """Return a sentence for each place that was looked into in part, as was asked."""
    limits = dict.fromkeys((p.region, limit) for p in looked for limit in limits_in(p.missed))
    return [
        f"{place or 'one place'}: {limit}: what else it holds is not known"
        for place, limit in limits
    ]


def _in(places: list[str]) -> str:
    if len(places) < 2:
        return f" in {places[0]}" if places else ""
    more = f" and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
    return f" in {len(places)} places ({', '.join(sorted(places)[:_PLACES])}{more})"
