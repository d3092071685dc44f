"""The rules of an inspection, and what they stand on: counts of rows, layouts, shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.inspect.layouts import (
    layout_of_payload,
    layout_of_table,
    model_in,
    source_yaml,
    text_at,
)
from qafila.inspect.model import (
    Access,
    Facts,
    Health,
    Index,
    Inspection,
    Layout,
    Look,
    Severity,
)
from qafila.inspect.observed import Observed, Row, observe
from qafila.inspect.rules import inspect
from qafila.report.inspection import Inspected, as_data, looked, summary
from qafila.report.page import render_inspection

HNSW = Index("public.i", "hnsw", "cosine", "vector_cosine_ops", size_bytes=1 << 20, scans=5)


def row(
    n: int, *, vector: Sequence[float] | None = (1.0, 0.0), text: str | None = None, **more: Any
) -> Row:
    made = None if vector is None else np.array(vector, np.float32)
    return Row(str(n), made, f"text {n}" if text is None else text, **more)


def spread(n: int) -> list[Row]:
    return [row(i, vector=(np.cos(i), np.sin(i))) for i in range(n)]


def facts(observed: Observed | None = None, **changed: Any) -> Facts:
    """Return the facts of a healthy table, some of them changed."""
    seen = observe(spread(100)) if observed is None else observed
    told: dict[str, Any] = {
        "store": "pgvector",
        "name": "public.t",
        "vector": "v",
        "vector_type": "vector",
        "declared_dimensions": 2,
        "server": "PostgreSQL 18, pgvector 0.8.5",
        "store_version": (0, 8, 5),
        "rows": seen.rows,
        "rows_counted": True,
        "look": Look(seen.rows, True, "every row"),
        "layout": Layout("its own", ("id",), "body"),
        "observed": seen,
        "metric": "cosine",
        "indexes": (HNSW,),
        "health": Health(dead_rows=0, live_rows=100, analysed=True, full_reads=3),
        "unique_key": ("id",),
        "tracking": ("trigger t",),
        "memory_bytes": 128 << 20,
        **changed,
    }
    return Facts(**told)


def codes(inspection: Inspection) -> dict[str, Severity]:
    return {f.code: f.severity for f in inspection.findings}


def test_a_healthy_index_has_no_finding() -> None:
    assert inspect(facts()).findings == ()
    assert inspect(facts()).sentence == "Nothing was found that stands in the way."


BROKEN = replace(HNSW, name="public.b", valid=False)
QDRANT: dict[str, Any] = {
    "store": "qdrant",
    "kind": "collection",
    "indexes": (),
    "tracking": (),
    "store_version": None,
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"store_version": (0, 8, 4)}, {}),
        ({"store_version": (0, 8, 3)}, {"old-pgvector": Severity.SERIOUS}),
        ({"store_version": (0, 10, 0)}, {}),  # compared as numbers, not as text
        ({**QDRANT, "store_version": (1, 16, 0)}, {}),
        ({**QDRANT, "store_version": (1, 9, 7)}, {"old-qdrant": Severity.WARNING}),
        ({**QDRANT, "store_version": None}, {}),
        ({"rows": 0}, {"empty": Severity.WARNING}),
        ({"unique_key": ()}, {"no-key": Severity.SERIOUS}),
        ({"unique_key": (), "kind": "view", "indexes": ()}, {}),
        ({"tracking": ()}, {"untracked-changes": Severity.NOTE}),
        ({"rows_hidden": "me"}, {"rows-hidden": Severity.SERIOUS}),
        ({"indexes": (BROKEN,)}, {"invalid-index": Severity.SERIOUS}),
        ({"indexes": (), "rows": 9_999}, {}),  # an exact search of so few is quick, and exact
        ({"indexes": (), "rows": 10_000}, {"no-index": Severity.WARNING}),
        (
            {"indexes": (BROKEN,), "rows": 10_000},
            {"invalid-index": Severity.SERIOUS, "no-index": Severity.WARNING},
        ),
        ({"memory_bytes": 1000}, {"index-over-memory": Severity.WARNING}),
        ({"health": Health(1001, 4005, True, 0)}, {}),  # 1001 of 5006 is just under a fifth
        ({"health": Health(1001, 4003, True, 0)}, {"dead-rows": Severity.WARNING}),
        (
            {"health": Health(0, 100, False, 0), "rows": 10_000},
            {"never-analysed": Severity.WARNING},
        ),
        (
            {"indexes": (replace(HNSW, scans=0),), "health": Health(0, 1, True, 100)},
            {"unused-index": Severity.WARNING},
        ),
        ({"declared_dimensions": 2001}, {"too-wide-for-an-index": Severity.WARNING}),
        ({"declared_dimensions": 2001, "vector_type": "halfvec"}, {}),
        ({"vector_type": "sparsevec"}, {"vector-not-copied": Severity.SERIOUS}),
        ({"layout": Layout("its own", ("id",), None)}, {"no-text": Severity.SERIOUS}),
        (
            {"access": (Access("tenant_id", False),), "rows": 10_000},
            {"tenant-not-indexed": Severity.NOTE},
        ),
        (
            {**QDRANT, "access": (Access("tenant_id", True, False),)},
            {"tenant-not-indexed": Severity.NOTE},
        ),
        ({**QDRANT, "access": (Access("tenant_id", True, True),)}, {}),
        (
            {**QDRANT, "access": (Access("tenant_id", False),)},
            {"tenant-not-indexed": Severity.WARNING},
        ),
    ],
)
def test_a_fact_becomes_its_finding(changed: dict[str, Any], expected: dict[str, Severity]) -> None:
    found = inspect(facts(**changed))
    assert codes(found) == expected
    assert all(f.remedy and f.sentence for f in found.findings)


def test_the_most_serious_comes_first_and_of_those_the_whole_index() -> None:
    rows = [*spread(100), row(100, vector=None), row(101, vector=(0, 0)), row(102, vector=(0, 0))]
    found = inspect(facts(observe(rows), unique_key=(), tracking=())).findings
    assert [f.code for f in found] == [
        "no-key",
        "zero-vectors",
        "null-vectors",
        "untracked-changes",
    ]
    assert inspect(facts(observe(rows))).sentence == "2 serious findings."
    assert inspect(facts(tracking=())).sentence == "Nothing serious; 1 note."


@given(zero=st.integers(1, 60), sound=st.integers(1, 60), more=st.integers(1, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_sample_never_claims_more_than_its_interval(zero: int, sound: int, more: int) -> None:
    seen = observe([*spread(sound), *(row(1000 + n, vector=(0, 0)) for n in range(zero))])
    drawn = facts(seen, rows=seen.rows + more, look=Look(seen.rows, False, "rows drawn", 7))
    (found,) = [f for f in inspect(drawn).findings if f.code == "zero-vectors"]
    assert found.low is not None
    assert found.high is not None
    assert found.low <= zero / (zero + sound) <= found.high
    (counted,) = [f for f in inspect(facts(seen)).findings if f.code == "zero-vectors"]
    assert not counted.sampled
    assert counted.count == zero


@given(
    st.lists(
        st.builds(
            Row,
            key=st.text(max_size=3),
            vector=st.one_of(
                st.none(),
                st.lists(st.floats(width=32), max_size=3).map(lambda v: np.array(v, np.float32)),
            ),
            text=st.one_of(st.none(), st.text(max_size=8)),
            model=st.one_of(st.none(), st.sampled_from("ab")),
        ),
        max_size=30,
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_in_the_rows_a_look_never_fails(rows: list[Row], complete: bool) -> None:
    with np.errstate(all="ignore"):
        seen = observe(rows)
    sound = seen.norms.count if seen.norms else 0
    assert (
        seen.null_vectors.count + seen.zero_vectors.count + seen.broken_vectors.count + sound
        == (len(rows))
    )
    told = facts(seen, rows=len(rows), look=Look(len(rows), complete, "x"))
    inspected = Inspected(inspect(told), source_yaml(told, "b"))
    assert render_inspection([inspected])
    assert as_data(inspected)["rows"] == len(rows)
    assert summary(told)
    assert looked(told)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2.0))
@settings(max_examples=60, deadline=None)
def test_lengths_of_one_model_are_never_taken_for_two(seed: int, sigma: float) -> None:
    lengths = np.random.default_rng(seed).lognormal(0, sigma, 400)
    norms = observe([row(n, vector=(x, 0)) for n, x in enumerate(lengths)]).norms
    assert norms is not None
    assert norms.clusters is None


def test_a_text_that_differs_in_case_only_may_have_the_same_vector() -> None:
    rows = [row(1, text="A  Text"), row(2, text="a text")]
    assert observe(rows).shared_vectors.count == 0
    assert observe([row(1, text="a"), row(2, text="b")]).shared_vectors.count == 2


def test_one_text_with_two_directions_is_a_contradiction_and_two_lengths_are_none() -> None:
    assert observe([row(1, text="a"), row(2, text="a", vector=(2, 0))]).contradictions.count == 0
    assert observe([row(1, text="a"), row(2, text="a", vector=(0, 1))]).contradictions.count == 1
    assert observe([row(1, text="a"), row(2, text="a", vector=(0, 1, 0))]).contradictions.count == 1
    assert observe([row(1, text="a"), row(2, text="a", vector=None)]).contradictions.count == 0


def test_of_pairs_a_sample_gives_a_lower_bound_only() -> None:
    seen = observe([*spread(98), *(row(n, text="a", vector=(0, 1)) for n in (98, 99))])
    drawn = facts(seen, rows=10_000, look=Look(100, False, "rows drawn", 7))
    (found,) = inspect(drawn).findings
    assert (found.code, found.count, found.high) == ("duplicate-texts", 1, 1.0)
    assert "at least" in found.sentence


def test_texts_that_end_as_sentences_are_not_called_cut() -> None:
    whole = [row(n, text=f"{n:03d}" + "x" * 200 + ".") for n in range(20)]
    cut = [row(n, text=f"{n:03d}" + "x" * 201) for n in range(20)]
    assert observe(whole).cut_texts.count == 0
    assert observe(cut).cut_texts.count == 20


@pytest.mark.parametrize(
    ("payload", "model"),
    [
        ({"embedding_model": "anything"}, "anything"),
        ({"model": "text-embedding-3-small"}, "text-embedding-3-small"),
        ({"model": "gpt-4o"}, None),  # what wrote the text, not what embedded it
        ({"model": "Citroën C4"}, None),
        ({"metadata": {"embed_model": "bge-m3"}}, "bge-m3"),
        ({}, None),
        (None, None),
        ("text", None),
    ],
)
def test_only_a_model_of_embeddings_is_taken_for_one(payload: Any, model: str | None) -> None:
    assert model_in(payload) == model


def test_a_path_goes_through_a_json_string() -> None:
    assert text_at({"a": '{"b": {"c": "x"}}'}, "a.b.c") == "x"
    assert text_at({"a": "{"}, "a.b") is None
    assert text_at({"a": 3}, "a") is None


def test_qafilas_own_layout_is_known_in_both_stores() -> None:
    names = [
        "source_key",
        "chunk_number",
        "title",
        "text",
        "text_digest",
        "acl",
        "metadata",
        "fingerprint",
    ]
    table = layout_of_table(dict.fromkeys(names, "text"), ("source_key", "chunk_number"), {})
    points = layout_of_payload([dict.fromkeys(names, "x")])
    assert (table.maker, points.maker) == ("Qafila", "Qafila")
    told = facts(layout=points, **{**QDRANT, "vector_type": "dense", "vector": ""})
    source = yaml.safe_load(source_yaml(told, "b"))["corpus"]["source"]
    assert (source["key"], source["number"], source["acl"]) == ("source_key", "chunk_number", "acl")


def test_of_several_text_columns_the_widest_is_the_text() -> None:
    columns = {"id": "integer", "lang": "text", "words": "text", "v": "vector"}
    assert layout_of_table(columns, ("id",), {"lang": 2, "words": 300}).text == "words"
    assert layout_of_table({"id": "integer", "v": "vector"}, ("id",), {}).text is None


def test_data_never_becomes_markup() -> None:
    evil = "<script>alert(1)</script>"
    told = facts(observe([row(1, vector=None), replace(row(2, vector=None), key=evil)]), name=evil)
    page = render_inspection([Inspected(inspect(told), evil)])
    assert "<script" not in page
    assert "&lt;script" in page
