"""The objectives of rung 11, each judged by its 95 % interval, and how many prompts decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import ceil, exp, log

import numpy as np
from scipy import special

from qafila.llm_eval.answer_figures import Answered
from qafila.statistics.intervals import mean_interval, wilson
from qafila.statistics.paired import PairedComparison, compare_paired, smallest_effect
from qafila.statistics.paired_shares import compare_shares
from qafila.statistics.sample_sizes import pairs_needed
from qafila.validation.judge_common import FEWEST_QUERIES as FEWEST
from qafila.validation.judged import both_measured
from qafila.workload.inference import AnswerObjectives
from qafila.workload.verdict import Judgement, Verdict

_MOST_PROMPTS = 100_000  # beyond that, asking for more prompts is no advice
_NAMED = 3  # prompts in a sentence


def compare_scores(
    candidate: Sequence[float], baseline: Sequence[float], *, seed: int, confidence: float = 0.95
) -> PairedComparison:
    """Compare scores of 0 to 1, prompt by prompt.

    Of scores that are right or wrong the interval is Tango's and the test McNemar's, exact. Of
    others it is ``compare_paired``; when no prompt differs at all, as wide as Wilson's interval of
    the share that might: equal answers to n prompts do not prove that all are equal.
    """
    differences = [c - b for c, b in zip(candidate, baseline, strict=True)]
    if all(d in (-1.0, 0.0, 1.0) for d in differences):
        shares = compare_shares(
            differences.count(1.0), differences.count(-1.0), len(differences), confidence=confidence
        )
        effect = smallest_effect(np.asarray(differences)) if len(differences) > 1 else 1.0
        return PairedComparison(
            shares.pairs, shares.delta, shares.ci_low, shares.ci_high, shares.p_value, effect
        )
    found = compare_paired(candidate, baseline, seed=seed, confidence=confidence)
    if len(set(differences)) > 1:
        return found
    unseen = wilson(0, len(differences), confidence=confidence)[1]
    return PairedComparison(
        found.pairs,
        found.delta,
        max(-1.0, found.delta - unseen),
        min(1.0, found.delta + unseen),
        found.p_value,
        found.smallest_effect,
    )


def prompts_needed(differences: Sequence[float], at: float, seen: int) -> int | None:
    """Return how many prompts like these would decide against a limit; None: no number would help.

    With 80 % power at the 5 % level. When nothing differed, so many that the interval of none is
    within the limit.
    """
    distance = abs(float(np.mean(differences)) - at) if len(differences) else 0.0
    if distance < 1e-9:
        return None
    z = float(special.ndtri(0.975))
    least = ceil(z * z * (1 - distance) / distance) + 1 if distance < 1 else FEWEST
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    try:
        by_spread = pairs_needed(distance, spread) if spread else 0
    except ValueError:
        return None
    needed = max(FEWEST, seen + 1, least if not spread else 0, by_spread)
    return needed if needed <= _MOST_PROMPTS else None


def judge_score(
    found: PairedComparison,
    scores: tuple[Sequence[float], Sequence[float]],
    at_least: float,
    lost: Sequence[Mapping[str, object]],
) -> Judgement:
    differences = [c - b for c, b in zip(*scores, strict=True)]
    numbers = {**asdict(found), "at_least": at_least}
    said = (
        f"mean score {np.mean(scores[0]):.3f} against the baseline's {np.mean(scores[1]):.3f} on "
        f"{found.pairs:,} prompts, {found.delta:+.3f} ({found.ci_low:+.3f}…{found.ci_high:+.3f}, "
        "95 %)"
    )
    if found.ci_low >= at_least:
        return Judgement(Verdict.PASS, f"{said}, all of it at or above {at_least:+g}.", numbers)
    if found.ci_high < at_least:
        names = [f"{r['prompt']} ({r['why']})" for r in lost[:_NAMED]]
        first = f" First of the lost: {', '.join(names)}." if names else ""
        return Judgement(Verdict.FAIL, f"{said}, all of it below {at_least:+g}.{first}", numbers)
    return _undecided(said, f"{at_least:+g}", differences, at_least, numbers)


def judge_shares(
    baseline: Sequence[Answered], candidate: Sequence[Answered], at_least: float
) -> dict[str, Judgement]:
    """Judge how many more answers refuse, or break their format, than the baseline's."""
    more = max(0.0, -at_least)
    kinds: dict[str, Callable[[Answered], bool]] = {
        "refusals": lambda a: a.graded is not None and a.graded.refused,
        "broken formats": lambda a: a.graded is not None and bool(a.graded.format_break),
    }
    both = [
        (c, b)
        for c, b in zip(candidate, baseline, strict=True)
        if c.graded is not None and b.graded is not None
    ]
    found = {}
    for name, has in kinds.items():
        marks = [(has(c), has(b)) for c, b in both]
        differences = [float(c) - float(b) for c, b in marks]
        shares = compare_shares(differences.count(1.0), differences.count(-1.0), len(both))
        said = (
            f"{name}: {sum(c for c, _ in marks):,} of {len(both):,} answers against the baseline's "
            f"{sum(b for _, b in marks):,}, {shares.delta:+.3f} "
            f"({shares.ci_low:+.3f}…{shares.ci_high:+.3f}, 95 %, p {shares.p_value:.3g})"
        )
        numbers = {**asdict(shares), "at_most": more}
        if shares.ci_high <= more:
            found[name] = Judgement(Verdict.PASS, f"{said}, at most {more:+g}.", numbers)
        elif shares.ci_low > more:
            found[name] = Judgement(Verdict.FAIL, f"{said}, all of it above {more:+g}.", numbers)
        else:
            found[name] = _undecided(said, f"{more:+g}", differences, more, numbers)
    return found


