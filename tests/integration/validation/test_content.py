"""Rungs 1 and 2 over a real generation: each planted fault is named, and mended it passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.stack import postgres
from qafila.stores.port import Chunk
from qafila.validation.checks.content import compare_content
from qafila.validation.checks.keys import compare_keys
from qafila.workload.fingerprint import text_digest
from tests.integration.validation.filled import WINDOW, Change, Filled, embed, new_filled

KEY = "op-0007"


@pytest.fixture(scope="module", params=["pgvector", "halfvec", "window", "qdrant"])
def filled(
    request: pytest.FixtureRequest, pg_server: postgres.Postgres, tmp_path_factory: Any
) -> Filled:
    corpus: dict[str, Any] = {
        "window": {"chunking": WINDOW},
        "halfvec": {
            "target": {"kind": "pgvector", "block": "demo-target", "vector_type": "halfvec"}
        },
    }.get(request.param, {})
    folder: Path | None = None
    if request.param == "qdrant":
        folder = tmp_path_factory.mktemp("points")
    return new_filled(pg_server, folder, **corpus)


def chunk(**fields: Any) -> Change:
    return lambda c, v: (replace(c, **{k: f(c) for k, f in fields.items()}), v)


def vector(change: Any) -> Change:
    return lambda c, v: (c, change(v))


def mojibake(c: Chunk) -> str:
    return c.text.encode().decode("latin-1")


FAULTS: dict[str, tuple[Change, str]] = {
    "text cut off": (chunk(text=lambda c: c.text[:-5]), "cut off after"),
    "text and digest cut off": (
        chunk(text=lambda c: c.text[:-5], digest=lambda c: text_digest(c.text[:-5])),
        "cut off after",
    ),
    "text in lower case": (chunk(text=lambda c: c.text.lower()), "in lower case"),
    "mojibake": (chunk(text=mojibake), "from character"),
    "digest": (chunk(digest=lambda c: text_digest("another")), "digest is not that of their own"),
    "offsets": (chunk(start=lambda c: c.start + 1), "whose offsets point elsewhere"),
    "title": (chunk(title=lambda c: c.title + "!"), "with another title"),
    "metadata of another type": (
        chunk(metadata=lambda c: {**c.metadata, "page": str(c.metadata["page"])}),
        'page is "7" (text), by the source 7 (number)',
    ),
    "metadata gone": (chunk(metadata=lambda c: {}), "page is absent, by the source 7 (number)"),
    "a number in a list": (
        chunk(metadata=lambda c: {**c.metadata, "tags": {"a": [1, 2, None, True, {"b": "é"}]}}),
        "tags is",
    ),
    "group lost": (chunk(acl=lambda c: ["staff"]), "editors may not read it any more"),
    "group widened": (chunk(acl=lambda c: [*c.acl, "everyone"]), "everybody may read it now"),
    "zero vector": (vector(lambda v: v * 0), "whose vector is zero"),
    "long vector": (vector(lambda v: v * 1.5), "whose vector is not of length 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_one_row_is_named_and_mended_it_passes(filled: Filled, fault: str) -> None:
    change, said = FAULTS[fault]
    with filled.spoilt([KEY], change):
        found = filled.assert_fails(compare_content, said, f"First: {KEY} (chunk 0)")
        assert found.details[0].rows[0]["document"] == KEY
    found = filled.assert_passes(compare_content)
    assert found.figures["content"]["faults"] == {}  # type: ignore[index]


def test_readers_are_counted_by_the_first_rung_already(filled: Filled) -> None:
    with filled.spoilt([KEY], chunk(acl=lambda c: ["staff", "everyone"])):
        found = filled.assert_fails(compare_keys, "everyone may read", "by the source 0")
        assert found.parts["readers: editors"].verdict == "FAIL"
        assert found.parts["readers: (nobody)"].verdict == "PASS"
    filled.assert_passes(compare_keys)


def test_a_missing_a_stale_and_an_extra_document_are_named_with_their_shard(
    filled: Filled,
) -> None:
    with filled.store() as store:
        held = store.stored([KEY, "op-0150"])
    stale = [replace(c, digest=text_digest("x")) for c in held.chunks if c.source_key == KEY]
    extra = [replace(c, source_key="op-9999") for c in stale]
    filled.put(
        [KEY, "op-0150", "op-9999"],
        [*stale, *extra],
        np.concatenate([held.vectors[: len(stale)]] * 2),
    )
    found = filled.find(compare_keys)
    filled.put([KEY, "op-0150", "op-9999"], held.chunks, held.vectors)
    told = {(r["document"], r["fault"], r["shard"]) for r in found.details[0].rows}
    assert told == {(KEY, "stale", "–"), ("op-0150", "missing", 1), ("op-9999", "extra", "–")}
    assert "Missing in shard 1" in found.judgement.sentence
    filled.assert_passes(compare_keys)


def test_a_copied_vector_is_a_fault_unless_the_model_says_so(filled: Filled) -> None:
    with filled.store() as store:
        other = store.stored(["op-0020"]).vectors[0]
    with filled.spoilt([KEY], lambda c, v: (c, other)):
        filled.assert_fails(compare_content, "also that of another text", "op-0020 (chunk 0)")


@pytest.mark.without("window", reason="a document of one chunk is needed")
def test_texts_of_one_meaning_may_share_a_vector(filled: Filled) -> None:
    """The model reads lower case, so a title in capitals changes the text and not the vector."""
    with filled.source() as source:
        source.execute(
            "CREATE TABLE kept AS SELECT * FROM operation WHERE operation_id = %s", [KEY]
        )
        source.execute(
            "UPDATE operation SET body = upper(t.body), title = upper(t.title)"
            " FROM (SELECT title, body FROM operation WHERE operation_id = 'op-0020') AS t"
            " WHERE operation_id = %s",
            [KEY],
        )
        title, body = source.execute(
            "SELECT title, body FROM operation WHERE operation_id = %s", [KEY]
        ).fetchone()  # type: ignore[misc]
        text = f"{title}\n{body}"
        remade = lambda c, v: (  # noqa: E731
            replace(c, text=text, title=title, digest=text_digest(text), end=len(text)),
            embed([text])[0],
        )
        try:
            with filled.spoilt([KEY], remade):
                found = filled.assert_passes(compare_content)
        finally:
            source.execute("DELETE FROM operation WHERE operation_id = %s", [KEY])
            source.execute("INSERT INTO operation SELECT * FROM kept")
            source.execute("DROP TABLE kept")
    assert found.figures["content"]["shared_vectors"] == 1  # type: ignore[index]


@pytest.mark.without("qdrant", reason="the fault is planted by SQL")
def test_a_repeated_row_and_another_fingerprint(filled: Filled) -> None:
    with filled.target() as target:
        where = f"{filled.table} WHERE source_key = '{KEY}' AND chunk_number = 0"
        mark = f"SET fingerprint = %s WHERE source_key = '{KEY}'"
        target.execute(f"UPDATE {filled.table} {mark}", ["another"])
        filled.assert_fails(compare_keys, "of another fingerprint", KEY)
        filled.assert_fails(compare_content, "of another fingerprint", KEY)
        target.execute(f"UPDATE {filled.table} {mark}", [filled.generation.fingerprint])
        indexes = target.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname || '.' || tablename = %s"
            " AND indexdef LIKE '%%UNIQUE%%'",
            [filled.table],
        ).fetchall()
        target.execute(f"DROP INDEX qafila.{indexes[0][0].split()[3]}")
        columns = (
            "source_key, chunk_number, start_offset, end_offset, title, text, text_digest, acl,"
            " metadata, fingerprint, generation, embedding"
        )
        target.execute(f"INSERT INTO {filled.table} ({columns}) SELECT {columns} FROM {where}")
        filled.assert_fails(compare_keys, "1 twice", KEY)
        (second,) = target.execute(f"SELECT max(ctid)::text FROM {where}").fetchone()  # type: ignore[misc]
        target.execute(f"DELETE FROM {filled.table} WHERE ctid = %s::tid", [second])
        target.execute(indexes[0][0])
    filled.assert_passes(compare_keys)
    filled.assert_passes(compare_content)


def test_the_servers_hash_as_we_do(pg_server: postgres.Postgres, target_url: str) -> None:
    """Texts that SQL could join or hash otherwise than Python."""
    from qafila.backfill.compare import expected_chunks
    from qafila.sources.postgres import PostgresSource
    from qafila.stores.port import witnesses_of
    from tests.support.corpus import demo_workload

    odd = [
        "",
        None,
        " ",
        "\n",
        "100 %",
        "%s",
        "é",
        "e\u0301",
        "😀",
        "\\x00",
        "a\r\nb",
        "\ufeff",
        "\u3000 \u200b",
    ]
    workload = demo_workload()
    with psycopg.connect(target_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE operation (operation_id text PRIMARY KEY, title text, body text,"
            " readers text[] NOT NULL DEFAULT '{}')"
        )
        for n, title in enumerate(odd):
            for m, body in enumerate(odd):
                connection.execute(
                    "INSERT INTO operation VALUES (%s, %s, %s)", [f"{n}é%-{m}", title, body]
                )
        source = PostgresSource(connection, workload.corpus.source)  # type: ignore[arg-type]
        hashed = {
            (key, number): bytes(digest)
            for part in source.witnesses(10) or ()
            for key, number, digest in zip(
                part.keys, part.numbers.tolist(), part.digests, strict=True
            )
        }
        rows = [row for batch in source.read(None, None, 10) for row in batch]
        ours = witnesses_of(expected_chunks(rows, workload))
        expected = {
            (key, number): bytes(digest)
            for key, number, digest in zip(
                ours.keys, ours.numbers.tolist(), ours.digests, strict=True
            )
        }
    assert hashed == expected
    assert len(hashed) == len(odd) ** 2
