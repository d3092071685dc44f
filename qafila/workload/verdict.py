"""The four verdicts and how several become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What a judgement can say. Missing data is INCONCLUSIVE, a broken probe is ERROR."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


EXIT_CODES: Mapping[Verdict, int] = {
    Verdict.PASS: 0,
    Verdict.FAIL: 1,
    Verdict.INCONCLUSIVE: 3,
    Verdict.ERROR: 4,
}

_SEVERITY = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.FAIL)


@dataclass(frozen=True)
class Judgement:
    """A verdict with its one sentence and the numbers behind it (JSON-able values)."""

    verdict: Verdict
    sentence: str
    numbers: Mapping[str, object] = field(default_factory=dict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; of none at all it is INCONCLUSIVE, never PASS."""
    return max(verdicts, key=_SEVERITY.index, default=Verdict.INCONCLUSIVE)
