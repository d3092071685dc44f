"""Which filters the rungs of recall search under, and what they make of a search."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.stores.memory import MemoryStore
from qafila.stores.port import (
    Checkpoint,
    Chunk,
    Effort,
    Hit,
    Holds,
    Part,
    Place,
    Vectors,
    Where,
)
from qafila.stores.row_sets import NOBODY
from qafila.validation.checks.filtered_search import (
    Narrowed,
    everybody,
    filters_of,
    groups_to_try,
    reach,
    reach_with,
)
from tests.integration.validation.worlds import made_rows, some_vectors

ROWS = 3000


def store(chunks: Sequence[Chunk], kind: type[MemoryStore] = MemoryStore) -> MemoryStore:
    made = kind(Place("docs", 1, "f" * 16, 64))
    made.claim(0, 1)
    vectors = some_vectors(len(chunks), seed=2)
    made.write(chunks, vectors, Checkpoint(0, 1, ["z"], len(chunks), len(chunks), True))
    return made


def names(found: Sequence[Narrowed]) -> list[str]:
    return [n.filter.name for n in found]


def test_real_filters_come_first_and_every_selectivity_has_one() -> None:
    found, missing = filters_of(store(made_rows(ROWS)), 8, 7)
    assert names(found) == [
        "all rows",
        "readers of everyone",
        "readers of hr",
        "readers of ops",
        "kind = 'rare'",
    ]
    assert [n.filter.rows for n in found] == [3000, 2670, 300, 30, 3]
    assert missing == []


def test_where_nobody_filters_parts_are_drawn() -> None:
    plain = [dataclasses.replace(c, acl=["everyone"], metadata={}) for c in made_rows(ROWS)]
    found, missing = filters_of(store(plain), 8, 7)
    assert names(found) == [
        "all rows",
        "10 % of the rows, drawn at random",
        "1 % of the rows, drawn at random",
    ]
    assert [n.filter.kind for n in found] == ["all", "drawn", "drawn"]
    assert 200 <= found[1].filter.rows <= 400
    assert missing == ["0.1 % of the rows: of 3000 they are fewer than 10"]


def test_rows_that_nobody_may_read_are_no_ones_to_find() -> None:
    hidden = [dataclasses.replace(c, acl=[]) for c in made_rows(50)]
    found, _ = filters_of(store([*hidden, *made_rows(ROWS)[50:]]), 0, 7)
    assert (found[0].filter.rows, found[0].filter.of) == (ROWS - 50, ROWS)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 1000), max_size=40),
    st.integers(5, 12),
    st.integers(0, 5),
)
def test_no_more_groups_are_tried_than_asked_for_and_the_same_by_the_same_seed(
    readers: dict[str, int], at_most: int, seed: int
) -> None:
    counted = {**readers, NOBODY: 3}
    tried = groups_to_try(counted, 1000, at_most, random.Random(seed))
    assert tried == groups_to_try(counted, 1000, at_most, random.Random(seed))
    assert len(tried) == len(set(tried)) <= at_most
    narrow = {g for g, n in readers.items() if n < 950 and g != NOBODY}
    assert set(tried) <= narrow
    assert len(tried) == min(at_most, len(narrow))
    assert NOBODY not in everybody(counted)


class Deaf(MemoryStore):
    """Does not hear who is asking, nor for what."""

    def search(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None = None,
        effort: Effort | None = None,
    ) -> list[Hit]:
        return self.search_exact(vector, k, ["everyone", "hr", "ops"])


class Lazy(MemoryStore):
    """Finds the first half of what there is, unless it has to look hard."""

    def scans(self, *_: Any) -> bool:
        return False

    def search(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None = None,
        effort: Effort | None = None,
    ) -> list[Hit]:
        found = self.search_exact(vector, k, groups, where)
        return found if effort and effort.ef_search >= 200 else found[: (k + 1) // 2]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_search_that_forgets_its_filter_returns_what_is_foreign(number: int) -> None:
    deaf = store(made_rows(ROWS), Deaf)
    found, _ = filters_of(deaf, 8, 7)
    reached, _ = reach(deaf, found[number], some_vectors(20, seed=9))
    assert reached.foreign


def test_shares_and_efforts() -> None:
    lazy = store(made_rows(ROWS), Lazy)
    found, _ = filters_of(lazy, 8, 7)
    vectors = some_vectors(20, seed=9)
    reached, truth = reach(lazy, found[0], vectors)
    assert (reached.recall, reached.scanned, reached.foreign) == (0.5, False, [])
    assert len(reached.times_ms) == len(reached.exact_ms) == 20
    shares, _ = reach_with(lazy, found[0], truth, Effort(200))
    assert shares == [1.0] * 20


def test_what_is_scanned_is_asked_a_few_times_only() -> None:
    whole = store(made_rows(ROWS))
    everything = Narrowed(["everyone"], None, filters_of(whole, 0, 7)[0][0].filter)
    reached, _ = reach(whole, everything, some_vectors(20, seed=9))
    assert (reached.scanned, len(reached.shares), reached.recall) == (True, 10, 1.0)


def test_a_part_and_a_value_say_what_they_are() -> None:
    assert str(Part(0.001, 7)) == "0.1 % of the documents, drawn at random"
    assert str(Holds("kind", "rare")) == "kind = 'rare'"
