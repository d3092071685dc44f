"""In which order, and over how many connections, the three systems are asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from qafila.validation.judged import Answer, JudgedQuery
from qafila.validation.questions import SYSTEMS, OpenArm, ask_all

Asked = tuple[int, str, str]  # thread, system, text


class World:
    """Two services that note who asked them what."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.opened = {"baseline": 0, "candidate": 0}

    def opening(self, name: str) -> OpenArm:
        world = self

        class Noting:
            def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
                del k
                system = "vector_only" if mode == "vector" else name
                world.asked.append((threading.get_ident(), system, text))
                return Answer((f"{system} {text}",), 1.0)

        @contextmanager
        def opened() -> Iterator[Noting]:
            world.opened[name] += 1
            yield Noting()

        return opened


@pytest.mark.parametrize(("queries", "users"), [(1, 1), (7, 3), (120, 1), (301, 2)])
def test_every_system_answers_every_query_and_each_of_a_pair_is_first_as_often(
    queries: int, users: int
) -> None:
    world = World()
    asked = [JudgedQuery(f"q{n}", f"text {n}", {"d": 1.0}) for n in range(queries)]
    answers = ask_all(
        world.opening("baseline"), world.opening("candidate"), asked, concurrency=users
    )
    assert {s: [a.ranking for a in answers[s]] for s in SYSTEMS} == {
        s: [(f"{s} text {n}",) for n in range(queries)] for s in SYSTEMS
    }
    assert world.opened["candidate"] >= 2 * queries / 50 / users
    warm = {query.text for query in asked[:5]}
    for user in {thread for thread, _, _ in world.asked}:
        mine = [a[1:] for a in world.asked if a[0] == user and a[2] not in warm]
        first = [
            system
            for (system, text), (_, after) in pairwise(mine)
            if text == after and system != "vector_only"
        ]
        assert abs(first.count("baseline") - first.count("candidate")) <= 1 + queries // 50


def test_vectors_alone_never_come_right_before_the_candidate_of_the_same_query() -> None:
    world = World()
    asked = [JudgedQuery(f"q{n}", f"text {n}", {"d": 1.0}) for n in range(200)]
    ask_all(world.opening("baseline"), world.opening("candidate"), asked, concurrency=1)
    order = [system for _, system, _ in world.asked]
    assert "vector_only" not in order[: order.index("vector_only")]
    assert set(order[order.index("vector_only") :]) == {"vector_only"}
