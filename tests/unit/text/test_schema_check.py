"""A schema is held against a value within its time, and says what jsonschema says of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for

from qafila.llm_eval.golden import read_prompts
from qafila.llm_eval.grades import grade
from qafila.text.schema_check import NotChecked, first_violation

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SLOW = "^(a|aa)+$"
LONG = "a" * 60 + "b"


def fan(levels: int) -> dict[str, Any]:
    """A schema of a few lines whose references are followed 2^levels times."""
    both = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**both, f"d{levels}": {"type": "object"}}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": SLOW}, LONG),
        ({"properties": {"a": {"pattern": SLOW}}}, {"a": LONG}),
        ({"patternProperties": {SLOW: {}}}, {LONG: 1}),
        ({"patternProperties": {SLOW: {}}, "additionalProperties": False}, {LONG: 1}),
        ({"propertyNames": {"pattern": SLOW}}, {LONG: 1}),
        ({"$schema": DRAFT, "anyOf": [{"$schema": DRAFT, "pattern": SLOW}]}, LONG),
        (
            {
                "$schema": DRAFT,
                "$defs": {"a": {"$schema": DRAFT, "pattern": SLOW}},
                "$ref": "#/$defs/a",
            },
            LONG,
        ),
        (fan(40), {}),
    ],
    ids=["pattern", "property", "names", "additional", "name", "drafts", "reference", "fan"],
)
def test_a_schema_that_takes_for_ever_is_stopped(schema: dict[str, Any], value: object) -> None:
    begun = time.monotonic()
    with pytest.raises(NotChecked, match=r"takes more than (0\.2 s|100000 steps)"):
        first_violation(schema, value, 0.2)
    assert time.monotonic() - begun < 60


def test_a_list_is_looked_through_once_for_equal_elements() -> None:
    begun = time.process_time()
    assert first_violation({"uniqueItems": True}, [{"a": n} for n in range(50_000)], 30.0) == ""
    assert time.process_time() - begun < 10


def test_a_slow_schema_is_at_fault_and_not_the_answer() -> None:
    line = {
        "id": "a",
        "prompt": "b",
        "grader": {"kind": "json_schema", "schema": {"pattern": SLOW}},
    }
    (prompt,) = read_prompts("a test", [("line 1", json.dumps(line).encode())])
    given_grade = grade(prompt.graders[0], json.dumps(LONG))
    assert given_grade.score is None
    assert "takes more than" in given_grade.because


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "a", "ab"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "ab", "b"]), inner, max_size=3)
    ),
    max_leaves=8,
)
SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "boolean"]),
            "pattern": st.sampled_from(["a", "^b", "a.$"]),
            "uniqueItems": st.booleans(),
            "required": st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True),
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "minLength": st.integers(0, 2),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["a", "b$"]), inner, max_size=2),
            "additionalProperties": inner | st.booleans(),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=5,
)


@settings(max_examples=500, deadline=None)
@given(SCHEMAS, VALUES)
def test_it_finds_what_jsonschema_finds(schema: dict[str, Any], value: object) -> None:
    valid = validator_for(schema)(schema).is_valid(value)
    assert (first_violation(schema, value, 30.0) == "") == valid
