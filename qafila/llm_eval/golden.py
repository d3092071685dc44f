"""Golden prompts: what is asked, and how an answer is graded. One JSON object a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import regex
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from qafila.errors import BadInput
from qafila.text.mistakes import describe
from qafila.workload.corpus import Model

_MOST_CHARACTERS = 1_000_000
Text = Annotated[str, Field(min_length=1, max_length=_MOST_CHARACTERS)]


class Exact(Model):
    """Right when the answer is one of these, in the one form of ``normalising.bare``."""

    kind: Literal["exact"]
    expected: Text | Annotated[list[Text], Field(min_length=1)]


class Regex(Model):
    """Right when the pattern is found; ``whole``: when it is all of the answer."""

    kind: Literal["regex"]
    pattern: Text
    whole: bool = False
    ignore_case: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return pattern


class JsonSchema(Model):
    """Right when the answer is JSON that the schema allows; a fence only when it is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_alias=True)

    kind: Literal["json_schema"]
    wanted: Mapping[str, Any] = Field(alias="schema")
    allow_fence: bool = False

    @field_validator("wanted")
    @classmethod
    def _is_a_schema(cls, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            validator_for(wanted).check_schema(wanted)
            far = [ref for ref in _references(wanted) if not ref.startswith("#")]
            names = set(_names(wanted))
        except SchemaError as error:
            raise ValueError(f"is no JSON schema: {error.message}") from error
        except RecursionError as error:
            raise ValueError("is nested too deeply for a JSON schema") from error
        if {"unevaluatedProperties", "patternProperties"} <= names:
            raise ValueError(
                "has patternProperties with unevaluatedProperties, whose time nobody can bound: "
                "use additionalProperties"
            )
        if far:
            raise ValueError(f"refers to another document, which is never fetched: {far[0]}")
        return wanted


class Numeric(Model):
    """Right when the number lies within a tolerance, absolute or relative to what is expected."""

    kind: Literal["numeric"]
    expected: Decimal = Field(allow_inf_nan=False)
    tolerance: Decimal = Field(Decimal(0), ge=0, allow_inf_nan=False)
    relative: Decimal = Field(Decimal(0), ge=0, allow_inf_nan=False)
    which: Literal["last", "first", "any", "only"] = "last"


class Contains(Model):
    """Right when all of ``all``, one of ``any`` and none of ``none`` occur, in the one form."""

    kind: Literal["contains"]
    all: tuple[Text, ...] = ()
    any: tuple[Text, ...] = ()
    none: tuple[Text, ...] = ()
    whole_words: bool = True

    @model_validator(mode="after")
    def _asks_for_something(self) -> Contains:
        if not (self.all or self.any or self.none):
            raise ValueError("names nothing in all, any or none")
        return self


class Grounded(Model):
    """Right when every citation names a given chunk that holds the numbers and quotes cited."""

    kind: Literal["grounded"]
    chunks: Mapping[str, Text] = Field(min_length=1)


class ByModel(Model):
    """Graded by a language model: yes or no to a rubric. Never part of the score."""

    kind: Literal["model"]
    rubric: Text


Grader = Annotated[
    Exact | Regex | JsonSchema | Numeric | Contains | Grounded | ByModel,
    Field(discriminator="kind"),
]


class Message(Model):
    """One turn of the conversation before the answer."""

    role: Literal["system", "user", "assistant"]
    content: Text


class HumanGrade(Model):
    """An answer that a person read, and whether it is good."""

    answer: str = Field(max_length=_MOST_CHARACTERS)
    good: bool


class Prompt(Model):
    """What is asked, how its answer is graded, and the groups that it counts in."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_alias=True)

    id: Annotated[str, Field(min_length=1, max_length=200)]
    messages: tuple[Message, ...] = Field(validation_alias=AliasChoices("prompt", "messages"))
    graders: tuple[Grader, ...] = Field(validation_alias=AliasChoices("grader", "graders"))
    group: str = Field("", max_length=100, alias="class")
    language: str = Field("", max_length=35)
    human: tuple[HumanGrade, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = dict(value)
        for short, full in (("prompt", "messages"), ("grader", "graders")):
            if short not in given:
                continue
            if full in given:
                raise ValueError(f"has both {short} and {full}")
            one = given.pop(short)
            given[full] = [{"role": "user", "content": one} if short == "prompt" else one]
        return given

    @model_validator(mode="after")
    def _is_whole(self) -> Prompt:
        if not self.graders:
            raise ValueError("graders is empty: nothing could be judged by it")
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("messages must end with what the user says")
        if self.human and self.rubric is None:
            raise ValueError("human grades are for a grader of kind model, and there is none")
        if sum(isinstance(g, ByModel) for g in self.graders) > 1:
            raise ValueError("one grader of kind model is enough")
        return self

    @property
    def deterministic(self) -> tuple[Grader, ...]:
        """Return the graders that make up the score."""
        return tuple(g for g in self.graders if not isinstance(g, ByModel))

    @property
    def rubric(self) -> str | None:
        """Return what a model grades this by, when it does."""
        return next((g.rubric for g in self.graders if isinstance(g, ByModel)), None)

    @property
    def wants_json(self) -> bool:
        """Return whether an answer that is no JSON breaks the format."""
        return any(isinstance(g, JsonSchema) for g in self.graders)

    @property
    def asked(self) -> str:
        """Return the last thing said, for a person to read."""
        return self.messages[-1].content


def read_prompts(what: str, lines: Iterable[tuple[str, bytes | object]]) -> list[Prompt]:
    """Return the prompts of ``what``: (place, line in UTF-8 or parsed value), blank lines left out.

    Raises:
        BadInput: no prompt, or mistakes; all of them in one error, each with its place.
    """
    prompts: list[Prompt] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    for place, line in lines:
        if isinstance(line, bytes) and not line.removeprefix(b"\xef\xbb\xbf").strip():
            continue
        try:
            prompt = Prompt.model_validate(_parsed(line))
        except ValidationError as error:
            problems += [f"{place}: {describe(Prompt, e)[1]}" for e in error.errors()]
            continue
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        if prompt.id in seen:
            problems.append(f"{place}: the id {prompt.id!r} is that of {seen[prompt.id]} already")
        seen.setdefault(prompt.id, place)
        prompts.append(prompt)
    if not prompts and not problems:
        problems = ["there is no prompt in it"]
    if problems:
        raise BadInput(
            f"the golden prompts of {what} cannot be used:",
            problems,
            remedy="mend them; docs/how-to/compare-two-language-models.md shows a line of each "
            "kind.",
        )
    return prompts


def numbered(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield place and content of every line."""
    for number, line in enumerate(content.split(b"\n"), 1):
        yield f"line {number}", line


def _parsed(line: bytes | object) -> object:
    if not isinstance(line, bytes):
        return line
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 (byte {error.start + 1})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error


def _references(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield inner
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _names(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)
