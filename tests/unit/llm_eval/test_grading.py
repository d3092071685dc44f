"""Graders: which answers are right, which are not, and what people write differently."""

from __future__ import annotations

import itertools
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.errors import BadInput
from qafila.llm_eval.golden import Prompt, numbered, read_prompts
from qafila.llm_eval.grades import (
    Grade,
    Graded,
    format_break,
    grade,
    grade_answer,
    is_refusal,
    numbers_in,
    read_json,
)
from qafila.text.normal_form import bare, normalise


def prompt(*graders: dict[str, Any], **more: Any) -> Prompt:
    given = {"id": "p", "prompt": "What?", "graders": list(graders), **more}
    return read_prompts("test", [("line 1", given)])[0]


def score(grader: dict[str, Any], answer: str) -> float | None:
    return grade(prompt(grader).graders[0], answer).score


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("Paris", " “PARIS.” ", True),
        ("Paris", "Paris, France", False),
        (["yes", "oui"], "Oui !", True),
        ("été", "e\u0301te\u0301", True),  # composed and decomposed
        ("été", "ete", False),  # accents tell words apart
        ("l'été", "L’ÉTÉ", True),
        ("Straße", "STRASSE", True),
        ("ﬁn", "fin", True),
        ("القاهرة", "القَاهِرَةُ", True),  # vowel marks
        ("القاهرة", "القـــاهرة", True),  # tatweel
        ("أحمد", "احمد", True),  # one alef
        ("مدينة", "مدينه", False),
        ("a b", "a\u00a0 b\n", True),
    ],
)
def test_exact_is_the_same_to_a_reader(expected: Any, answer: str, right: bool) -> None:
    assert score({"kind": "exact", "expected": expected}, answer) == float(right)


@given(st.text(max_size=60))
def test_the_one_form_is_one(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert bare(bare(text)) == bare(text)
    if bare(text):
        assert score({"kind": "exact", "expected": text}, text) == 1.0


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("7 + 5 = 12.", [{"7"}, {"5"}, {"12"}]),
        ("7-5", [{"7"}, {"5"}]),
        ("it is -3", [{"-3"}]),
        ("1,234", [{"1.234", "1234"}]),
        ("1.234,5", [{"1234.5"}]),
        ("1,234.5", [{"1234.5"}]),
        ("1 234,5 €", [{"1234.5"}]),
        ("1\u202f234\u202f567", [{"1234567"}]),
        ("0,125", [{"0.125"}]),  # no group begins with 0
        ("1.2.3", []),
        ("1,234,567", [{"1234567"}]),
        ("٣٫٥ كم", [{"3.5"}]),
        ("١٢٣٤", [{"1234"}]),
        ("1e3", [{"1000"}]),
        ("GPT4 and 12kg", [{"12"}]),
        ("in 2020 300 people", [{"2020"}, {"300"}]),
        (".5 or ,25", [{"0.5"}, {"0.25"}]),
        ("so...5, p.12", [{"5"}, {"12"}]),
        ("v1.2", []),
        ("none", []),
    ],
)
def test_numbers_as_languages_write_them(text: str, means: list[set[str]]) -> None:
    assert numbers_in(text) == [{Decimal(n) for n in one} for one in means]


@given(st.decimals(-(10**9), 10**9, places=3))
def test_a_number_is_always_found_as_it_was_written(number: Decimal) -> None:
    for text in (f"{number:f}", f"{number:,}", f"so {number:f} kg"):
        assert score({"kind": "numeric", "expected": str(number)}, text) == 1.0


@pytest.mark.parametrize(
    ("more", "answer", "right"),
    [
        ({}, "2 and 2 make 4", True),  # the last number counts
        ({}, "4 is 2 and 2", False),
        ({"which": "first"}, "4 is 2 and 2", True),
        ({"which": "any"}, "2, 4, 6", True),
        ({"which": "only"}, "4 of 5", False),
        ({"which": "only"}, "four, 4", True),
        ({"tolerance": 0.1}, "4.1", True),  # decimal arithmetic: 4.1 - 4 is 0.1
        ({"tolerance": 0.1}, "4.11", False),
        ({"relative": 0.05}, "3.8", True),
        ({"relative": 0.05}, "3.79", False),
        ({}, "four", False),
    ],
)
def test_numeric(more: dict[str, Any], answer: str, right: bool) -> None:
    assert score({"kind": "numeric", "expected": 4, **more}, answer) == float(right)


@pytest.mark.parametrize("subset", list(itertools.product([0, 1], repeat=3)))
def test_contains_is_all_and_any_and_none_for_every_answer(subset: tuple[int, ...]) -> None:
    """Every answer made of three words: right exactly when all, one of any, and none of none."""
    words = [w for w, there in zip(("red", "green", "blue"), subset, strict=True) if there]
    answer = " ".join(words) or "nothing"
    grader = {"kind": "contains", "all": ["red"], "any": ["green", "black"], "none": ["blue"]}
    assert score(grader, answer) == float(subset == (1, 1, 0))


