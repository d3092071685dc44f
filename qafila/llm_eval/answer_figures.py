"""What language models answered to golden prompts: from single answers to the figures of a system.

Also the agreement of a grading model with people, without which its grades count for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from qafila.llm_eval.golden import Prompt
from qafila.llm_eval.grades import Graded
from qafila.statistics.intervals import clopper_pearson
from qafila.statistics.ranking_metrics import mean, percentile

FEWEST_HUMAN_GRADES = 30


@dataclass(frozen=True)
class Answered:
    """One system's answer to one prompt. ``graded`` is None when there was none, only an error.

    Times in seconds, None where the service did not stream. ``estimated``: the service did not say
    how many tokens it read and wrote, so they were counted here, by another tokenizer. ``cost`` is
    in the budget's currency, None without prices. ``by_model`` is what the grading model said.
    """

    text: str = ""
    graded: Graded | None = None
    error: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    estimated: bool = False
    cost: Decimal | None = None
    first_token_s: float | None = None
    per_token_s: float | None = None
    total_s: float | None = None
    tries: int = 1
    by_model: float | None = None

    @property
    def score(self) -> float | None:
        """Return the score by the deterministic graders; None for an error."""
        return None if self.graded is None else self.graded.score


@dataclass(frozen=True)
class SystemFigures:
    """What one system did over the prompts; None where nothing could be measured.

    ``score`` and ``by_grader`` are means of 0 to 1; times in milliseconds; ``tokens_*`` are means
    an answer.
    """

    prompts: int
    errors: int
    score: float | None
    by_grader: Mapping[str, float | None]
    refusals: int
    format_breaks: int
    tokens_in: float | None
    tokens_out: float | None
    tokens_estimated: int
    cost_per_answer: str | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    per_token_p50_ms: float | None
    total_p50_ms: float | None
    retried: int


@dataclass(frozen=True)
class Calibration:
    """How well a grading model agrees with people: Cohen's kappa and plain accuracy, with 95 %."""

    grades: int
    ungraded: int
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    accuracy: float | None
    accuracy_low: float
    accuracy_high: float
    at_least: float
    usable: bool
    because: str


def grader_score(prompt: Prompt, answered: Answered, kind: str) -> float | None:
    """Return the mean grade by graders of one kind; None when there is none for this prompt."""
    if answered.graded is None:
        return None
    pairs = zip(prompt.deterministic, answered.graded.grades, strict=True)
    grades = [g.score for grader, g in pairs if grader.kind == kind]
    return None if any(g is None for g in grades) else mean(grades)


def grader_kinds(prompts: Sequence[Prompt]) -> list[str]:
    """Return the kinds of deterministic graders that the prompts have, as they come first."""
    return list(dict.fromkeys(g.kind for p in prompts for g in p.deterministic))


def measure_system(prompts: Sequence[Prompt], answers: Sequence[Answered]) -> SystemFigures:
    """Return the figures of one system. Errors have no quality and no times: they are counted."""
    good = [a for a in answers if a.graded is not None]
    costs = [a.cost for a in good if a.cost is not None]
    firsts = [a.first_token_s * 1e3 for a in good if a.first_token_s is not None]
    each = [a.per_token_s * 1e3 for a in good if a.per_token_s is not None]
    totals = [a.total_s * 1e3 for a in good if a.total_s is not None]
    return SystemFigures(
        prompts=len(answers),
        errors=len(answers) - len(good),
        score=mean([a.score for a in good]),
        by_grader={
            kind: mean([grader_score(p, a, kind) for p, a in zip(prompts, answers, strict=True)])
            for kind in grader_kinds(prompts)
        },
        refusals=sum(a.graded.refused for a in good if a.graded),
        format_breaks=sum(bool(a.graded.format_break) for a in good if a.graded),
        tokens_in=mean([a.tokens_in for a in good]),
        tokens_out=mean([a.tokens_out for a in good]),
        tokens_estimated=sum(a.estimated for a in good),
        cost_per_answer=None
        if not costs or len(costs) < len(good)
        else str((sum(costs, Decimal(0)) / len(costs)).quantize(Decimal("0.00000001"))),
        first_token_p50_ms=percentile(firsts, 0.50),
        first_token_p95_ms=percentile(firsts, 0.95),
        per_token_p50_ms=percentile(each, 0.50),
        total_p50_ms=percentile(totals, 0.50),
        retried=sum(a.tries > 1 for a in answers),
    )


def calibrate(grades: Sequence[tuple[bool, bool | None]], *, at_least: float) -> Calibration:
    """Measure a grading model against people: pairs of (person's, model's), None: not readable.

    Cohen's kappa (Educational and Psychological Measurement 1960): (p − e) / (1 − e), p being the
    share of equal grades and e the share expected of two that grade by chance with the same
    frequencies. Its interval is Clopper and Pearson's of p with e taken as known, as in Cohen's own
    standard error. Usable when the whole interval is at or above ``at_least`` and people graded 30
    or more. What could not be read counts as disagreement.
    """
    n = len(grades)
    unread = sum(model is None for _, model in grades)
    if n == 0:
        return Calibration(
            0, 0, None, None, None, None, 0.0, 1.0, at_least, False, "nobody has graded an answer"
        )
    equal = sum(person == model for person, model in grades)
    low, high = clopper_pearson(equal, n)
    yes = sum(person for person, _ in grades) / n
    model_yes = sum(model is True for _, model in grades) / n
    chance = yes * model_yes + (1 - yes) * (1 - model_yes)
    kappa, kappa_low, kappa_high = (
        None if chance >= 1 else (p - chance) / (1 - chance) for p in (equal / n, low, high)
    )
    because = ""
    if n < FEWEST_HUMAN_GRADES:
        because = f"{n} human grades are too few, {FEWEST_HUMAN_GRADES} are needed"
    elif kappa is None or kappa_low is None:
        because = "people and model gave every answer the same grade, so agreement means nothing"
    elif kappa_low < at_least:
        because = (
            f"its kappa with people is {kappa:.2f} and may be as low as {kappa_low:.2f}, less "
            f"than {at_least:g}"
        )
    return Calibration(
        n,
        unread,
        kappa,
        kappa_low,
        kappa_high,
        equal / n,
        low,
        high,
        at_least,
        not because,
        because,
    )
