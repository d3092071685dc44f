"""Rung 1: every row of the source is in the target, once, and nothing else is."""

from __future__ import annotations

from qafila.backfill.verify import compare_generation, databases_answer
from qafila.ledger.ledger import open_ledger
from qafila.stores.row_sets import MOST_NAMED, judge_keys, readers_parts
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check


@check(Rung.KEYS, "compare keys and digests")
def compare_keys(climb: Climb) -> Climbed:
    """Compare every key, digest and fingerprint of the source with the target, and count readers.

    Rows that were set aside have their reason in the ledger, and may be absent.
    """
    with (
        databases_answer(climb.workload.name, "benchmark-validation"),
        open_ledger() as ledger,
        climb.store(ledger) as store,
    ):
        compared = compare_generation(
            ledger, climb.workload, climb.generation, store, climb.original
        )
    named = compared.differences.named()
    total = sum(compared.differences.counts.values())
    rows = [
        {
            "document": d.place[0],
            "chunk": d.number,
            "fault": d.fault,
            "shard": "–" if d.shard is None else d.shard,
        }
        for d in named
    ]
    caption = "What differs, by key"
    if total > MOST_NAMED:
        caption += f": the first {MOST_NAMED} of {total}"
    return Finding(
        Rung.KEYS,
        judge_keys(compared),
        compared="every key, text digest and fingerprint of the source with the target's",
        on=f"{compared.rows:,} rows",
        parts=readers_parts(compared),
        details=[Detail(caption, rows)] if rows else (),
        figures={
            "keys": {
                "rows": compared.rows,
                "expected": compared.expected,
                "found": compared.found,
                "set_aside": compared.set_aside,
                **{str(fault): n for fault, n in compared.differences.counts.items()},
            }
        },
    )