def test_contains_looks_at_whole_words_unless_told_otherwise() -> None:
    assert score({"kind": "contains", "any": ["no"]}, "I know") == 0
    assert score({"kind": "contains", "any": ["no"]}, "No.") == 1
    arabic = {"kind": "contains", "any": ["مدينة"]}
    assert score(arabic, "المدينة") == 0  # the article is written together
    assert score({**arabic, "whole_words": False}, "المدينة") == 1


def test_regex() -> None:
    assert score({"kind": "regex", "pattern": "[A-Z]{2}-\\d+"}, "it is AB-12.") == 1
    assert score({"kind": "regex", "pattern": "[A-Z]{2}-\\d+", "whole": True}, "AB-12.") == 0
    assert score({"kind": "regex", "pattern": "yes", "ignore_case": True}, "YES") == 1
    slow = grade(prompt({"kind": "regex", "pattern": "(a|aa)+$"}).graders[0], "a" * 60 + "b")
    assert slow.score is None  # the pattern is at fault, not the answer
    assert "takes more than" in slow.because


CITY = {
    "kind": "json_schema",
    "schema": {
        "type": "object",
        "required": ["city"],
        "properties": {"city": {"type": "string"}},
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize(
    ("answer", "right", "broken"),
    [
        ('{"city": "Fès"}', 1, ""),
        ('{"city": 3}', 0, ""),
        ('{"town": "Fès"}', 0, ""),
        ('{"city": "Fès"', 0, "no JSON"),
        ('```json\n{"city": "Fès"}\n```', 0, "no JSON"),
        ("", 0, "empty"),
        ("NaN", 0, "no JSON"),
        ("[" * 100_000, 0, "no JSON"),
        ("9" * 5000, 0, "no JSON"),
    ],
)
def test_json(answer: str, right: float, broken: str) -> None:
    assert score(CITY, answer) == right
    assert format_break(prompt(CITY), answer, cut=False).startswith(broken)
    assert bool(broken) == bool(format_break(prompt(CITY), answer, cut=False))


def test_a_fence_and_a_schema_that_leads_into_itself() -> None:
    fenced = {**CITY, "allow_fence": True}
    assert score(fenced, '```json\n{"city": "Fès"}\n```') == 1
    loop = {"kind": "json_schema", "schema": {"$ref": "#"}}
    assert grade(prompt(loop).graders[0], "{}").score is None


GROUNDED = {
    "kind": "grounded",
    "chunks": {"1": "The tower is 58 m tall.", "b-2": "Elle fut « ouverte » en 1 901."},
}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is 58 m tall [1].", True),
        ("It is 58 m tall. [1] It opened in 1901 [b-2].", True),
        ("It is 58 m tall and opened in 1901 [1][b-2].", True),
        ("It is 58 m tall and opened in 1901 [1, b-2].", True),
        ("It is 59 m tall [1].", False),
        ("It is 58 m tall [b-2].", False),  # true, and not in the chunk cited
        ("It is 58 m tall [3].", False),
        ("It is 58 m tall.", False),  # nothing cited
        ("It was “ouverte” [b-2].", True),
        ('It was "closed" [b-2].', False),
        ("Tall [1], with 3 lifts.", False),  # the tail belongs to the last citation
        ("1. It is 58 m tall [1].", True),  # the number of a list is not a claim
    ],
)
def test_grounded(answer: str, right: bool) -> None:
    assert score(GROUNDED, answer) == float(right)


REFUSALS = ("I cannot", "je ne peux pas", "لا أستطيع")


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I cannot help with that.", True),
        ("Désolé, JE NE PEUX PAS répondre.", True),
        ("لا اسْتطيع المساعدة", True),
        ("Certainly: 4.", False),
        ("4. " + "x" * 300 + " I cannot", False),  # only the beginning is looked at
        ("", False),
    ],
)
def test_refusals_by_their_beginning(answer: str, refused: bool) -> None:
    assert is_refusal(answer, REFUSALS) is refused


@given(st.lists(st.sampled_from([0.0, 1.0, None]), max_size=5))
def test_the_score_is_the_mean_or_unknown(scores: list[float | None]) -> None:
    found = Graded(tuple(Grade(s, "") for s in scores)).score
    if not scores or None in scores:
        assert found is None
    else:
        assert found == sum(s for s in scores if s is not None) / len(scores)


