"""Where the vector of a chunk comes from: copied, reused, mapped, or made by the model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from qafila.workload.fingerprint import VectorPart


class Mode(StrEnum):
    """Four ways to a vector, the cheapest first; the first three cost no token."""

    COPY = "copy"
    REUSE = "reuse"
    MAP = "map"
    RE_EMBED = "re-embed"


@dataclass(frozen=True, slots=True)
class Decision:
    """The way, and why, in words for a person."""

    mode: Mode
    reason: str


@lru_cache(maxsize=1024)  # rows of one source differ in little: the same few decisions come back
def mode_of(
    wanted: VectorPart,
    held: VectorPart | None,
    *,
    whole: bool = True,
    sound: bool = True,
    cached: bool = False,
    map_from: VectorPart | None = None,
) -> Decision:
    """Decide where the vector of one chunk comes from.

    ``held`` is what made the vector that the row brings, its length as it really is; None: it
    brings none. ``whole`` says that the chunk is the row's text as it was embedded, ``sound``
    that the vector is finite and not zero. ``cached`` says that the cache has a vector for the
    text's digest and ``wanted``. ``map_from`` is what a bridge's map takes, when this is one.

    A vector is copied only when model, revision, dimensions and normalisation are all the same.
    """
    if held is None:
        why = "the row brings no vector"
    elif not whole:
        why = "the chunk is not the text that the row's vector was made of"
    elif not sound:
        why = "the row's vector is zero or not finite"
    elif held == wanted:
        return Decision(
            Mode.COPY,
            "the row's vector was made by the same model and revision, with the same dimensions "
            "and normalisation",
        )
    else:
        why = f"the row's vector has {'; '.join(wanted.differences(held))}"
        if map_from is not None and held == map_from:
            return Decision(Mode.MAP, f"{why}; the bridge maps it")
    if cached:
        return Decision(
            Mode.REUSE, f"{why}; the cache has this text as the same model and revision embed it"
        )
    return Decision(Mode.RE_EMBED, f"{why}; the cache has none either")
