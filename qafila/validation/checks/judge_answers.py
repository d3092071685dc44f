"""Rung 11: judge a language model against the one that serves, by golden prompts.

Each objective is judged by its 95 % interval, and the worst decides: the mean score, refusals,
broken formats, and both times. Graders, classes and languages are looked at as well, all together
at 95 %: one of them can fail the rung, none can hold it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from qafila.llm_eval.answer_figures import (
    Answered,
    Calibration,
    SystemFigures,
    grader_kinds,
    grader_score,
    measure_system,
)
from qafila.llm_eval.golden import Prompt
from qafila.statistics.multiplicity import holm, simultaneous_confidence
from qafila.statistics.paired import PairedComparison
from qafila.validation.checks.answer_tables import lost_prompts, system_row
from qafila.validation.checks.judge_answer_objectives import (
    compare_scores,
    judge_score,
    judge_shares,
    judge_times,
    prompts_needed,
)
from qafila.validation.judge_common import FEWEST_QUERIES as FEWEST
from qafila.validation.judged import both_measured
from qafila.validation.model import Detail
from qafila.workload.inference import AnswerObjectives
from qafila.workload.verdict import Judgement, Verdict, worst


@dataclass(frozen=True)
class JudgedAnswers:
    """The verdict about the candidate with everything it rests on."""

    judgement: Judgement
    parts: Mapping[str, Judgement]
    systems: Mapping[str, SystemFigures]
    paired: Mapping[str, PairedComparison] = field(default_factory=dict)
    smallest_effect: str = ""
    lost: Sequence[Mapping[str, object]] = ()

    @property
    def details(self) -> list[Detail]:
        """Return the tables for people."""
        rows = [{"system": name, **system_row(one)} for name, one in self.systems.items()]
        lost = [Detail("What the candidate lost", self.lost)] if self.lost else []
        return [*lost, Detail("Systems", rows)]

    def figures(self) -> dict[str, object]:
        """Return what the evidence keeps."""
        return {
            "verdict": self.judgement.verdict.value,
            "sentence": self.judgement.sentence,
            "systems": {name: asdict(one) for name, one in self.systems.items()},
            "paired": {name: asdict(one) for name, one in self.paired.items()},
            "parts": {
                name: {"verdict": j.verdict.value, "sentence": j.sentence, **j.numbers}
                for name, j in self.parts.items()
            },
        }


def judge_answers(
    prompts: Sequence[Prompt],
    baseline: Sequence[Answered],
    candidate: Sequence[Answered],
    objectives: AnswerObjectives,
    *,
    errors_at_most: float,
    seed: int,
    planned: int | None = None,
    broken: str = "",
    capped: str = "",
    calibration: Calibration | None = None,
) -> JudgedAnswers:
    """Judge the candidate; both lists in the order of the prompts.

    ``planned`` is how many prompts there are, when not all were asked; ``broken`` says why a
    service could not be asked any further, which is an ERROR; ``capped`` that the money ended
    first, and what was asked until then is judged unless that would pass: the prompts that money
    leaves out are no random ones.
    """
    sides = {"baseline": baseline, "candidate": candidate}
    systems = {name: measure_system(prompts, side) for name, side in sides.items()}
    parts: dict[str, Judgement] = {}
    for name, measured in systems.items():
        parts[f"errors of {name}"] = _errors(name, measured, errors_at_most, sides[name])
    if broken or any(j.verdict is Verdict.ERROR for j in parts.values()):
        sentence = broken or " ".join(
            j.sentence for j in parts.values() if j.verdict is Verdict.ERROR
        )
        return JudgedAnswers(Judgement(Verdict.ERROR, f"answers: {sentence}"), parts, systems)
    scores = both_measured([a.score for a in candidate], [a.score for a in baseline])
    pairs = len(scores[0])
    if pairs < FEWEST:
        judged = _too_few(pairs, planned or len(prompts), objectives.at_least_delta, capped)
        return JudgedAnswers(judged, parts, systems)
    overall = compare_scores(*scores, seed=seed)
    lost = lost_prompts(prompts, baseline, candidate)
    decide = {
        "score": judge_score(overall, scores, objectives.at_least_delta, lost),
        **judge_shares(baseline, candidate, objectives.at_least_delta),
        **judge_times(baseline, candidate, objectives, seed),
    }
    shown, paired = _breakdown(
        prompts, baseline, candidate, objectives.at_least_delta, seed, calibration
    )
    if calibration is not None and not calibration.usable:
        shown["grade by a model"] = Judgement(
            Verdict.INCONCLUSIVE,
            f"the model's grades are not usable and decide nothing: {calibration.because}.",
            asdict(calibration),
        )
    failed = {n: j for n, j in shown.items() if j.verdict is Verdict.FAIL}
    return JudgedAnswers(
        _conclusion(decide, failed, pairs, capped),
        {**parts, **decide, **shown},
        systems,
        {"score": overall, **paired},
        f"a loss of {_visible(overall):.3f} in the mean score (80 % power)",
        lost,
    )


def _errors(
    name: str, measured: SystemFigures, at_most: float, answers: Sequence[Answered]
) -> Judgement:
    numbers = {"prompts": measured.prompts, "errors": measured.errors, "at_most": at_most}
    if measured.prompts == 0:
        return Judgement(Verdict.INCONCLUSIVE, f"{name}: no prompt was asked.", numbers)
    first = next((a.error for a in answers if a.graded is None), "")
    said = f"{name}: {measured.errors:,} of {measured.prompts:,} prompts ended in an error"
    if measured.errors / measured.prompts > at_most:
        return Judgement(
            Verdict.ERROR,
            f"{said} ({first}), more than {at_most:g} of them: it was not measured.",
            numbers,
        )
    return Judgement(Verdict.PASS, f"{said}.", numbers)


def _too_few(pairs: int, planned: int, at_least: float, capped: str) -> Judgement:
    needed = prompts_needed([0.0] * max(2, pairs), at_least, pairs) or FEWEST
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"answers: {pairs:,} of {planned:,} prompts have a score on both sides, too few to judge; "
        f"{needed:,} are needed when the two answer alike, at least {FEWEST} in any case."
        + (f" The spend cap ended it: {capped}" if capped else ""),
        {"pairs": pairs, "needed": needed, "at_least": FEWEST},
    )


def _breakdown(
    prompts: Sequence[Prompt],
    baseline: Sequence[Answered],
    candidate: Sequence[Answered],
    at_least: float,
    seed: int,
    calibration: Calibration | None,
) -> tuple[dict[str, Judgement], dict[str, PairedComparison]]:
    """Look at graders, classes and languages, all at once at 95 %."""
    cells: dict[str, tuple[list[float], list[float]]] = {}
    kinds = grader_kinds(prompts)
    for kind in kinds if len(kinds) > 1 else []:
        cells[f"grader {kind}"] = both_measured(
            [grader_score(p, a, kind) for p, a in zip(prompts, candidate, strict=True)],
            [grader_score(p, a, kind) for p, a in zip(prompts, baseline, strict=True)],
        )
    groups = {"class": [p.group for p in prompts], "language": [p.language for p in prompts]}
    for what, values in groups.items():
        names = list(dict.fromkeys(v for v in values if v))
        for name in names if len(set(values)) > 1 else []:
            inside = [v == name for v in values]
            cells[f"{what} {name}"] = both_measured(
                [a.score if i else None for a, i in zip(candidate, inside, strict=True)],
                [a.score if i else None for a, i in zip(baseline, inside, strict=True)],
            )
    if calibration is not None and calibration.usable:
        cells["grade by a model"] = both_measured(
            [a.by_model for a in candidate], [a.by_model for a in baseline]
        )
    cells = {name: cell for name, cell in cells.items() if len(cell[0]) > 1}
    if not cells:
        return {}, {}
    each = simultaneous_confidence(0.95, len(cells))
    paired = {n: compare_scores(*cell, seed=seed, confidence=each) for n, cell in cells.items()}
    adjusted = holm([one.p_value for one in paired.values()])
    judged = {}
    for (name, one), p in zip(paired.items(), adjusted, strict=True):
        said = (
            f"{name}: {one.delta:+.3f} on {one.pairs:,} prompts ({one.ci_low:+.3f}…"
            f"{one.ci_high:+.3f}, 95 % for all {len(paired)} together, p {p:.3g} by Holm)"
        )
        numbers = {**asdict(one), "adjusted_p_value": p, "at_least": at_least}
        if one.ci_low >= at_least:
            judged[name] = Judgement(Verdict.PASS, f"{said}.", numbers)
        elif one.ci_high < at_least and p <= 0.05:
            judged[name] = Judgement(
                Verdict.FAIL, f"{said}, all of it below {at_least:+g}.", numbers
            )
        else:
            judged[name] = Judgement(Verdict.INCONCLUSIVE, f"{said}: too few to say.", numbers)
    return judged, paired


def _conclusion(
    decide: Mapping[str, Judgement], failed: Mapping[str, Judgement], pairs: int, capped: str
) -> Judgement:
    """Say what decided; parts that failed as well are named, or explained where nothing else is."""
    verdict = worst(j.verdict for j in (*decide.values(), *failed.values()))
    numbers = {"pairs": pairs, **decide["score"].numbers}
    if capped and verdict is Verdict.PASS:
        said = f"answers: the spend cap ended it after {pairs:,} prompts: {capped}"
        return Judgement(Verdict.INCONCLUSIVE, said, numbers)
    if verdict is Verdict.PASS:
        return Judgement(verdict, f"answers: {decide['score'].sentence}", numbers)
    deciding = [j.sentence for j in decide.values() if j.verdict is verdict]
    if not deciding:
        deciding = [j.sentence for j in failed.values()]
    elif failed:
        deciding.append(f"Failed as well: {', '.join(failed)}.")
    return Judgement(verdict, f"answers: {' '.join(deciding)}", numbers)


def _visible(found: PairedComparison) -> float:
    """Return the loss that this run would have shown; when nothing differed, what hides so."""
    return max(found.smallest_effect, (found.ci_high - found.ci_low) / 2)
