"""Faults planted into the rows of a real table are found, and a healthy one has no finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.inspect.model import Severity
from qafila.inspect.pgvector import PgvectorInspector
from tests.contract.inspect.indexes import (
    ROWS,
    codes,
    healthy,
    look,
    the,
    unit,
)


def test_a_healthy_table_has_no_finding(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    seen = look(database)
    assert seen.findings == ()
    facts = seen.facts
    assert (facts.rows, facts.rows_counted, facts.look.complete) == (ROWS, True, True)
    assert (facts.declared_dimensions, facts.metric, facts.unique_key) == (16, "cosine", ("id",))
    assert facts.layout.text == "body"
    assert facts.tracking == ("column updated_at",)
    assert facts.indexes[0].settings == {"m": "16", "ef_construction": "64"}
    assert facts.table_bytes
    assert facts.index_bytes
    assert facts.tokens == pytest.approx(ROWS * 15, rel=0.3)


ROW_FAULTS: Mapping[str, tuple[str, Severity, tuple[str, ...]]] = {
    "null-vectors": (
        "UPDATE item SET embedding = NULL WHERE id IN (3, 5)",
        Severity.SERIOUS,
        ("3", "5"),
    ),
    "zero-vectors": (
        "UPDATE item SET embedding = (SELECT array_agg(0)::vector FROM"
        " generate_series(1, 16)) WHERE id IN (4, 9)",
        Severity.SERIOUS,
        ("4", "9"),
    ),
    "unnormalised-vectors": (
        "UPDATE item SET embedding = embedding * (SELECT array_agg(3)::vector"
        " FROM generate_series(1, 16)) WHERE id = 8",
        Severity.NOTE,
        ("8",),
    ),
    "duplicate-vectors": (
        "UPDATE item SET embedding = (SELECT embedding FROM item WHERE id = 1) WHERE id = 2",
        Severity.SERIOUS,
        ("1", "2"),
    ),
    "duplicate-texts": (
        "UPDATE item SET (body, embedding) = (SELECT upper(body), embedding FROM"
        " item WHERE id = 1) WHERE id = 2",
        Severity.WARNING,
        ("2",),
    ),
    "same-text-other-vector": (
        "UPDATE item SET body = (SELECT body FROM item WHERE id = 1) WHERE id = 2",
        Severity.SERIOUS,
        ("2",),
    ),
    "missing-text": (
        "UPDATE item SET body = CASE id WHEN 6 THEN NULL ELSE '  ' END WHERE id IN (6, 7)",
        Severity.SERIOUS,
        ("6", "7"),
    ),
    "mixed-models": (
        "UPDATE item SET model = CASE WHEN id = 11 THEN 'text-embedding-ada-002'"
        " ELSE 'text-embedding-3-small' END",
        Severity.SERIOUS,
        ("11",),
    ),
}


@pytest.mark.parametrize("code", ROW_FAULTS)
def test_a_fault_in_rows_is_found_with_count_and_keys(
    database: psycopg.Connection[Any], code: str
) -> None:
    fault, severity, keys = ROW_FAULTS[code]
    healthy(database)
    database.execute(fault)
    found = the(look(database), code)
    assert found.severity is severity
    assert (found.count, found.of, found.sampled) == (len(keys), ROWS, False)
    assert sorted(found.examples) == sorted(keys)
    assert found.remedy


def test_vectors_of_several_lengths_are_found(database: psycopg.Connection[Any]) -> None:
    healthy(database, kind="vector", operators="")
    database.execute("UPDATE item SET embedding = '[1,0,0]' WHERE id < 3")
    seen = look(database)
    found = the(seen, "mixed-dimensions")
    assert (found.count, found.examples) == (3, ("0", "1", "2"))
    assert "undeclared-dimensions" in codes(seen)


def test_one_vector_of_another_length_is_found_in_a_table_that_is_only_sampled(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, body text, embedding vector)")
    database.execute(
        "INSERT INTO item SELECT n, 'text ' || n, ARRAY[cos(n), sin(n)]::vector"
        " FROM generate_series(1, 20000) AS n"
    )
    database.execute("UPDATE item SET embedding = '[1,0,0]' WHERE id = 777")
    found = the(look(database, sample_rows=200), "mixed-dimensions")
    assert (found.count, found.of, found.sampled, found.examples) == (1, 20_000, False, ("777",))


def test_two_lumps_of_lengths_are_found(database: psycopg.Connection[Any]) -> None:
    vectors = unit(ROWS)
    vectors[:60] *= 11
    healthy(database, vectors)
    assert the(look(database), "two-clusters-of-norms").count == 60


def test_texts_cut_at_one_length_are_found(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    database.execute(
        "UPDATE item SET body = left(body || repeat(' and so it goes on' || id, 40), 500)"
        " WHERE id < 40"
    )
    assert the(look(database), "cut-texts").count == 40


@pytest.mark.parametrize(
    ("operators", "severity"),
    [
        ("vector_ip_ops", Severity.SERIOUS),
        ("vector_l2_ops", Severity.WARNING),
        ("vector_cosine_ops", Severity.NOTE),
    ],
)
def test_length_matters_by_operator_class(
    database: psycopg.Connection[Any], operators: str, severity: Severity
) -> None:
    spread = np.linspace(0.5, 2.0, ROWS, dtype=np.float32)[:, None]
    healthy(database, unit(ROWS) * spread, operators=operators)
    assert the(look(database), "unnormalised-vectors").severity is severity


def test_texts_of_blanks_alone_are_counted_as_none_in_a_table_that_is_only_sampled(
    database: psycopg.Connection[Any],
) -> None:
    healthy(database, unit(ROWS))
    texts = (None, "", " \n\t", "\u00a0\u3000", "\ufeff \u200b")
    for n, text in enumerate(texts, 1):
        database.execute("UPDATE item SET body = %s WHERE id = %s", [text, n])
    database.execute("UPDATE item SET body = ' ' || body WHERE id = 7")  # no more than that
    whole, sampled = look(database), look(database, sample_rows=20)
    assert not sampled.facts.look.complete
    for seen in (whole, sampled):
        found = the(seen, "missing-text")
        assert (found.count, found.of, found.sampled) == (len(texts), ROWS, False)


def test_a_sample_says_its_share_with_an_interval_and_repeats_itself(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, body text, embedding vector(2))")
    database.execute(
        "INSERT INTO item SELECT n, 'text ' || n, CASE WHEN n % 10 = 0 THEN '[0,0]'::vector"
        " WHEN n % 1000 = 1 THEN NULL ELSE ARRAY[cos(n), sin(n)]::vector END"
        " FROM generate_series(1, 20000) AS n"
    )
    seen = look(database, sample_rows=2000, seed=3)
    assert not seen.facts.look.complete
    assert seen.facts.look.seed == 3
    assert 1700 < seen.facts.look.read < 2300
    zero = the(seen, "zero-vectors")
    assert zero.low is not None
    assert zero.high is not None
    assert zero.low < 0.1 < zero.high
    assert "of all rows" in zero.sentence
    null = the(seen, "null-vectors")  # counted in the whole table, whatever the sample met
    assert (null.count, null.of, null.sampled) == (20, 20_000, False)
    assert look(database, sample_rows=2000, seed=3).findings == seen.findings


@pytest.mark.parametrize("name", ["item", "shown"])
def test_what_cannot_be_counted_in_time_is_never_read_whole(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither a table that was never analysed nor a view has rows in the catalogue."""
    database.execute(
        "CREATE TABLE item (id int PRIMARY KEY, body text, embedding vector(2))"
        " WITH (autovacuum_enabled = false)"
    )
    database.execute(
        "INSERT INTO item SELECT n, 'text ' || n, ARRAY[cos(n), sin(n)]::vector"
        " FROM generate_series(1, 5000) AS n"
    )
    database.execute("CREATE VIEW shown AS SELECT * FROM item WHERE id % 2 = 0 OR id % 3 > 0")
    monkeypatch.setattr(PgvectorInspector, "_count", lambda *_: (None, None, None))
    seen = look(database, name, sample_rows=200).facts
    assert not seen.rows_counted
    assert not seen.look.complete
    assert 0 < seen.look.read < 1000


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_vectors_are_read_as_the_database_holds_them(
    database: psycopg.Connection[Any], kind: str
) -> None:
    database.execute(f"CREATE TABLE item (id int PRIMARY KEY, body text, v {kind}(3))")
    database.execute("INSERT INTO item VALUES (1, 'x', '[2,3,6]')")
    norms = look(database).facts.observed.norms
    assert norms is not None
    assert norms.median == 7


def test_a_sparse_column_is_read_and_said_not_to_be_copied(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, body text, v sparsevec(5))")
    database.execute("INSERT INTO item VALUES (1, 'x', '{1:3,5:4}/5'), (2, 'y', '{}/5')")
    seen = look(database)
    assert the(seen, "vector-not-copied").severity is Severity.SERIOUS
    assert the(seen, "zero-vectors").examples == ("2",)
    assert seen.facts.observed.norms is not None
    assert seen.facts.observed.norms.median == 5
