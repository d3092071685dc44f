"""From rows of judgements to judged queries, all that is wrong with them found at once."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

from qafila.validation.judged import JudgedQuery

Row = tuple[Any, Any, Any, Any, Any, Any]  # query_id, text, relevant, grade, class, language


def collect_queries(rows: Iterable[Row]) -> tuple[list[JudgedQuery], list[str]]:
    """Return the queries in the order in which they first come, and every problem found.

    A query is a row or more: one a judgement, or one without ``relevant`` and ``grade`` where
    nobody has judged it. Class and language are the same in all rows of a query, or empty.
    """
    stated: dict[str, tuple[str, str | None, str | None]] = {}
    grades: dict[str, dict[str, float]] = {}
    problems: dict[str, None] = {}  # ordered, each once
    for query_id, text, relevant, grade, kind, language in rows:
        if query_id is None:
            problems[f"a row with the text {text!r} has no query_id"] = None
            continue
        key = str(query_id)
        told = (str(text or ""), _word(kind), _word(language))
        if not told[0].strip():
            problems[f"query {key!r} has no text"] = None
        if stated.setdefault(key, told) != told:
            problems[f"query {key!r} is there twice, with another text, class or language"] = None
        judged = grades.setdefault(key, {})
        if relevant is None and grade is None:
            continue
        number = _grade(grade)
        if relevant is None:
            problems[f"query {key!r} has a grade for no document"] = None
        elif number is None:
            problems[
                f"query {key!r}, document {str(relevant)!r}: {_shown(grade)} is no grade: "
                "a number of at least 0"
            ] = None
        elif str(relevant) in judged:
            problems[f"query {key!r} judges document {str(relevant)!r} twice"] = None
        else:
            judged[str(relevant)] = number
    queries = [JudgedQuery(key, *told[:1], grades[key], *told[1:]) for key, told in stated.items()]
    return queries, list(problems)


def _word(value: object) -> str | None:
    return str(value).strip() or None if value is not None else None


def _grade(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever the column holds
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) and number >= 0 else None


def _shown(grade: object) -> str:
    return (
        "an empty grade" if grade is None else repr(grade if isinstance(grade, str) else str(grade))
    )
