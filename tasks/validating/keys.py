"""Rung 1: every row of the source is in the target, once, and nothing else is."""

from __future__ import annotations

from qafila.core.ladder.climb import Climbed
from qafila.core.ladder.rungs import Detail, Finding, Rung
from qafila.core.verdict import Judgement, Verdict
from tasks.ledger import open_ledger
from tasks.validating.climb import Climb, rung
from tasks.verifying import verify_generation


@rung(Rung.KEYS, "compare keys and digests")
def compare_keys(climb: Climb) -> Climbed:
    """Compare counts, keys and digests of the whole source with the target."""
    with open_ledger() as ledger:
        comparison = verify_generation(ledger, climb.generation)
    verdict = Verdict.PASS if comparison.complete else Verdict.FAIL
    examples = list(comparison.examples)
    return Finding(
        Rung.KEYS,
        Judgement(verdict, comparison.sentence(), {"examples": examples}),
        compared="every key and text digest of the source with the target's",
        on=f"{comparison.rows_source:,} rows".replace(",", " "),
        details=[Detail("What differs", [{"row": e} for e in examples])] if examples else (),
    )
