"""A page or a PDF that takes too much has one reason, and the next file is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qafila.sources.bounded_reader import BoundedReader
from qafila.sources.documents import Unreadable, read_html, read_pdf
from tests.support.pdf import pdf_of


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "a page.html"
    path.write_text("<title>A title</title><p>Some words</p>")
    return path


@pytest.fixture
def reader() -> Iterator[BoundedReader]:
    with BoundedReader() as opened:
        yield opened


def test_what_is_read_is_what_the_readers_read(
    reader: BoundedReader, page: Path, tmp_path: Path
) -> None:
    pdf = tmp_path / "b.pdf"
    pdf.write_bytes(pdf_of("Words of a PDF", title="Named"))
    assert reader.read("html", page) == read_html(page)
    assert reader.read("pdf", pdf) == read_pdf(pdf)


def test_a_file_that_is_unreadable_or_not_there_says_what_it_said(
    reader: BoundedReader, page: Path, tmp_path: Path
) -> None:
    (tmp_path / "b.pdf").write_bytes(b"no PDF")
    with pytest.raises(Unreadable, match="is no readable PDF"):
        reader.read("pdf", tmp_path / "b.pdf")
    (tmp_path / "deep.html").write_text("<div>" * 20_000 + "a")
    with pytest.raises(Unreadable, match="is nested too deeply"):
        reader.read("html", tmp_path / "deep.html")
    with pytest.raises(FileNotFoundError):
        reader.read("html", tmp_path / "none.html")
    assert reader.read("html", page).title == "A title"


def test_a_file_that_takes_too_long_is_left_and_the_next_is_read(
    page: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "slow.html")  # whose reader waits for ever
    with BoundedReader(seconds=20.0, seconds_a_mib=0.0) as reader:
        assert reader.read("html", page).title == "A title"
        reader._seconds = 0.3
        with pytest.raises(Unreadable, match="takes more than 0 s to be read"):
            reader.read("html", tmp_path / "slow.html")
        reader._seconds = 20.0
        assert reader.read("html", page).title == "A title"


def test_a_file_that_fills_the_memory_is_left_and_the_next_is_read(
    page: Path, tmp_path: Path
) -> None:
    with (tmp_path / "large.html").open("wb") as file:
        file.truncate(400 << 20)
    with BoundedReader(memory_bytes=300 << 20) as reader:
        with pytest.raises(Unreadable, match="needs more than 300 MiB"):
            reader.read("html", tmp_path / "large.html")
        assert reader.read("html", page).title == "A title"
