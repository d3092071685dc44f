"""Texts that were made to hurt whoever reads them, and how to see whether they do."""

from __future__ import annotations

import time
from collections.abc import Callable

MEBIBYTE = 1 << 20


def seconds(run: Callable[[], object]) -> float:
    """Return the processor time of a call: what else the machine does is not in it."""
    started = time.process_time()
    run()
    return time.process_time() - started


def repeated(unit: str, size: int) -> str:
    """Return a text of about ``size`` characters."""
    return unit * max(size // len(unit), 1)


def assert_linear(
    run: Callable[[str], object], make: Callable[[int], str], size: int = MEBIBYTE
) -> None:
    """Fail where four times the text takes more than eight times the work, as of a square.

    A machine that stalls makes one measurement worse, never better: the best of three is taken.
    Below a tenth of a second there is nothing to compare.
    """
    small, whole = make(size // 4), make(size)
    took = seconds(lambda: run(whole))
    if took < 0.1:
        return
    quarter = min(seconds(lambda: run(small)) for _ in range(3))
    for _ in range(2):
        if took < 8 * quarter:
            return
        took = min(took, seconds(lambda: run(whole)))
    assert took < 8 * quarter, f"{quarter:.3f} s for a quarter, {took:.3f} s for the whole"
