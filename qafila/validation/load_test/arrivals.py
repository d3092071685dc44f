"""When requests come and what they ask: an open loop does not wait for answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random


def poisson(rate: float, seconds: float, chance: Random) -> Iterator[float]:
    """Yield when requests are due, in seconds from the start: independent users, ``rate`` a second.

    Raises:
        ValueError: the rate is not above 0.
    """
    if rate <= 0:
        raise ValueError("a rate is above 0")
    due = chance.expovariate(rate)
    while due <= seconds:
        yield due
        due += chance.expovariate(rate)


def without_repetition(texts: Sequence[str], chance: Random) -> Iterator[str]:
    """Yield texts for ever; none comes again before every other one has come.

    Raises:
        ValueError: there is no text.
    """
    if not texts:
        raise ValueError("there must be a text")
    while True:
        yield from chance.sample(texts, len(texts))


def never_asked(texts: Sequence[str], count: int, chance: Random) -> list[str]:
    """Return up to ``count`` texts that are not among ``texts``: of two, a half of each.

    They are as long as the real ones and of the same words, and no cache knows them.
    """
    known, found = set(texts), dict[str, None]()
    for _ in range(4 * count):
        if len(found) == count or len(known) < 2:
            break
        first, second = (t.split() for t in chance.sample(texts, 2))
        text = " ".join(first[: len(first) // 2] + second[len(second) // 2 :])
        if text and text not in known:
            found[text] = None
    return list(found)
