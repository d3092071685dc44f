"""The rung of access on real rows: what each fault of rows, filter, index and service shows as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from qafila.stack import postgres
from qafila.stores.port import Hit, Vectors
from qafila.validation.checks.access import measure_access
from qafila.validation.judged import Answer
from qafila.validation.model import Finding
from qafila.workload.verdict import Verdict
from tests.integration.validation.worlds import World, fresh_world
from tests.support.demo_services import ledger_of


@pytest.fixture(scope="module")
def world(pg_server: postgres.Postgres) -> World:
    return fresh_world(pg_server, rows=3000, index="none")


class Answering:
    """A service that gives every question the same answer."""

    def __init__(self, ranking: tuple[str, ...] | None) -> None:
        self._ranking = ranking

    def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
        return Answer(self._ranking, 1.0)


def answering(ranking: tuple[str, ...] | None) -> Callable[[], AbstractContextManager[Answering]]:
    @contextmanager
    def arm() -> Iterator[Answering]:
        yield Answering(ranking)

    return arm


OPEN = answering(("k000000", "k000001"))


def measured(world: World, **how: Any) -> Finding:
    with ledger_of(world.ledger_url):
        found = measure_access(world.climb(**{"candidate": OPEN, "queries": 20, **how}))
    assert isinstance(found, Finding)
    return found


def test_everybody_sees_what_is_theirs_and_nothing_else(world: World) -> None:
    found = measured(world)
    assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
    assert list(found.parts) == [
        "a stranger",
        "a reader of everyone",
        "a reader of hr",
        "a reader of ops",
        "a reader of everyone and hr",
        "a reader of everyone and ops",
        "a reader of hr and ops",
        "the service",
    ]
    assert found.parts["a reader of hr"].numbers["allowed"] == 300
    assert found.parts["a stranger"].numbers["allowed"] == 0
    assert found.figures["access"]["forbidden"] == 0
    assert "were not tried, at most" in found.smallest_effect
    assert found.details == []


def test_many_groups_are_sampled_and_it_is_said_how_many_were_left_out(world: World) -> None:
    found = measured(world, access_readers=2)
    singles = [p for p in found.parts if p.startswith("a reader of") and " and " not in p]
    assert len(singles) == 2
    assert "1 of 3 groups were not played" in found.smallest_effect


def test_a_stale_acl_shows_a_row_that_was_closed_since(world: World) -> None:
    with world.source() as source:
        source.execute("UPDATE operation SET readers = '{ops}' WHERE operation_id = 'k000000'")
        try:
            found = measured(world)
        finally:
            source.execute(
                "UPDATE operation SET readers = '{everyone}' WHERE operation_id = 'k000000'"
            )
    assert found.judgement.verdict is Verdict.FAIL
    parts = {n: p for n, p in found.parts.items() if p.verdict is Verdict.FAIL}
    assert "lets 1 of 3000 rows through" in parts["a reader of everyone"].sentence
    assert "hides 1 of 31 rows that are theirs: k000000" in parts["a reader of ops"].sentence
    assert "as k000000 for 'question 0'" in parts["the service"].sentence
    assert found.figures["access"]["forbidden"] > 0
    rows = [r for d in found.details for r in d.rows]
    assert {
        "reader": "a reader of ops",
        "document": "k000000",
        "chunk": "any",
        "what happened": "hidden",
    } in rows


class Unfiltered:
    """A store whose searches do not ask who is reading."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def search(self, vector: Vectors, k: int, groups: Sequence[str], *more: Any) -> list[Hit]:
        return list(self._store.search(vector, k, ["everyone", "hr", "ops"], *more))


class Forgetful(Unfiltered):
    """A store whose searches lose most of what a narrow filter leaves, and say nothing."""

    def scans(self, *_: Any) -> bool:
        return False

    def search(self, vector: Vectors, k: int, groups: Sequence[str], *more: Any) -> list[Hit]:
        found = list(self._store.search(vector, k, groups, *more))
        return found if "everyone" in groups else found[:4]


class Blind(Unfiltered):
    """A store whose filter hides every tenth document from those who may read it."""

    search = Forgetful.search

    def visible(self, keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        return {p for p in self._store.visible(keys, groups) if not p[0].endswith("13")}


def test_a_filter_that_is_not_applied_is_caught_even_where_all_is_open(world: World) -> None:
    found = measured(world, seen_as=Unfiltered)
    assert found.judgement.verdict is Verdict.FAIL
    stranger = found.parts["a stranger"]
    assert stranger.verdict is Verdict.FAIL
    assert "100 results of 10 searches are not theirs" in stranger.sentence
    assert found.parts["a reader of everyone"].verdict is Verdict.FAIL


def test_recall_that_is_lost_in_silence_fails_and_says_where_to_look(world: World) -> None:
    found = measured(world, seen_as=Forgetful)
    assert found.judgement.verdict is Verdict.FAIL
    assert found.parts["a reader of hr"].verdict is Verdict.FAIL
    assert "all of it below 0.9" in found.parts["a reader of hr"].sentence
    assert found.parts["a reader of everyone"].verdict is Verdict.PASS
    assert "recall_groups" in found.judgement.sentence


def test_rows_that_a_filter_hides_are_counted(world: World) -> None:
    found = measured(world, seen_as=Blind)
    hidden = found.parts["a reader of hr"].sentence
    assert "the filter hides 30 of 300 rows that are theirs: k000013" in hidden


@pytest.mark.parametrize(
    ("ranking", "verdict", "said"),
    [
        (("k000003",), Verdict.FAIL, "not everyone may read, as k000003"),
        (("gone",), Verdict.FAIL, "as gone"),
        (None, Verdict.ERROR, "20 of 20 questions with an error"),
        ((), Verdict.PASS, "without an identity"),
    ],
)
def test_the_service_is_asked_as_somebody_it_does_not_know(
    world: World, ranking: tuple[str, ...] | None, verdict: Verdict, said: str
) -> None:
    found = measured(world, candidate=answering(ranking))
    assert found.parts["the service"].verdict is verdict
    assert said in found.parts["the service"].sentence
    assert found.judgement.verdict is verdict


def test_a_row_that_was_set_aside_is_not_missed(world: World) -> None:
    with world.target() as target:
        target.execute(
            f"CREATE TABLE kept AS SELECT * FROM {world.table} WHERE source_key = 'k000013'"
        )
        target.execute(f"DELETE FROM {world.table} WHERE source_key = 'k000013'")
        try:
            lost = measured(world)
            with world.ledger() as ledger:
                ledger.execute(
                    "INSERT INTO qafila.dead_letter (workload, generation, source_key,"
                    " chunk_number, reason) VALUES ('aws-docs-search', 1, 'k000013', 0, 'a test')"
                )
                known = measured(world)
                ledger.execute("DELETE FROM qafila.dead_letter")
        finally:
            target.execute(f"INSERT INTO {world.table} SELECT * FROM kept")
            target.execute("DROP TABLE kept")
    assert "hides 1 of 300 rows" in lost.parts["a reader of hr"].sentence
    assert known.parts["a reader of hr"].verdict is Verdict.PASS
