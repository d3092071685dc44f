"""Simulate the statistics that verdicts rest on: do they err as seldom, and see as much, as said?

    qafila bench judge-offline --runs 10000 --seed 1

Each of ``rows`` is one claim of ``qafila/statistics``: ``rate`` is how often it came out so in
``runs`` simulated runs, ``bound`` what is claimed (``at_most`` for false alarms and misses,
``at_least`` for power). ``rate_ci`` is the simulation's own error, exact at 99.8 %; a row ``holds``
unless that whole interval is beyond the bound, so that a rate right at its bound passes. ``limits``
are not claims: they show where a method is known to fail, and what holds there instead.

Methods without a finite-sample guarantee carry a bound with half a point of slack a side over the
nominal level, and say so in ``claim``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, Literal

import numpy as np

from benchmarks import judge_offline_runs as draws
from benchmarks import machine, simulated
from benchmarks.judge_offline_runs import CLASSES, LEVEL, LOOKS, SIDE
from qafila.statistics.intervals import clopper_pearson, wilson

FEWEST_RUNS = 100
CONFIDENCE = 0.998
SLACK = 0.005  # a side, of what has no finite-sample guarantee
_BATCH = 100  # runs that share their resamples

Draw = Callable[[np.random.Generator, int], Any]


@dataclass(frozen=True)
class Claim:
    """One claim and how it is simulated: ``draw`` returns which of so many runs came out so."""

    name: str
    claim: str
    bound: float
    draw: Draw
    side: Literal["at_most", "at_least"] = "at_most"
    limit: bool = False


def main() -> None:
    """Simulate every claim, on two processes, and print what came out."""
    parser = argparse.ArgumentParser(prog="qafila bench judge-offline", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="simulated runs a row")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.runs < FEWEST_RUNS:
        raise machine.NotMeasured(f"fewer than {FEWEST_RUNS} runs cannot refute a rate of 5 %.")
    if given.seed < 0:
        raise machine.NotMeasured("a seed is 0 or more.")
    began = time.perf_counter()
    # two processes on two cores: threads of their own would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        simulate = partial(_simulate, given.runs, given.seed)
        outcomes = list(pool.map(simulate, range(len(claims()))))
    seconds = time.perf_counter() - began
    named = {claim.name for claim in claims() if claim.limit}
    rows = [row for row, _ in outcomes if row["name"] not in named]
    limits = [row for row, _ in outcomes if row["name"] in named]
    machine.show(
        "judge-offline",
        {
            "all_hold": all(row["holds"] for row in rows),
            "not_held": [row["name"] for row in rows if not row["holds"]],
            "runs": given.runs,
            "seconds": round(seconds, 1),
            "rows": rows,
            "limits": limits,
        },
        seed=given.seed,
        raw_seconds={row["name"]: [took] for row, took in outcomes},
        notes={
            "holds": "the exact 99.8 % interval of the simulated rate is not all beyond the bound",
            "worlds": "differences of nDCG@10: bounded, mostly zero, skewed; see "
            "benchmarks/simulated.py",
        },
    )


def claims() -> list[Claim]:
    """Return every claim, in the order of the output."""
    equal, alike = simulated.equally_good(0.4), simulated.equally_good(0.03)
    zero, worse = simulated.rare_losses(), simulated.rare_losses(-0.02)
    near = f"approximate, {SLACK:.1%} of slack a side"
    return [
        Claim(
            "randomisation_test",
            "equal systems, 60 queries; exact",
            LEVEL,
            partial(draws.flips, equal, 60),
        ),
        Claim(
            "randomisation_test_enumerated",
            "equal systems, 5 of 200 queries moved; exact",
            LEVEL,
            partial(draws.enumerated, alike, 200),
        ),
        Claim(
            "randomisation_test_skewed",
            "mean 0 but not equal: skewed, which the test does not "
            "ask about; 150 queries; approximate, 1 % of slack a side",
            LEVEL + 0.02,
            partial(draws.flips, zero, 150),
        ),
        Claim(
            "compare_paired_p_value",
            "equal systems, 40 queries, one call a run; exact",
            LEVEL,
            partial(draws.compared, equal, 40),
        ),
        Claim(
            "mean_interval",
            f"equal systems, 100 queries; {near}",
            LEVEL + 2 * SLACK,
            partial(draws.missed, equal, 100),
        ),
        Claim(
            "mean_interval_few_moved",
            f"equal systems, 7 of 300 queries moved; {near}",
            LEVEL + 2 * SLACK,
            partial(draws.missed, alike, 300),
        ),
        Claim(
            "mean_interval_skewed",
            f"rare great losses, 150 queries; {near}",
            LEVEL + 2 * SLACK,
            partial(draws.missed, zero, 150),
        ),
        Claim(
            "non_inferiority",
            f"truly at the margin of 0.02, rare losses, 150 queries; {near}",
            SIDE + SLACK,
            partial(draws.no_worse, worse, 150, 0.02),
        ),
        Claim(
            "equivalence",
            f"truly at the margin of 0.06, 400 queries; {near}",
            LEVEL + SLACK,
            partial(draws.equivalent, simulated.rare_losses(-0.06), 400, 0.06),
        ),
        Claim(
            "non_inferiority_by_betting",
            "truly at the margin, rare losses, 150 queries; exact",
            SIDE,
            partial(draws.no_worse_by_betting, worse, 150, 0.02),
        ),
        Claim(
            "non_inferiority_by_betting_few",
            "the same with 30 queries; exact",
            SIDE,
            partial(draws.no_worse_by_betting, worse, 30, 0.02),
        ),
        Claim(
            "wilson",
            f"50 trials, shares at random from 0 to 1, on average; {near}",
            LEVEL + 2 * SLACK,
            partial(draws.share_missed, wilson, 50, None),
        ),
        *(
            Claim(
                f"clopper_pearson_{share:g}",
                f"150 trials at a share of {share:g}; exact",
                LEVEL,
                partial(draws.share_missed, clopper_pearson, 150, share),
            )
            for share in (0.01, 0.1, 0.5)
        ),
        Claim(
            "confidence_sequence",
            f"overlap@10, read after each of {LOOKS} queries; exact",
            LEVEL,
            partial(draws.ever_missed, simulated.overlaps, 0.9, (0.0, 1.0)),
        ),
        Claim(
            "confidence_sequence_of_differences",
            f"rare losses, read {LOOKS} times; exact",
            LEVEL,
            partial(draws.ever_missed, zero, 0.0, (-1.0, 1.0)),
        ),
        Claim(
            "holm",
            f"any false call, {CLASSES} equal classes of 30 to 100 queries; exact",
            LEVEL,
            partial(draws.any_called, equal),
        ),
        Claim(
            "simultaneous_intervals",
            f"any of {CLASSES} misses, 100 queries each; {near}",
            LEVEL + 2 * SLACK,
            partial(draws.any_missed, equal),
        ),
        Claim("permutation_test", "one population, 30 and 40 values; exact", LEVEL, draws.permuted),
        Claim(
            "ratio_of_percentiles",
            f"p95 of 400 over p95 of 400 latencies; {near}",
            LEVEL + 2 * SLACK,
            partial(draws.ratio_missed, 0.95, 400),
        ),
        Claim(
            "power_of_pairs",
            "the randomisation test at pairs_needed for 80 %",
            0.8,
            partial(draws.seen, simulated.better),
            "at_least",
        ),
        Claim(
            "power_of_non_inferiority",
            "equal systems at pairs_for_margin for 80 %, margin 0.02",
            0.8,
            partial(draws.shown_no_worse, equal, 0.02),
            "at_least",
        ),
        Claim(
            "power_of_rows",
            "0.1 % of rows are faulty, rows_to_see at 95 %",
            0.95,
            partial(draws.fault_seen, None),
            "at_least",
        ),
        Claim(
            "power_of_rows_finite",
            "5 of 5 000 rows are faulty, rows_to_see at 95 %",
            0.95,
            partial(draws.fault_seen, 5_000),
            "at_least",
        ),
        Claim(
            "power_of_trials",
            "a share of 95 % shown above 90 % at trials_needed for 80 %",
            0.8,
            draws.share_shown,
            "at_least",
        ),
        Claim(
            "mean_interval_too_few",
            "non_inferiority by 30 queries: a sample often holds no "
            "loss at all; there the bound by betting is right",
            SIDE + SLACK,
            partial(draws.no_worse, worse, 30, 0.02),
            limit=True,
        ),
        Claim(
            "peeking",
            "a 95 % t interval of overlap@10 read after each query from the tenth on;"
            " the confidence sequence may be",
            LEVEL,
            partial(draws.peeked, simulated.overlaps, 0.9),
            limit=True,
        ),
    ]


def _simulate(runs: int, seed: int, index: int) -> tuple[dict[str, Any], float]:
    one, began = claims()[index], time.perf_counter()
    generator = np.random.default_rng([seed, index])
    came = sum(int(np.sum(one.draw(generator, size))) for size in _batches(runs))
    low, high = clopper_pearson(came, runs, confidence=CONFIDENCE)
    holds = low <= one.bound if one.side == "at_most" else high >= one.bound
    row = {
        "name": one.name,
        "claim": one.claim,
        "rate": round(came / runs, 5),
        "rate_ci": [round(low, 5), round(high, 5)],
        one.side: round(one.bound, 5),
        "count": came,
        "holds": holds,
    }
    return row, time.perf_counter() - began


def _batches(runs: int) -> Iterator[int]:
    for start in range(0, runs, _BATCH):
        yield min(_BATCH, runs - start)


if __name__ == "__main__":
    main()
