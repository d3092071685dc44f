"""Hold a value against a JSON schema within a bound of time, whatever the two of them are.

A schema's patterns are searched by ``regex``, which can be stopped; ``re``, which ``jsonschema``
uses, cannot. Every keyword is a step and steps are counted, so that references that fan out end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import regex
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry

_MESSAGE_CHARACTERS = 500
_MOST_STEPS = 100_000  # keywords held against values, about a second of them
Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class NotChecked(Exception):
    """A schema cannot be held against a value; the message says why."""


def first_violation(schema: Mapping[str, Any], value: object, seconds: float) -> str:
    """Return where and how a value breaks a schema; empty when it does not.

    Raises:
        NotChecked: it takes too many steps, or one pattern longer than ``seconds``; the schema
            leads into itself; or a pattern is none that can be searched.
    """
    bounds = _Bounds(seconds)
    form = validator_for(schema)
    keywords = {name: bounds.timed(keyword) for name, keyword in form.VALIDATORS.items()}
    for name, keyword in bounds.own().items():
        if name in keywords:
            keywords[name] = bounds.timed(keyword)
    # an empty registry: nothing is ever fetched
    try:
        checker = extend(form, keywords)(_of_one_draft(schema), registry=Registry())
        wrong = next(iter(checker.iter_errors(value)), None)
    except RecursionError as error:
        raise NotChecked("the schema leads into itself") from error
    except regex.error as error:
        raise NotChecked(f"a pattern of the schema cannot be searched: {error}") from error
    if wrong is None:
        return ""
    return f"{wrong.json_path}: {wrong.message}"[:_MESSAGE_CHARACTERS]


_NO_SCHEMAS = frozenset({"const", "enum", "default", "examples"})


def _of_one_draft(schema: Any) -> Any:
    """Return the schema without the names of drafts: each would bring back unbounded keywords."""
    if isinstance(schema, Mapping):
        return {
            key: inner if key in _NO_SCHEMAS else _of_one_draft(inner)
            for key, inner in schema.items()
            if key != "$schema" or not isinstance(inner, str)
        }
    return [_of_one_draft(inner) for inner in schema] if isinstance(schema, list) else schema


class _Bounds:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._steps = 0

    def own(self) -> dict[str, Keyword]:
        """Return the keywords that search patterns, or compare every pair of a list's values."""
        return {
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "additionalProperties": self._additional_properties,
            "uniqueItems": self._unique_items,
        }

    def timed(self, keyword: Keyword) -> Keyword:
        """Return a keyword that stops the check at its last step."""

        def within(checker: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
            self._step()
            for wrong in keyword(checker, wanted, value, schema) or ():
                self._step()
                yield wrong

        return within

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise NotChecked(f"the schema takes more than {_MOST_STEPS} steps")

    def _found(self, pattern: str, text: str) -> bool:
        try:
            return regex.search(pattern, text, timeout=self._seconds) is not None
        except TimeoutError as error:
            raise NotChecked(
                f"the schema's pattern {pattern} takes more than {self._seconds:g} s"
            ) from error

    def _pattern(self, checker: Any, pattern: Any, value: Any, _: Any) -> Iterator[ValidationError]:
        if checker.is_type(value, "string") and not self._found(pattern, value):
            yield ValidationError(f"{value!r} does not match {pattern!r}")

    def _pattern_properties(
        self, checker: Any, patterns: Any, value: Any, _: Any
    ) -> Iterator[ValidationError]:
        if not checker.is_type(value, "object"):
            return
        for pattern, below in patterns.items():
            for name, inner in value.items():
                if self._found(pattern, name):
                    yield from checker.descend(inner, below, path=name, schema_path=pattern)

    def _additional_properties(
        self, checker: Any, allowed: Any, value: Any, schema: Any
    ) -> Iterator[ValidationError]:
        if not checker.is_type(value, "object"):
            return
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name in value:
            if name in known or any(self._found(pattern, name) for pattern in patterns):
                continue
            if checker.is_type(allowed, "object"):
                yield from checker.descend(value[name], allowed, path=name)
            elif not allowed:
                yield ValidationError(f"Additional properties are not allowed: {name!r}")

    def _unique_items(
        self, checker: Any, unique: Any, value: Any, _: Any
    ) -> Iterator[ValidationError]:
        if not unique or not checker.is_type(value, "array"):
            return
        seen = set()
        for item in value:
            key = _comparable(item)
            if key in seen:
                yield ValidationError("an element stands in the list more than once")
                return
            seen.add(key)


def _comparable(value: Any) -> Any:
    """Return what is equal for equal JSON values alone: ``true`` is not 1, and 1.0 is."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list):
        return ("list", *map(_comparable, value))
    if isinstance(value, Mapping):
        return ("object", frozenset((name, _comparable(inner)) for name, inner in value.items()))
    return value
