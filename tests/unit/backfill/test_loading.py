"""What becomes of a row: at least one chunk, or a dead letter with its reason; never neither."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.backfill import load as loading
from qafila.backfill.claims import Spent
from qafila.backfill.compare import expected_chunks
from qafila.backfill.load import NO_TEXT, Vectored, made_of
from qafila.chunking.chunks import split
from qafila.sources.port import Piece, SourceRow
from qafila.stores.port import Chunk
from qafila.text.blanks import is_blank
from qafila.workload.model import Workload
from tests.support.corpus import demo_workload

ORIGIN = {"model": "other", "revision": "1"}
INDEX = {"kind": "pgvector", "block": "demo-source", "table": "chunk", "vectors": ORIGIN}
WHOLE = demo_workload()
OF_PIECES = demo_workload(source=INDEX)
WINDOWS = demo_workload(
    chunking={"method": "window", "max_characters": 100, "overlap_characters": 0}
)
SENTENCES = demo_workload(
    chunking={"method": "sentences", "max_characters": 100, "overlap_characters": 20}
)
Place = tuple[str, int]


def row(key: str, text: str, number: int | None = None) -> SourceRow:
    piece = None if number is None else Piece(key, number, 0, len(text))
    return SourceRow([key], "", text, ["everyone"], piece=piece)


def vectorise_but(refused: set[int]):  # type: ignore[no-untyped-def]
    """Give every chunk a vector, but those at some places of the batch."""

    def vectorise(rows: Sequence[SourceRow], chunks: Sequence[Chunk]) -> Vectored:
        kept = [chunk for n, chunk in enumerate(chunks) if n not in refused]
        vectors = np.ones((len(kept), 256), np.float32)
        rejected = [(chunk, "refused") for n, chunk in enumerate(chunks) if n in refused]
        return Vectored(kept, vectors, rejected, Spent())

    return vectorise


def becomes(
    rows: Sequence[SourceRow], workload: Workload, refused: set[int] | None = None
) -> tuple[list[Place], list[tuple[str, int, str]]]:
    """Return the places of the chunks, and of what is set aside with its reason."""
    made = made_of(rows, workload, vectorise_but(refused or set()))
    assert len(made.chunks) == len(made.vectors)
    return (
        [(c.source_key, c.number) for c in made.chunks],
        [(c.source_key, c.number, why) for c, why in made.rejected],
    )


def test_a_row_without_text_is_set_aside_though_another_gives_two_chunks() -> None:
    long = "A sentence of some forty characters is here. " * 4
    assert len(split(long, WINDOWS.corpus.chunking)) == 2
    chunks, aside = becomes([row("a", ""), row("b", long)], WINDOWS)
    assert chunks == [("b", 0), ("b", 1)]
    assert aside == [("a", 0, NO_TEXT)]


def test_a_piece_without_text_is_set_aside_though_its_document_has_other_chunks() -> None:
    rows = [row("a", "first", 0), row("a", "", 1), row("a", "third", 2), row("b", "", 0)]
    chunks, aside = becomes(rows, OF_PIECES)
    assert chunks == [("a", 0), ("a", 2)]
    assert aside == [("a", 1, NO_TEXT), ("b", 0, NO_TEXT)]


BLANK = [" ", "\n\r\n\t", "\u00a0 \u202f", "\u200b", "\ufeff\u2060 \u200d", " " * 5000]


@pytest.mark.parametrize("text", BLANK)
@pytest.mark.parametrize("workload", [WHOLE, WINDOWS, SENTENCES])
def test_a_row_of_blanks_alone_is_set_aside_as_one_without_text(
    workload: Workload, text: str
) -> None:
    chunks, aside = becomes([row("a", text), row("b", f"{text}text")], workload)
    assert {key for key, _ in chunks} == {"b"}
    assert aside == [("a", 0, NO_TEXT)]


@pytest.mark.parametrize("text", BLANK)
def test_a_piece_of_blanks_alone_is_set_aside_by_its_own_number(text: str) -> None:
    chunks, aside = becomes([row("a", "first", 0), row("a", text, 1)], OF_PIECES)
    assert (chunks, aside) == ([("a", 0)], [("a", 1, NO_TEXT)])


def test_every_white_space_that_there_is_is_a_blank() -> None:
    spaces = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()]
    assert [c for c in spaces if not is_blank(c)] == []
    assert not is_blank("\u00a0\u0301")  # a space that carries an accent is a letter
    assert not is_blank("\0")


def test_what_has_no_text_and_what_has_no_vector_are_both_set_aside() -> None:
    chunks, aside = becomes([row("a", ""), row("b", "text"), row("c", "text")], WHOLE, {0})
    assert chunks == [("c", 0)]
    assert aside == [("a", 0, NO_TEXT), ("b", 0, "refused")]


@pytest.mark.parametrize("workload", [WHOLE, WINDOWS, SENTENCES])
def test_no_row_gives_nothing(workload: Workload) -> None:
    assert becomes([], workload) == ([], [])


TEXTS = st.one_of(
    st.just(""),
    st.sampled_from([" ", "\n\n", "\u00a0 \u0301", "a", "\u200b"]),
    st.text(max_size=20),
    st.integers(1, 8).map("Forty characters of a sentence are here. ".__mul__),
)
REFUSED = st.sets(st.integers(0, 20), max_size=6)


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=8), st.sampled_from([WHOLE, WINDOWS, SENTENCES]), REFUSED)
def test_every_row_ends_as_chunks_or_is_set_aside(
    texts: list[str], workload: Workload, refused: set[int]
) -> None:
    rows = [row(f"row-{n}", text) for n, text in enumerate(texts)]
    chunks, aside = becomes(rows, workload, refused)
    there, gone = {key for key, _ in chunks}, {key for key, _, _ in aside}
    assert there | gone == {r.key_text for r in rows}
    # each chunk that the text gives is there or set aside, and nothing is both
    wanted = {
        (r.key_text, span.number)
        for r in rows
        if not is_blank(r.text)
        for span in split(r.text, workload.corpus.chunking)
    }
    letters = {(key, number) for key, number, _ in aside}
    assert wanted == (set(chunks) | letters) - {(r.key_text, 0) for r in rows if is_blank(r.text)}
    assert not set(chunks) & letters
    assert len(chunks) + len(aside) == len(set(chunks)) + len(letters)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 4), TEXTS),
        max_size=12,
        unique_by=lambda one: one[:2],
    ),
    REFUSED,
)
def test_every_piece_of_an_index_ends_as_a_chunk_or_is_set_aside(
    pieces: list[tuple[str, int, str]], refused: set[int]
) -> None:
    rows = [row(key, text, number) for key, number, text in pieces]
    chunks, aside = becomes(rows, OF_PIECES, refused)
    places = [*chunks, *((key, number) for key, number, _ in aside)]
    assert sorted(places) == sorted((key, number) for key, number, _ in pieces)


@pytest.mark.parametrize("error", [RecursionError("too deep"), ValueError("password=hush-Zq7")])
@pytest.mark.parametrize("workload", [WINDOWS, SENTENCES])
def test_a_row_that_cannot_be_split_is_one_dead_letter(
    workload: Workload, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def split_but(text: str, *given: object) -> object:
        if text == "hostile":
            raise error
        return split(text, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "split", split_but)
    rows = [row("a", "A text."), row("b", "hostile"), row("c", "Another."), row("d", "")]
    chunks, aside = becomes(rows, workload)
    assert chunks == [("a", 0), ("c", 0)]
    assert [(key, number) for key, number, _ in aside] == [("b", 0), ("d", 0)]
    assert aside[0][2].startswith(f"its text cannot be split: {type(error).__name__}: ")
    assert "hush" not in aside[0][2]
    assert aside[1][2] == NO_TEXT
    expected = {(c.source_key, c.number) for c in expected_chunks(rows, workload)}
    assert expected == {*chunks, ("b", 0), ("d", 0)}  # a stated gap, for the comparison as well
