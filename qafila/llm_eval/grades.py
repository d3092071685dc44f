"""Grade an answer without anybody's opinion: the same answer always gets the same grade."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import regex

from qafila.llm_eval.golden import (
    ByModel,
    Contains,
    Exact,
    Grader,
    Grounded,
    JsonSchema,
    Numeric,
    Prompt,
    Regex,
)
from qafila.text.normal_form import bare, digits_to_ascii, normalise
from qafila.text.schema_check import NotChecked, first_violation

_PATTERN_SECONDS = 1.0  # an answer is short; a pattern that takes longer would take for ever
_LONGEST = 1 << 18  # characters of an answer that is graded; decimals of a million digits overflow
_BEGINNING = 240  # characters in which a refusal shows
_NUMBER = regex.compile(
    r"(?<!\w)(?<!\d[.,٫])[-+\u2212]?"
    r"(?:\d{1,3}(?:[ \u00a0\u202f'’٬]\d{3})+(?!\d)(?:[.,٫]\d+)?|\d+(?:[.,٫]\d+)*"
    r"|(?<![.,])[.,٫]\d+(?![.,]?\d))(?:[eE][-+]?\d{1,3})?"
)
_GROUPS = regex.compile(r"[-+]?[1-9]\d{0,2}(?:[.,]\d{3})+")
_PLAIN_DIGITS = str.maketrans("\u2212", "-", " \u00a0\u202f'’٬")  # no blanks between groups
_FENCE = regex.compile(r"```[a-zA-Z]*+")
_CITED = regex.compile(r"(?:\[[^\[\]\n]{1,200}\]\s*)+")
_ONE_CITED = regex.compile(r"\[([^\[\]\n]{1,200})\]")
_QUOTES = {
    '"': regex.compile('"'),
    "“": regex.compile("”"),
    "«": regex.compile("»"),
    "„": regex.compile("[“”]"),
}  # what closes each
_OPENING = regex.compile('["“«„]')
_NO_SEPARATOR = str.maketrans("", "", ".,٫")
_LIST_NUMBER = regex.compile(r"(?m)^[^\S\n]*+\d++[.)]\s")


@dataclass(frozen=True)
class Grade:
    """1 right, 0 wrong, None: it could not be graded; with the reason for a person."""

    score: float | None
    because: str


@dataclass(frozen=True)
class Graded:
    """One answer: a grade a grader in their order, and how the answer broke its format, if so."""

    grades: tuple[Grade, ...]
    format_break: str = ""
    refused: bool = False

    @property
    def score(self) -> float | None:
        """Return the mean over the graders; None when there is none, or one could not grade."""
        scores = [g.score for g in self.grades]
        if not scores or any(s is None for s in scores):
            return None
        return sum(s for s in scores if s is not None) / len(scores)


def grade_answer(
    prompt: Prompt, answer: str, *, cut: bool = False, refusals: Sequence[str] = ()
) -> Graded:
    """Grade one answer by every deterministic grader; ``cut``: it ended at its most tokens."""
    return Graded(
        tuple(grade(grader, answer) for grader in prompt.deterministic),
        format_break(prompt, answer, cut=cut),
        is_refusal(answer, refusals),
    )


def grade(grader: Grader, answer: str) -> Grade:
    """Return the grade of an answer by one grader; one of more than 262 144 characters is wrong.

    Raises:
        ValueError: a grader that needs a model.
    """
    if len(answer) > _LONGEST and not isinstance(grader, ByModel):
        return Grade(0.0, f"is longer than {_LONGEST} characters")
    match grader:
        case Exact():
            return _exact(grader, answer)
        case Regex():
            return _regex(grader, answer)
        case JsonSchema():
            return _json_schema(grader, answer)
        case Numeric():
            return _numeric(grader, answer)
        case Contains():
            return _contains(grader, answer)
        case Grounded():
            return _grounded(grader, answer)
        case ByModel():
            raise ValueError("a model's grade is asked for, not computed")


def format_break(prompt: Prompt, answer: str, *, cut: bool) -> str:
    """Return how an answer broke the format it should have; empty when it did not."""
    if not answer.strip():
        return "empty"
    if cut:
        return "cut off at its most tokens"
    fenced = any(isinstance(g, JsonSchema) and g.allow_fence for g in prompt.graders)
    if prompt.wants_json and read_json(answer, fenced=fenced) is None:
        return "no JSON where JSON was asked for"
    return ""


def is_refusal(answer: str, patterns: Sequence[str]) -> bool:
    """Say whether an answer begins like a refusal. A heuristic: by the words of a list only."""
    beginning = normalise(answer[: 2 * _BEGINNING])[:_BEGINNING]
    return any(_holds(beginning, normalise(p), whole_words=True) for p in patterns)


def numbers_in(text: str) -> list[frozenset[Decimal]]:
    """Return every number in order, each with all that it can mean: 1,234 is two numbers.

    Digits of any script; spaces, apostrophes, commas and points as a language may put them. What
    has several points and no groups of three, such as 1.2.3, is no number and is left out.
    """
    found = (_readings(m.group()) for m in _NUMBER.finditer(digits_to_ascii(text)))
    return [readings for readings in found if readings]


def read_json(answer: str, *, fenced: bool) -> list[Any] | None:
    """Return the value in a list of one; None when the answer is no JSON (RFC 8259)."""
    inner = _in_fence(answer) if fenced else None
    try:
        return [json.loads(answer if inner is None else inner, parse_constant=_no_constant)]
    except (ValueError, RecursionError):
        return None


def _in_fence(answer: str) -> str | None:
    """Return what stands between the lines of a Markdown fence; None when there is no fence."""
    text = answer.strip()
    begin = _FENCE.match(text)
    if begin is None or len(text) < 6 or not text.endswith("```"):
        return None
    inner = text[begin.end() : -3]
    content = inner.strip()
    before, _, after = inner.partition(content) if content else (inner, "", "")
    if "\n" not in before or "\n" not in after:
        return None
    return inner[before.rfind("\n") + 1 : len(inner) - len(after) + after.rfind("\n")]


def _quotations(text: str) -> Iterator[str]:
    """Yield what stands in quotation marks on one line.

    A mark that nothing closes on its line is looked for once a line, not from each of its kind.
    """
    for line in text.split("\n"):
        unclosed: set[str] = set()
        at = 0
        while (opening := _OPENING.search(line, at)) is not None:
            at = opening.end()
            if opening.group() in unclosed:
                continue
            closing = _QUOTES[opening.group()].search(line, at)
            if closing is None:
                unclosed.add(opening.group())
            elif closing.start() > at:
                yield line[at : closing.start()]
                at = closing.end()


def _exact(grader: Exact, answer: str) -> Grade:
    expected = [grader.expected] if isinstance(grader.expected, str) else grader.expected
    right = bare(answer) in {bare(e) for e in expected}
    return Grade(float(right), "" if right else f"is not {' or '.join(map(repr, expected))}")


def _regex(grader: Regex, answer: str) -> Grade:
    pattern = regex.compile(grader.pattern, regex.IGNORECASE if grader.ignore_case else 0)
    find = pattern.fullmatch if grader.whole else pattern.search
    try:
        right = find(answer.strip(), timeout=_PATTERN_SECONDS) is not None
    except TimeoutError:
        return Grade(None, f"the pattern takes more than {_PATTERN_SECONDS:g} s")
    return Grade(float(right), "" if right else f"does not match {grader.pattern}")


def _json_schema(grader: JsonSchema, answer: str) -> Grade:
    value = read_json(answer, fenced=grader.allow_fence)
    if value is None:
        return Grade(0.0, "is no JSON")
    try:
        wrong = first_violation(grader.wanted, value[0], _PATTERN_SECONDS)
    except NotChecked as error:
        return Grade(None, str(error))
    return Grade(float(not wrong), wrong)


def _numeric(grader: Numeric, answer: str) -> Grade:
    found = numbers_in(answer)
    if not found:
        return Grade(0.0, "has no number")
    if grader.which == "only" and len(found) > 1:
        return Grade(0.0, f"has {len(found)} numbers, not one")
    looked_at = {"last": found[-1:], "first": found[:1]}.get(grader.which, found)
    within = max(grader.tolerance, grader.relative * abs(grader.expected))
    right = any(abs(n - grader.expected) <= within for numbers in looked_at for n in numbers)
    said = " ".join(sorted(str(n) for n in looked_at[-1]))
    return Grade(float(right), "" if right else f"says {said}, not {grader.expected}")


def _contains(grader: Contains, answer: str) -> Grade:
    text = normalise(answer)

    def holds(words: str) -> bool:
        return _holds(text, normalise(words), whole_words=grader.whole_words)

    lacking = [w for w in grader.all if not holds(w)]
    forbidden = [w for w in grader.none if holds(w)]
    one = not grader.any or any(holds(w) for w in grader.any)
    reasons = [f"lacks {w!r}" for w in lacking] + [f"has {w!r}" for w in forbidden]
    reasons += [] if one else [f"has none of {', '.join(map(repr, grader.any))}"]
    return Grade(float(not reasons), ", ".join(reasons))


def _grounded(grader: Grounded, answer: str) -> Grade:
    """Hold what stands before each citation, and after the last one, against the chunks it names.

    Numbers and quoted words are held against them; words outside quotation marks are not.
    """
    cited = list(_CITED.finditer(answer))
    if not cited:
        return Grade(0.0, "cites nothing")
    chunks = {bare(name): text for name, text in grader.chunks.items()}
    begin, reasons = 0, []
    for place, group in enumerate(cited):
        said = answer[begin : group.start()]
        if place == len(cited) - 1:
            said = f"{said} {answer[group.end() :]}"
        names = [n for one in _ONE_CITED.findall(group.group()) for n in regex.split("[,;]", one)]
        unknown = [n.strip() for n in names if bare(n) not in chunks]
        reasons += [f"cites {n!r}, which was not given" for n in unknown]
        source = "\n".join(chunks[bare(n)] for n in names if bare(n) in chunks)
        if not unknown:
            reasons += _unsupported(said, source)
        begin = group.end()
    return Grade(float(not reasons), "; ".join(reasons))


def _unsupported(said: str, source: str) -> list[str]:
    text = normalise(source)
    reasons = [f"quotes {q!r}, not in the source" for q in _quotations(said) if bare(q) not in text]
    known = {n for readings in numbers_in(source) for n in readings}
    return reasons + [
        f"says {min(map(str, readings))}, not in the source"
        for readings in numbers_in(_LIST_NUMBER.sub("", said))
        if not readings & known
    ]


def _holds(text: str, words: str, *, whole_words: bool) -> bool:
    if not whole_words:
        return words in text
    return regex.search(rf"(?<!\w){regex.escape(words)}(?!\w)", text) is not None


def _readings(found: str) -> frozenset[Decimal]:
    text = found.translate(_PLAIN_DIGITS)
    mantissa, e, power = text.replace("E", "e").partition("e")
    separators = [c for c in mantissa if c in ".,٫"]
    plain = [mantissa]
    if len(set(separators)) > 1:  # the last one is the decimal's
        whole, _, part = mantissa.rpartition(separators[-1])
        plain = [f"{_joined(whole)}.{part}"] if separators.count(separators[-1]) == 1 else []
    elif len(separators) > 1:
        plain = [_joined(mantissa)] if _in_groups(mantissa) else []
    elif separators:
        plain = [mantissa.replace(",", ".").replace("٫", ".")]
        if separators[0] != "٫" and _in_groups(mantissa):
            plain.append(_joined(mantissa))
    try:
        return frozenset(Decimal(p + e + power) for p in plain)
    except InvalidOperation:
        return frozenset()


def _joined(text: str) -> str:
    return text.translate(_NO_SEPARATOR)


def _in_groups(text: str) -> bool:
    return _GROUPS.fullmatch(text) is not None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
