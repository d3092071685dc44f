"""A file that a person named is written whole, and replaces nothing that Qafila did not write."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from qafila.errors import BadInput
from qafila.report.files import MARK, save_page, save_rows
from qafila.report.page import render_inspection
from qafila.whole_file import write_once, write_whole

PAGE = f"<!doctype html><head>{MARK}</head>"


def test_a_page_of_ours_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    save_page(PAGE, file, file)
    save_page(PAGE + "new", file, file)
    assert file.read_text() == PAGE + "new"
    assert list(tmp_path.iterdir()) == [file]


def test_every_page_carries_the_mark() -> None:
    assert MARK in render_inspection([])[:1000]
    folder = Path(__file__).parents[3] / "qafila" / "report"
    pages = [p for p in folder.glob("*.html") if "<head>" in p.read_text()]
    assert len(pages) >= 5
    assert [p.name for p in pages if MARK not in p.read_text()[:1000]] == []


@pytest.mark.parametrize(
    "content", ["", "a letter", PAGE.replace("Qafila", "x"), " " * 2000 + MARK]
)
def test_a_file_of_somebody_else_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    file = tmp_path / "letter.html"
    file.write_text(content)
    with pytest.raises(BadInput, match="left as it is") as refused:
        save_page(PAGE, file, file)
    assert "--force" in str(refused.value)
    assert file.read_text() == content
    save_page(PAGE, file, file, force=True)
    assert file.read_text() == PAGE


def test_a_link_is_not_followed_even_with_force(tmp_path: Path) -> None:
    other, link = tmp_path / "other.html", tmp_path / "link.html"
    other.write_text(PAGE)
    link.symlink_to(other)
    with pytest.raises(BadInput):
        save_page("new", link, link)
    save_page("new", link, link, force=True)
    assert (other.read_text(), link.read_text(), link.is_symlink()) == (PAGE, "new", False)


def test_rows_replace_no_file_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    save_rows("1\n", file)
    with pytest.raises(BadInput, match="exists"):
        save_rows("2\n", file)
    assert file.read_text() == "1\n"
    save_rows("2\n", file, force=True)
    assert file.read_text() == "2\n"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written: No such file"):
        save_page(PAGE, tmp_path / "none" / "report.html", tmp_path)


def test_what_cannot_be_written_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    write_whole(file, "old")
    file.chmod(0o640)
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "new \ud800")
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])
    write_whole(file, "new")
    assert file.stat().st_mode & 0o777 == 0o640


def test_of_many_that_write_once_one_does(tmp_path: Path) -> None:
    file, wrote = tmp_path / "key", []
    gate = threading.Barrier(8)

    def write(text: str) -> None:
        gate.wait()
        if write_once(file, text):
            wrote.append(text)

    threads = [threading.Thread(target=write, args=(str(n) * 64,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrote == [file.read_text()]
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
