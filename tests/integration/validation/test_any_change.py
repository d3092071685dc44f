"""Whatever changes in one row of a real generation, one of the first two rungs finds it."""

from __future__ import annotations

import psycopg.types.json
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.stack import postgres
from qafila.validation.checks.content import compare_content
from qafila.validation.checks.keys import compare_keys
from qafila.workload.fingerprint import text_digest
from qafila.workload.verdict import Verdict
from tests.integration.validation.filled import Filled, new_filled

ROWS = 40
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
CHANGES = {
    "source_key": TEXT.map(lambda t: f"op-x{t}"),
    "text_digest": st.binary(max_size=40) | TEXT.map(text_digest),
    "acl": st.lists(st.sampled_from(["everyone", "staff", "editors", "hr"]), unique=True),
    "metadata": st.dictionaries(
        st.sampled_from(["page", "score", "language", "tags", "more"]),
        st.none() | st.booleans() | st.integers(-5, 50) | TEXT,
        max_size=4,
    ),
}


@pytest.fixture(scope="module")
def filled(pg_server: postgres.Postgres) -> Filled:
    return new_filled(pg_server, rows=ROWS)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, ROWS - 1), st.sampled_from(sorted(CHANGES)), st.data())
def test_any_change_of_one_row_is_always_found(
    filled: Filled, at: int, column: str, data: st.DataObject
) -> None:
    value = data.draw(CHANGES[column])
    put = psycopg.types.json.Jsonb(value) if column == "metadata" else value
    key = f"op-{at:04}"
    with filled.target() as target:
        where = f"FROM {filled.table} WHERE source_key = %s"
        (before,) = target.execute(f"SELECT {column} {where}", [key]).fetchone()  # type: ignore[misc]
        if before == value:
            return
        if column == "acl" and set(before) == set(value):
            return
        target.execute(f"UPDATE {filled.table} SET {column} = %s WHERE source_key = %s", [put, key])
        keys, content = filled.find(compare_keys), filled.find(compare_content)
        back = psycopg.types.json.Jsonb(before) if column == "metadata" else before
        now = value if column == "source_key" else key
        target.execute(
            f"UPDATE {filled.table} SET {column} = %s WHERE source_key = %s", [back, now]
        )
    verdicts = {keys.judgement.verdict, content.judgement.verdict}
    assert Verdict.FAIL in verdicts
    named = [row["document"] for f in (keys, content) for d in f.details for row in d.rows]
    assert key in named
    assert filled.find(compare_keys).judgement.verdict is Verdict.PASS
