"""Walking the chain: every way in which it can differ from what was written, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from qafila.ledger.chain import GENESIS, Link, SeenHead, link_digest, verify_chain


def chain(rows: int = 3) -> list[Link]:
    links: list[Link] = []
    previous = GENESIS
    for number in range(1, rows + 1):
        body = {"n": number}
        digest = link_digest(previous, number, body)
        links.append(Link(number, body, previous, digest))
        previous = digest
    return links


def head_of(links: list[Link]) -> tuple[int, str]:
    return (links[-1].number, links[-1].digest) if links else (0, GENESIS)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_chain_as_it_was_written_is_intact(rows: int) -> None:
    links = chain(rows)
    for number in range(rows + 1):
        digest = links[number - 1].digest if number else GENESIS
        found = verify_chain(links, head=head_of(links), seen=SeenHead(number, digest, "file"))
        assert found.intact
        assert (found.rows, found.problems) == (rows, ())
    assert verify_chain(links, head=head_of(links)).intact


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (
            lambda c: [c[0], c[2]],
            ["row 2 is missing before row 3", "row 3 does not follow the row before it"],
        ),
        (
            lambda c: c[1:],
            ["row 1 is missing before row 2", "row 2 does not follow the row before it"],
        ),
        (
            lambda c: [c[0], replace(c[1], body={"n": 9}), c[2]],
            ["row 2 was changed after it was written"],
        ),
        (
            lambda c: [c[0], c[1], replace(c[2], digest="f" * 64)],
            ["row 3 was changed after it was written", "the chain ends at row 3, the head says 3"],
        ),
        (lambda c: c[:2], ["the chain ends at row 2, the head says 3"]),
        (lambda c: [], ["the chain ends at row 0, the head says 3"]),
    ],
)
def test_each_change_is_said(
    change: Callable[[list[Link]], list[Link]], problems: list[str]
) -> None:
    links = chain()
    found = verify_chain(change(links), head=head_of(links))
    assert list(found.problems) == problems
    assert not found.intact
    assert found.rows == len(change(links))


def test_a_chain_without_its_head_row_is_not_intact() -> None:
    found = verify_chain(chain(), head=None)
    assert found.problems == ("the row that says where the chain ends is missing",)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (SeenHead(4, "a", "file"), "ends at row 3, but it had 4 rows when it was last seen (file)"),
        (SeenHead(2, "a", "file"), "row 2 is another one than when it was last seen (file)"),
        (SeenHead(3, "a", "file"), "row 3 is another one than when it was last seen (file)"),
        (SeenHead(0, "a", "file"), "row 0 is another one than when it was last seen (file)"),
        (SeenHead(0, GENESIS, "file", "no key"), "file was not written by this home: no key"),
    ],
)
def test_a_chain_that_fits_itself_and_not_what_was_seen_before(
    seen: SeenHead, problem: str
) -> None:
    links = chain()
    found = verify_chain(links, head=head_of(links), seen=seen)
    assert len(found.problems) == 1
    assert found.problems[0].endswith(problem)


def test_the_digest_covers_previous_number_and_body() -> None:
    digest = link_digest("p", 1, {"a": 1})
    assert (
        len(
            {
                digest,
                link_digest("q", 1, {"a": 1}),
                link_digest("p", 2, {"a": 1}),
                link_digest("p", 1, {"a": 2}),
            }
        )
        == 4
    )
    assert link_digest("p", 1, {"a": 1, "b": 2}) == link_digest("p", 1, {"b": 2, "a": 1})