@settings(deadline=None)
@given(st.text(max_size=80), st.booleans())
def test_any_text_gets_the_same_grade_twice_and_never_raises(answer: str, cut: bool) -> None:
    every = prompt(
        {"kind": "exact", "expected": "a"},
        {"kind": "regex", "pattern": "a"},
        CITY,
        GROUNDED,
        {"kind": "numeric", "expected": 1},
        {"kind": "contains", "any": ["a"]},
    )
    first = grade_answer(every, answer, cut=cut, refusals=REFUSALS)
    assert first == grade_answer(every, answer, cut=cut, refusals=REFUSALS)
    assert all(g.score in (0.0, 1.0) for g in first.grades)
    assert all(bool(g.because) == (g.score == 0.0) for g in first.grades)


def test_all_mistakes_of_a_file_with_their_lines() -> None:
    good = {"id": "a", "prompt": "2 + 2?", "grader": {"kind": "numeric", "expected": 4}}
    lines: list[Any] = [
        "\ufeff" + json.dumps(good),  # a mark of the byte order is no mistake
        "",
        "{",
        "[]",
        json.dumps({**good, "id": "b", "colour": 1}),
        json.dumps({"id": "c", "prompt": "x"}),
        json.dumps({**good, "id": "a"}),
        json.dumps({**good, "id": "d", "grader": {"kind": "regex", "pattern": "("}}),
        json.dumps({**good, "id": "e", "grader": {"kind": "json_schema", "schema": {"type": 3}}}),
        json.dumps({**good, "id": "f", "messages": []}),
        json.dumps({**good, "id": "g", "grader": {"kind": "guess"}}),
        json.dumps({**good, "id": "h", "human": [{"answer": "4", "good": True}]}),
        json.dumps(
            {
                **good,
                "id": "i",
                "grader": {"kind": "json_schema", "schema": {"$ref": "http://elsewhere/schema"}},
            }
        ),
        json.dumps({**good, "id": "j", "grader": {"kind": "contains"}}),
        json.dumps({**good, "id": "k", "grader": {"kind": "numeric", "expected": "NaN"}}),
    ]
    content = "\n".join(lines).encode() + b"\n\xff"
    with pytest.raises(BadInput) as caught:
        read_prompts("prompts.jsonl", numbered(content))
    places = [p.split(":")[0] for p in caught.value.problems]
    assert places == [f"line {n}" for n in [3, 4, *range(5, 17)]]  # one a line
    assert "is no JSON" in caught.value.problems[0]
    assert "colour is not a field (known here: id, prompt, messages," in caught.value.problems[2]
    assert "grader is missing" in caught.value.problems[3]
    assert "line 1 already" in caught.value.problems[4]
    assert "graders.0.pattern: is no regular" in caught.value.problems[5]
    assert "never fetched" in caught.value.problems[10]
    with pytest.raises(BadInput, match="no prompt"):
        read_prompts("empty.jsonl", numbered(b"\n\n"))


def test_short_forms_are_what_they_are_short_for() -> None:
    grader = {"kind": "exact", "expected": "y"}
    short = {"id": "a", "class": "sums", "prompt": "x", "grader": grader}
    long = {
        "id": "a",
        "class": "sums",
        "messages": [{"role": "user", "content": "x"}],
        "graders": [grader],
    }
    assert read_prompts("a", [("1", short)]) == read_prompts("b", [("1", long)])


def test_every_line_that_the_docs_show_can_be_read() -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "compare-two-language-models.md"
    lines = [line for line in page.read_text().splitlines() if line.startswith('{"id"')]
    prompts = read_prompts(page.name, [(f"line {n}", one.encode()) for n, one in enumerate(lines)])
    kinds = {g.kind for p in prompts for g in p.graders}
    assert kinds == {
        "exact",
        "regex",
        "json_schema",
        "numeric",
        "contains",
        "grounded",
        "model",
    }


@pytest.mark.parametrize(
    "answer",
    [
        "```json" + "\n" * 1_000_000 + "x",
        "“" * 1_000_000 + " [1]",
        "[1]" + "\n" * 1_000_000 + "1) a",
    ],
    ids=["an open fence", "open quotation marks", "lines before a number"],
)
def test_an_answer_of_a_million_characters_is_graded_in_time(answer: str) -> None:
    begun = time.process_time()
    read_json(answer, fenced=True)
    for text in (answer, answer[: 1 << 18], answer[-(1 << 18) :]):  # the longest that is graded
        grade(prompt(GROUNDED).graders[0], text)
    assert time.process_time() - begun < 20  # each takes a twentieth of it, and took hours


def test_an_answer_without_end_is_wrong_whatever_it_holds() -> None:
    """Its number has more digits than a decimal may have, and adding one raised Overflow."""
    grader = prompt({"kind": "numeric", "expected": "42", "which": "any"}).graders[0]
    assert grade(grader, "4" * (1 << 18)).score == 0
    assert grade(grader, "42 " + "4" * ((1 << 18) - 3)).score == 1
    assert grade(grader, "42 " + "4" * 1_100_000).because == "is longer than 262144 characters"
    assert grade(grader, "42 " + "4" * 1_100_000).score == 0
