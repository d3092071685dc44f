"""A rehearsal: faults planted one at a time, and which rung caught each.

A validator that was never seen failing proves nothing. So a copy is broken on purpose, a little at
a time, and the ladder has to find it; and left whole, it has to find nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qafila.validation.model import Rung
from qafila.workload.verdict import Judgement, Verdict


@dataclass(frozen=True)
class Fault:
    """What is broken, how little of it, and the lowest rungs that can see it.

    ``share`` is of all documents; None where the fault is not one of rows.
    """

    name: str
    what: str
    rungs: tuple[Rung, ...]
    share: float | None = None

    @property
    def dose(self) -> str:
        """Return how much is broken, in words."""
        return "all of it" if self.share is None else f"{self.share * 100:g} % of the documents"


_ROWS, _TEXT = (Rung.KEYS, Rung.CONTENT), (Rung.KEYS, Rung.CONTENT)

FAULTS: tuple[Fault, ...] = (
    Fault("dropped shard", "a run of neighbouring documents is missing", (Rung.KEYS,), 0.005),
    Fault("duplicated chunk", "a chunk is there a second time, by another number", _ROWS, 0.001),
    Fault("off-by-one chunk", "a chunk begins one character late", _TEXT, 0.001),
    Fault(
        "truncated text", "a vector was made of the first third of its text", (Rung.MEANING,), 0.01
    ),
    Fault("stale row", "a chunk holds an older text of its document", _ROWS, 0.001),
    Fault("wrong model", "vectors of another model with as many dimensions", (Rung.MEANING,), 0.01),
    Fault("other revision", "vectors of another revision of the model", (Rung.MEANING,), 0.02),
    Fault("unnormalised vectors", "vectors that are longer than one", (Rung.CONTENT,), 0.001),
    Fault("swapped vectors", "two documents hold each other's vector", (Rung.MEANING,), 0.004),
    Fault("zero vectors", "vectors of zeros: stored, and never found", (Rung.CONTENT,), 0.001),
    Fault("lost ACL", "nobody may read a chunk any more", _ROWS, 0.001),
    Fault("widened ACL", "a group may read a chunk that it could not", _ROWS, 0.001),
    Fault("lower ef_search", "the index looks at fewer candidates", (Rung.INDEX,)),
    Fault("missing index", "there is no vector index", (Rung.INDEX,)),
    Fault("broken filter", "search does not ask who is reading", (Rung.INDEX, Rung.ACCESS)),
    Fault("lowercased text", "the text was lower-cased on its way", _TEXT, 0.001),
    Fault("mojibake", "UTF-8 was read as Latin-1 on its way", _TEXT, 0.001),
    Fault("metadata type change", "a value became a string", (Rung.CONTENT,), 0.001),
    Fault("latency +50 %", "every answer takes half as long again", (Rung.LATENCY,)),
    Fault("cost +30 %", "the machine costs 30 % more", (Rung.COST,)),
)


@dataclass(frozen=True)
class Trial:
    """One fault, and what the ladder said. ``caught_at`` is None when it noticed nothing.

    ``skipped`` says why the fault cannot be planted here; it then counts neither way.
    """

    fault: Fault
    rows: int
    caught_at: Rung | None
    sentence: str
    seconds: float
    skipped: str = ""

    @property
    def caught(self) -> bool:
        """Say whether the climb ended in a FAIL."""
        return self.caught_at is not None

    @property
    def as_expected(self) -> bool:
        """Say whether one of the rungs that should see it did."""
        return self.caught_at in self.fault.rungs


def judge_rehearsal(clean: Judgement, trials: Sequence[Trial]) -> Judgement:
    """Judge the ladder itself: PASS when it let the whole copy be and caught every fault.

    A whole copy that FAILs is a false alarm, or the generation is broken already: then what the
    ladder says of the broken copies proves nothing, and the verdict is INCONCLUSIVE.
    """
    tried = [t for t in trials if not t.skipped]
    missed = [t.fault.name for t in tried if not t.caught]
    numbers = {
        "faults": len(tried),
        "caught": len(tried) - len(missed),
        "missed": missed,
        "elsewhere": [t.fault.name for t in tried if t.caught and not t.as_expected],
        "skipped": {t.fault.name: t.skipped for t in trials if t.skipped},
    }
    if clean.verdict in (Verdict.FAIL, Verdict.ERROR):
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"the rehearsal proves nothing: the copy was {clean.verdict} before anything was "
            f"broken. {clean.sentence}",
            numbers,
        )
    if not tried:
        return Judgement(Verdict.INCONCLUSIVE, "the rehearsal: no fault could be planted.", numbers)
    said = f"the ladder caught {len(tried) - len(missed)} of {len(tried)} planted faults"
    if missed:
        return Judgement(Verdict.FAIL, f"{said}; it missed: {', '.join(missed)}.", numbers)
    return Judgement(Verdict.PASS, f"{said}, and let the whole copy be.", numbers)
