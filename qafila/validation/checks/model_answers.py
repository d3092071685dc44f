"""Ask two language models the same prompts in turn, and grade what they answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from qafila.errors import SpendCapReached
from qafila.llm_eval.answer_figures import Answered, Calibration, calibrate
from qafila.llm_eval.golden import Message, Prompt
from qafila.llm_eval.grades import grade_answer
from qafila.llm_eval.service import LanguageModelService, Unsaid
from qafila.text.normal_form import normalise
from qafila.text.strict_toml import load_toml
from qafila.validation.checks.judge_answers import JudgedAnswers, judge_answers
from qafila.workload.inference import AnswerObjectives

_IN_A_ROW = 3  # prompts that end in errors, after which a service is taken for down
_YES = re.compile(r"\W*(yes|oui|نعم)\b")
_NO = re.compile(r"\W*(no|non|لا)\b")
_GRADING = """Here is a question, an answer to it, and a rule.

Question:
{question}

Answer:
{answer}

Rule: {rubric}

Does the answer meet the rule? Reply with one word, yes or no."""

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Compared:
    """What both answered to the prompts that both were asked, in their order.

    ``broken`` says why a service could not be asked any further, ``capped`` that the spend cap
    came first.
    """

    prompts: Sequence[Prompt]
    baseline: Sequence[Answered]
    candidate: Sequence[Answered]
    planned: int
    broken: str = ""
    capped: str = ""
    calibration: Calibration | None = None

    def judge(
        self, objectives: AnswerObjectives, *, errors_at_most: float, seed: int
    ) -> JudgedAnswers:
        """Judge the candidate."""
        return judge_answers(
            self.prompts,
            self.baseline,
            self.candidate,
            objectives,
            errors_at_most=errors_at_most,
            seed=seed,
            planned=self.planned,
            broken=self.broken,
            capped=self.capped,
            calibration=self.calibration,
        )


class Broken(Exception):
    """A service cannot be asked any further; says why."""


def compare_models(
    prompts: Sequence[Prompt],
    baseline: LanguageModelService,
    candidate: LanguageModelService,
    *,
    refusals: Sequence[str],
    grader: LanguageModelService | None = None,
    at_least_kappa: float = 0.6,
    tell: Tell = lambda done, of: None,
) -> Compared:
    """Ask both every prompt, one after the other in alternating order, and grade the answers.

    A grading model is first held against the human grades. Only when it agrees with them is it
    asked about the new answers: grades that decide nothing are not paid for.
    """
    sides = {"baseline": baseline, "candidate": candidate}
    found: dict[str, list[Answered]] = {name: [] for name in sides}
    errors = dict.fromkeys(sides, 0)
    calibration: Calibration | None = None
    broken = capped = ""
    for service in sides.values():
        service.connect()
    try:
        calibration = _calibrate(prompts, grader, at_least_kappa)
        judge = grader if calibration is not None and calibration.usable else None
        for number, prompt in enumerate(prompts):
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            both = {name: _ask(name, sides[name], prompt, refusals) for name in order}
            if judge is not None and prompt.rubric is not None:
                both = {n: _graded_by_model(judge, prompt, a) for n, a in both.items()}
            for name, answered in both.items():
                found[name].append(answered)
                errors[name] = errors[name] + 1 if answered.graded is None else 0
                if errors[name] >= _IN_A_ROW:
                    raise Broken(
                        f"{name} ({sides[name].name}) gave no answer to {_IN_A_ROW} prompts in a "
                        f"row: {answered.error}."
                    )
            tell(number + 1, len(prompts))
    except Broken as error:
        broken = str(error)
    except SpendCapReached as error:
        capped = error.what
    both_have = min(len(side) for side in found.values())
    return Compared(
        prompts[:both_have],
        found["baseline"][:both_have],
        found["candidate"][:both_have],
        len(prompts),
        broken,
        capped,
        calibration,
    )


def load_refusals() -> list[str]:
    """Return the beginnings by which a refusal is told, of all languages in the list."""
    text = (files("qafila.data") / "refusals.toml").read_text(encoding="utf-8")
    return [
        phrase
        for row in load_toml(text, "the list of refusals")["language"]
        for phrase in row["phrases"]
    ]


def _ask(
    name: str, service: LanguageModelService, prompt: Prompt, refusals: Sequence[str]
) -> Answered:
    said = service.ask(prompt.messages)
    if isinstance(said, Unsaid):
        if said.final:
            raise Broken(f"{name} ({service.name}): {said.reason}.")
        return Answered(error=said.reason, tries=said.tries)
    reply = said.reply
    cut = reply.finish == "length"
    per_token = None
    if reply.first_s is not None and reply.last_s is not None and said.tokens_out > 1:
        per_token = (reply.last_s - reply.first_s) / (said.tokens_out - 1) or None
    return Answered(
        text=reply.text,
        graded=grade_answer(prompt, reply.text, cut=cut, refusals=refusals),
        tokens_in=said.tokens_in,
        tokens_out=said.tokens_out,
        estimated=said.estimated,
        cost=said.cost,
        first_token_s=reply.first_s,
        per_token_s=per_token,
        total_s=reply.total_s,
        tries=said.tries,
    )


def _calibrate(
    prompts: Sequence[Prompt], grader: LanguageModelService | None, at_least: float
) -> Calibration | None:
    """Let the grading model grade what people graded; None when no prompt asks for its grade."""
    if not any(p.rubric is not None for p in prompts):
        return None
    if grader is None:
        none = calibrate([], at_least=at_least)
        return replace(none, because="no grading model is named")
    grader.connect()
    pairs = [
        (human.good, _verdict_of(grader, prompt, human.answer))
        for prompt in prompts
        for human in prompt.human
    ]
    return calibrate(pairs, at_least=at_least)


def _graded_by_model(grader: LanguageModelService, prompt: Prompt, answered: Answered) -> Answered:
    if answered.graded is None:
        return answered
    verdict = _verdict_of(grader, prompt, answered.text)
    return replace(answered, by_model=None if verdict is None else float(verdict))


def _verdict_of(grader: LanguageModelService, prompt: Prompt, answer: str) -> bool | None:
    """Return what the grading model says; None when it says neither yes nor no."""
    text = _GRADING.format(question=prompt.asked, answer=answer, rubric=prompt.rubric)
    said = grader.ask([Message(role="user", content=text)])
    if isinstance(said, Unsaid):
        if said.final:
            raise Broken(f"the grading model ({grader.name}): {said.reason}.")
        return None
    word = normalise(said.reply.text)
    return True if _YES.match(word) else False if _NO.match(word) else None
