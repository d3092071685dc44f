"""Rung 9: what a thousand queries cost in machine time."""

from __future__ import annotations

from qafila.core.judged import measure_arm
from qafila.core.ladder.climb import Climbed
from qafila.core.ladder.judging import cost_per_thousand
from qafila.core.ladder.rungs import Finding, Rung
from qafila.core.verdict import Judgement, Verdict
from tasks.decision import load_price_book
from tasks.validating.asking import SYSTEMS
from tasks.validating.climb import Climb, rung


@rung(Rung.COST, "price a query")
def judge_cost(climb: Climb) -> Climbed:
    """Price the mean service time of each system by the machine's list price."""
    price = load_price_book()[climb.options.machine]
    means = {s: measure_arm(climb.queries, climb.answers[s]).mean_ms for s in SYSTEMS}
    costs = {
        s: cost_per_thousand(price.amount, ms, price.vcpus)
        for s, ms in means.items() if ms is not None
    }  # fmt: skip
    if "candidate" not in costs:
        judged = Judgement(Verdict.INCONCLUSIVE, "cost: no query was answered.")
    else:
        judged = Judgement(
            Verdict.PASS,
            f"1 000 queries cost {costs['candidate']} {price.currency} in machine time.",
        )
    return Finding(
        Rung.COST,
        judged,
        compared="mean service time with the machine's list price, fully used",
        on=f"{len(climb.queries)} queries",
        figures={
            "cost_per_1000_queries": {
                **{name: str(cost) for name, cost in costs.items()},
                "currency": price.currency,
            }
        },
    )
