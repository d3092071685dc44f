"""Rung 7: how much of the first page is different, whether better or worse."""

from __future__ import annotations

import random

from qafila.endpoints import open_source
from qafila.ledger.ledger import open_ledger
from qafila.validation.checks.judge_change import K, judge_change, overlap_of
from qafila.validation.checks.side_by_side import FIRST, WORST, named
from qafila.validation.known_item_rules import LABEL
from qafila.validation.known_items import fetch_documents
from qafila.validation.model import Detail, Finding, NotApplicable, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check


@check(Rung.CHANGE, "compare first pages")
def measure_change(climb: Climb) -> Climbed:
    """Compare the first ten of the baseline and the candidate, query by query, in random order."""
    old, new = climb.answers["baseline"], climb.answers["candidate"]
    order = list(range(len(climb.queries)))
    random.Random(climb.options.seed).shuffle(order)  # the sequence needs an order without meaning
    found = [o for n in order if (o := overlap_of(n, old[n].ranking, new[n].ranking)) is not None]
    if not found:
        return NotApplicable(Rung.CHANGE, "no query was answered by both with any result.")
    judged = judge_change(found, climb.workload.objectives.overlap_at_10.at_least)
    most = sorted(found, key=lambda o: (o.overlap_at_10, o.rank_biased, o.place))[:WORST]
    changed = [o for o in most if o.rank_biased < 1]
    with open_ledger() as ledger, open_source(ledger, climb.workload) as source:
        pages = [r.ranking or () for o in changed for r in (old[o.place], new[o.place])]
        documents = fetch_documents(
            source, list(dict.fromkeys(k for p in pages for k in p[:FIRST]))
        )
    rows = [
        {
            "query": climb.queries[o.place].text,
            "overlap@10": f"{o.overlap_at_10:.2f}",
            "baseline's first three": named((old[o.place].ranking or ())[:FIRST], documents),
            "candidate's first three": named((new[o.place].ranking or ())[:FIRST], documents),
        }
        for o in changed
    ]
    generated = climb.workload.judged_table is None
    half = (judged.high - judged.low) / 2
    return Finding(
        Rung.CHANGE,
        judged.judgement,
        compared=f"the first {K} of both answers: change, not quality"
        + (f" ({LABEL})" if generated else ""),
        on=f"{len(found):,} queries",
        smallest_effect=f"a mean overlap that is off by more than {half:.3f}",
        details=[Detail("What changed most", rows)] if rows else (),
        figures={
            "change": {
                "queries": len(found),
                "overlap_at_10": judged.mean,
                "ci": [judged.low, judged.high],
                "rank_biased_overlap": judged.rank_biased,
                "changed_most": rows,
            }
        },
        series={"overlap_at_10": judged.series},
    )
