"""What a text of blanks alone is: a server and this process say the same of every text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from qafila.sources.blanks import is_blank_sql
from qafila.text.blanks import BLANKS, is_blank

Database = psycopg.Connection[Any]
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
NEARLY_BLANK = st.text(st.sampled_from(BLANKS + "aé\u0301"), max_size=5)


@pytest.fixture
def database(target_url: str) -> Iterator[Database]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


def said_by(database: Database, texts: list[str]) -> list[str]:
    """Return those that the server calls blank."""
    condition = is_blank_sql(database, sql.Identifier("text"))
    query = sql.SQL("SELECT text FROM unnest(%s::text[]) AS text WHERE {}").format(condition)
    return [text for (text,) in database.execute(query, [texts])]


def test_the_server_knows_every_blank_and_takes_no_other_character_for_one(
    database: Database,
) -> None:
    every = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    assert set(said_by(database, every)) == set(BLANKS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS | NEARLY_BLANK))
def test_of_no_text_the_server_ever_says_otherwise_than_this_process(
    database: Database, texts: list[str]
) -> None:
    assert said_by(database, texts) == [text for text in texts if is_blank(text)]


def test_no_text_at_all_counts_as_one_of_blanks(database: Database) -> None:
    condition = is_blank_sql(database, sql.SQL("NULL::text"))
    assert database.execute(sql.SQL("SELECT {}").format(condition)).fetchone() == (True,)