def judge_times(
    baseline: Sequence[Answered],
    candidate: Sequence[Answered],
    objectives: AnswerObjectives,
    seed: int,
) -> dict[str, Judgement]:
    """Judge the mean ratio of the times, prompt by prompt (geometric); what was not timed is left.

    A time to the first token that was not measured holds nobody up: a service need not stream.
    """
    kinds: dict[str, tuple[Callable[[Answered], float | None], float]] = {
        "time to first token": (lambda a: a.first_token_s, objectives.first_token),
        "time a token": (lambda a: a.per_token_s, objectives.per_token),
    }
    found = {}
    for name, (time_of, at_most) in kinds.items():
        new, old = both_measured([time_of(a) for a in candidate], [time_of(a) for a in baseline])
        logs = [log(c / b) for c, b in zip(new, old, strict=True) if c > 0 and b > 0]
        if len(logs) < FEWEST:
            continue
        low, high = (exp(x) for x in mean_interval(logs, seed=seed))
        ratio = exp(float(np.mean(logs)))
        said = (
            f"{name}: {ratio:.2f} times the baseline's ({low:.2f}…{high:.2f}, 95 %) on "
            f"{len(logs):,} prompts"
        )
        numbers = {
            "ratio": ratio,
            "ci_low": low,
            "ci_high": high,
            "at_most": at_most,
            "pairs": len(logs),
        }
        if high <= at_most:
            found[name] = Judgement(Verdict.PASS, f"{said}, at most {at_most:g}.", numbers)
        elif low > at_most:
            found[name] = Judgement(Verdict.FAIL, f"{said}, all of it above {at_most:g}.", numbers)
        else:
            found[name] = _undecided(said, f"{at_most:g}", logs, log(at_most), numbers)
    return found


def _undecided(
    said: str,
    limit: str,
    differences: Sequence[float],
    at: float,
    numbers: Mapping[str, object],
) -> Judgement:
    needed = prompts_needed(differences, at, len(differences))
    advice = (
        "what was measured lies on the limit, and no number of prompts would decide"
        if needed is None
        else f"some {needed:,} prompts like these would decide, {needed - len(differences):,} more"
    )
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{said}, on both sides of {limit}: {advice}.",
        {**numbers, "needed": needed},
    )
