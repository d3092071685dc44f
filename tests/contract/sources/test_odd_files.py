"""Files as they really come: wrong encodings, broken archives, odd links, misspelt fields.

Each is read right or named with its file; none is left out in silence, none ends in a traceback.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.sources import records
from tests.contract.sources.test_object_source import read, source


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


def problems(docs: Path, format_: str, **asked: Any) -> list[str]:
    return source(docs.parent, format_, **asked).problems()


def texts(docs: Path, format_: str, **asked: Any) -> list[str]:
    return [row.text for row in read(source(docs.parent, format_, **asked))]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,text\na,b\n".encode("utf-16"), "UTF-16"),
        ("id,text,prénom\na,b,c\n".encode("latin-1"), "not UTF-8 at its byte 11"),
        (b"id,text,text\na,b,c\n", "names the column 'text' more than once"),
    ],
)
def test_a_first_line_that_cannot_be_used_says_why(docs: Path, content: bytes, told: str) -> None:
    (docs / "a.csv").write_bytes(content)
    (problem,) = problems(docs, "csv")
    assert problem.startswith("a.csv:1: ")
    assert told in problem


EMPTY = [b"", b"\xef\xbb\xbf", b"\n\r\n  \n", gzip.compress(b"", mtime=0)]


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_a_part_of_an_export_that_had_no_rows_is_no_fault(
    docs: Path, format_: str, empty: bytes
) -> None:
    (docs / f"part-0.{format_}").write_bytes(empty)
    row = {"jsonl": '{"id": 1, "text": "one"}\n', "csv": "id,text\n1,one\n"}[format_]
    (docs / f"part-1.{format_}").write_text(row)
    assert problems(docs, format_) == []
    assert texts(docs, format_) == ["one"]


@pytest.mark.parametrize("empty", EMPTY)
def test_of_a_source_that_is_empty_only_csv_lacks_what_it_must_have(
    docs: Path, empty: bytes
) -> None:
    (docs / "a.jsonl").write_bytes(empty)
    (docs / "a.csv").write_bytes(empty)
    assert problems(docs, "jsonl") == []
    (told,) = problems(docs, "csv")
    assert "the first line of one must name the columns" in told
    (docs / "b.csv").write_text("id,text\n")  # a header is enough: no rows are no fault
    assert texts(docs, "csv") == []


def test_a_column_that_is_there_twice_and_not_read_is_no_hindrance(docs: Path) -> None:
    (docs / "a.csv").write_bytes(b'\xef\xbb\xbf"id",x,text,x\r\n1,,"two\r\nlines",\r\n')
    assert texts(docs, "csv") == ["two\r\nlines"]


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_an_archive_that_is_damaged_is_named(docs: Path, format_: str) -> None:
    packed = bytearray(gzip.compress(b""))
    packed[10] = 0xFF  # a block of a kind that does not exist
    with pytest.raises(zlib.error):
        gzip.decompress(bytes(packed))
    (docs / f"a.{format_}.gz").write_bytes(bytes(packed))
    assert any("cut off, or not valid gzip" in told for told in problems(docs, format_))


def test_a_text_field_that_no_record_has_is_a_wrong_name(docs: Path) -> None:
    (docs / "a.jsonl").write_text(
        '{"id": 1, "title": null, "body": {"fr": "x"}}\n{"id": 2, "body": {"fr": ""}}\n'
    )
    told = problems(docs, "jsonl", text=["title", "boddy", "body.en"])
    assert told == [
        f"none of 2 records has the text field {name!r}; the first has: id, title, body"
        for name in ("boddy", "body.en")
    ]
    assert texts(docs, "jsonl", text=["title", "body.fr"]) == ["x", ""]
    (docs / "a.jsonl").write_text("")
    assert texts(docs, "jsonl", text=["anything"]) == []


def test_a_field_of_a_struct_that_is_not_there_is_a_wrong_name(docs: Path) -> None:
    parquet(docs / "a.parquet", "SELECT 1 AS id, {'body': 'x'} AS doc")
    (told,) = problems(docs, "parquet", text=["doc.boddy"])
    assert "'doc.boddy'" in told


def parquet(path: Path, query: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")


def test_bytes_are_no_text_and_no_key_and_decimals_are_text(docs: Path) -> None:
    parquet(docs / "a.parquet", "SELECT 'a'::BLOB AS id, 'x' AS text")
    parquet(docs / "b.parquet", "SELECT 'b' AS id, 'x'::BLOB AS text")
    key, text = sorted(problems(docs, "parquet"))
    assert key.startswith("a.parquet:1: id holds b'a', and a key is a text")
    assert text.startswith("b.parquet:1: text holds bytes")
    (docs / "a.parquet").unlink()
    parquet(docs / "b.parquet", "SELECT 'b' AS id, 1.50::DECIMAL(9, 2) AS text, 'x'::BLOB AS raw")
    (row,) = read(source(docs.parent, "parquet", metadata=["raw"]))
    assert (row.text, row.metadata) == ("1.50", {"raw": "\\x78"})


@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Kathmandu"])
def test_a_moment_is_the_same_key_on_a_machine_in_any_zone(
    docs: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    parquet(docs / "a.parquet", "SELECT TIMESTAMPTZ '2024-01-01 00:30:00+02' AS id, 'x' AS text")
    monkeypatch.setenv("TZ", zone)
    assert [r.key_text for r in read(source(docs.parent, "parquet", metadata=["id"]))] == [
        "2023-12-31 22:30:00+00:00"
    ]


def test_a_parquet_file_with_pages_beyond_measure_says_what_to_do(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(
        docs / "a.parquet",
        "SELECT i AS id, repeat(md5(i::VARCHAR), 100) AS text FROM range(20000) AS r (i)",
    )
    assert problems(docs, "parquet") == []
    monkeypatch.setattr(records, "_MEMORY", "20MB")
    (docs / "a.parquet").rename(docs / "b.parquet")
    (told,) = problems(docs, "parquet")
    assert told.startswith("b.parquet:1: needs more than 20MB to be read: write it with smaller")


def test_a_broken_parquet_is_told_without_the_name_of_a_temporary_file(docs: Path) -> None:
    (docs / "a.parquet").write_bytes(b"")
    (told,) = problems(docs, "parquet")
    assert told.startswith("a.parquet:1: is not readable Parquet: ")
    assert "rows.parquet" not in told


@pytest.mark.parametrize(
    "front",
    ["date: 2023-02-30", "x: " + "[" * 3000, "x: !!bool x", "x: !!timestamp x", "? [a]\n: b"],
)
def test_front_matter_that_is_no_yaml_is_named(docs: Path, front: str) -> None:
    (docs / "a.md").write_text(f"---\n{front}\n---\ntext")
    (told,) = problems(docs, "markdown")
    assert told.startswith("a.md: it begins with front matter that cannot be read as YAML")


@pytest.mark.parametrize("name", ["title", "day"])
@pytest.mark.parametrize("last", ["*i", "&j [*j]", "&j {*j : 1}", "&j {k: {l: [*j]}}"])
def test_front_matter_that_unfolds_without_end_is_named(docs: Path, name: str, last: str) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in pairwise("abcdefghi")
    )
    before = bomb if last == "*i" else ""  # the others hold themselves
    (docs / "a.md").write_text(f"---\n{before}{name}: {last}\n---\ntext")
    (told,) = problems(docs, "markdown", metadata=["day"])
    assert told.startswith("a.md: it begins with front matter ")
    (docs / "a.md").write_text("---\na: &a [x, y]\nday: [*a, *a]\n---\ntext")
    (row,) = read(source(docs.parent, "markdown", metadata=["day"]))
    assert row.metadata == {"day": [["x", "y"], ["x", "y"]]}


def test_front_matter_in_toml_is_taken_off_and_kept_as_that_in_yaml_is(docs: Path) -> None:
    front = 'title = "Le début"\nday = 2024-05-06\nat = 2024-05-06T07:08:09Z\n[params]\nn = 3\n'
    for name, end in (("a.md", "\n"), ("b.md", "\r\n")):
        (docs / name).write_bytes(f"+++\n{front}+++\n\nText.\n".replace("\n", end).encode())
    (docs / "c.md").write_text("+++\n+++\nno entries")
    (docs / "d.md").write_text("+++\nnever closed")
    kept = ["day", "at", "params.n"]
    rows = read(source(docs.parent, "markdown", metadata=kept))
    told = {"day": "2024-05-06", "at": "2024-05-06 07:08:09+00:00", "params.n": 3}
    assert [(r.title, r.text, r.metadata) for r in rows] == [
        ("Le début", "Le début\n\nText.", told),
        ("Le début", "Le début\n\nText.", told),
        ("", "no entries", {}),
        ("", "+++\nnever closed", {}),
    ]


@pytest.mark.parametrize("front", ["a = ", "prose only", "day = 2024-02-30", "a = 1\na = 2"])
def test_front_matter_that_is_no_toml_is_named(docs: Path, front: str) -> None:
    (docs / "a.md").write_text(f"+++\n{front}\n+++\ntext")
    (told,) = problems(docs, "markdown")
    assert told.startswith("a.md: it begins with front matter that cannot be read as TOML: ")


def test_line_ends_of_every_system_end_a_line_of_markdown(docs: Path) -> None:
    for name, end in (("a.md", "\r"), ("b.md", "\r\n"), ("c.md", "\n")):
        (docs / name).write_bytes(end.join(["---", "title: T", "---", "# h", "text"]).encode())
    assert texts(docs, "markdown") == ["T\n\n# h\ntext"] * 3


@pytest.mark.parametrize(
    ("declared", "written", "letter"),
    [
        ("utf-16", "utf-8", "é"),
        ("UTF-16LE", "utf-8", "é"),
        ("gb2312", "gbk", "镕"),
        ("shift_jis", "cp932", "①"),
        ("latin-1", "cp1252", "€"),
        ("windows-1256", "cp1256", "ش"),
    ],
)
def test_a_page_means_what_browsers_take_it_to_mean(
    docs: Path, declared: str, written: str, letter: str
) -> None:
    page = f'<html><meta charset="{declared}"><body><p>{letter}</p></body></html>'
    (docs / "a.html").write_bytes(page.encode(written))
    assert texts(docs, "html") == [letter]


@pytest.mark.parametrize("part", ["main", "article"])
def test_an_empty_main_part_is_not_taken_for_the_page(docs: Path, part: str) -> None:
    (docs / "a.html").write_text(f"<{part}> <script>fill()</script></{part}><p>the text</p>")
    assert texts(docs, "html") == ["the text"]


def test_the_title_of_a_drawing_is_not_that_of_the_page(docs: Path) -> None:
    drawing = "<svg><title>Menu</title></svg>"
    (docs / "a.html").write_text(f"<body>{drawing}<p>text</p>")
    (docs / "b.html").write_text(
        f'<html xml:lang="fr"><body>{drawing}<title>Page</title><p>text</p></body></html>'
    )
    first, second = read(source(docs.parent, "html", metadata=["lang"]))
    assert (first.title, first.text, first.metadata) == ("", "text", {})
    assert (second.title, second.text, second.metadata) == ("Page", "Page\n\ntext", {"lang": "fr"})


def test_a_page_in_real_utf_16_is_read(docs: Path) -> None:
    (docs / "a.html").write_bytes('<meta charset="utf-16"><p>كتاب</p>'.encode("utf-16"))
    assert texts(docs, "html") == ["كتاب"]


@pytest.mark.parametrize(
    "page",
    [
        b"<p>a</p><![foo[bar]]>",
        b"<![ <p>b</p>",
        b"<meta charset=undefined>x",
        "<td colspan=²>x".encode(),
    ],
)
def test_a_page_that_cannot_be_parsed_is_named(docs: Path, page: bytes) -> None:
    (docs / "a.html").write_bytes(page)
    (told,) = problems(docs, "html")
    assert told.startswith("a.html: it ")


@pytest.mark.parametrize("document", [[{"id": 1, "text": "x"}] * 40, {"id": 1, "text": "x"}])
def test_one_json_document_over_many_lines_is_said_once(docs: Path, document: object) -> None:
    (docs / "a.jsonl").write_text("\n" + json.dumps(document, indent=1))
    (told,) = problems(docs, "jsonl")
    assert told.startswith("a.jsonl:2: begins one JSON document over several lines: write one")


def test_a_list_of_groups_with_something_else_in_it_says_what(docs: Path) -> None:
    lists: list[Any] = [["hr", None], [["hr"]], [1], {"hr": 1}, b"hr".hex()]
    (docs / "a.jsonl").write_text(
        "".join(json.dumps({"id": n, "text": "x", "acl": a}) + "\n" for n, a in enumerate(lists))
    )
    found = read(source(docs.parent, "jsonl", acl="acl"))
    assert [(row.key_text, list(row.acl), row.unreadable) for row in found] == [
        ("0", [], "acl holds a list with null in it, not only names"),
        ("1", [], "acl holds a list with a list in it, not only names"),
        ("2", [], "acl holds a list with a number in it, not only names"),
        ("3", [], "acl holds an object, not a list of names"),
        ("4", [b"hr".hex()], ""),
    ]


def test_a_quote_that_is_left_open_is_named_where_it_is_opened(docs: Path) -> None:
    lines = "".join(f"{n},text {n}\n" for n in range(2_000))
    (docs / "a.csv").write_text('id,text\na,one\nb,"two\n' + lines)
    (told,) = problems(docs, "csv")
    assert told == "a.csv:3: is not valid CSV: unexpected end of data; nothing behind it was read"
    limit = records._csv.field_size_limit(10_000)  # what follows is not all taken into memory
    try:
        (docs / "a.csv").rename(docs / "b.csv")
        (told,) = problems(docs, "csv")
    finally:
        records._csv.field_size_limit(limit)
    assert told.startswith("b.csv:3: is not valid CSV: field larger than field limit (10000)")


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_a_line_without_end_is_not_taken_into_memory(
    docs: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    monkeypatch.setattr(records, "_LONGEST_LINE", 1_000)
    rows = {"csv": "id,text\n{},{}\n", "jsonl": '\n{{"id": {}, "text": "{}"}}\n'}[format_]
    (docs / f"a.{format_}.gz").write_bytes(gzip.compress(rows.format(1, "x" * 5_000).encode()))
    behind = "; nothing behind it was read" if format_ == "csv" else ""
    assert problems(docs, format_) == [f"a.{format_}.gz:2: is longer than 1000 bytes{behind}"]
    (docs / f"a.{format_}.gz").write_bytes(gzip.compress(rows.format(1, "x" * 900).encode()))
    assert texts(docs, format_) == ["x" * 900]


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("name", "content", "asked", "told"),
    [
        (
            "a.jsonl",
            '{"id": 1, "text": "x", "m": ' + nested(900) + "}",
            {"metadata": ["m"]},
            "a.jsonl:1: its metadata are nested too deeply",
        ),
        (
            "a.jsonl",
            '{"id": 1, "text": "x", "m": [1e400]}',
            {"metadata": ["m"]},
            "a.jsonl:1: its metadata hold a number beyond 1.8e308",
        ),
        (
            "a.csv",
            f"id,text,acl\n1,x,{nested(100_000)}\n",
            {"acl": "acl"},
            "a.csv:2: acl begins like a list and is none",
        ),
    ],
)
def test_what_no_parser_takes_to_its_end_is_named(
    docs: Path, name: str, content: str, asked: dict[str, Any], told: str
) -> None:
    (docs / name).write_text(content)
    format_ = {"md": "markdown"}.get(name[2:], name[2:])
    (said,) = problems(docs, format_, **asked)
    assert said.startswith(told)


def test_a_text_that_only_looks_like_json_holds_no_field(docs: Path) -> None:
    line = {"id": 1, "node": '{"a":' * 50_000, "text": "x"}
    (docs / "a.jsonl").write_text(json.dumps(line))
    (told,) = problems(docs, "jsonl", text=["node.a"])
    assert "none of 1 records has the text field 'node.a'" in told


def test_whole_numbers_keep_every_digit_and_fractions_those_of_a_float(docs: Path) -> None:
    numbers = [2**53 + 1, -(2**64), 10**300, 0.1, 1e-320]
    (docs / "a.jsonl").write_text(
        f'{{"id": 1, "text": "x", "m": {numbers}, "f": 0.12345678901234567890}}'
    )
    (row,) = read(source(docs.parent, "jsonl", metadata=["m", "f"]))
    assert row.metadata == {"m": numbers, "f": 0.12345678901234568}
    assert all(type(n) is type(m) for n, m in zip(numbers, row.metadata["m"], strict=True))


TOKENS = {
    "html": [
        "<table>",
        "<td colspan=",
        "x>",
        "²>",
        "<ol start=",
        "<li>",
        "<pre>",
        "<code>",
        "`",
        "<a href=x>",
        "</a>",
        "<img src=x>",
        "<h9>",
        "<br/>",
        "<q>",
        "<![CDATA[x]]>",
        "<!--",
        "-->",
        "<?php",
        "?>",
        "&#0;",
        "&#xD800;",
        "&bogus;",
        "<",
        ">",
        "</",
        "\0",
        "é",
        "\n",
        "<title>",
        "<main>",
        "</main>",
        "<script>",
        "</script>",
        "<svg>",
        "<meta name=a>",
    ],
    "markdown": [
        "---\n",
        "...\n",
        "a: &a [*a]\n",
        "? x\n",
        "!!python/object:os x\n",
        "<<: *x\n",
        "d: 2024-13-01\n",
        "t: 1:99:99\n",
        "[a]: b\n",
        "n: 0b_\n",
        "b: !!binary x\n",
        "o: !!omap [a]\n",
        "\t",
        "# h\n",
        "\r",
        "\r\n",
        "\ufeff",
        "{",
        "'",
        "%YAML 2.0\n",
        "+++\n",
        "a = 1\n",
        "[b]\n",
    ],
    "csv": ["id", "text", ",", ";", '"', '""', "\n", "\r\n", "\r", "\0", "é", "id,text\n", "a,b\n"],
    "jsonl": [
        "{",
        "}",
        '"id"',
        ":",
        "1",
        '"text"',
        ",",
        "[",
        "]",
        "null",
        "1e999",
        "9" * 5000,
        '"\\u0000"',
        '"\\ud800"',
        "\n",
        "NaN",
        '{"id":1,"text":"x"}\n',
        "true",
    ],
}


@pytest.mark.parametrize("format_", TOKENS)
def test_whatever_is_in_a_file_it_is_read_or_named(format_: str) -> None:
    endings = {"html": "html", "markdown": "md", "csv": "csv", "jsonl": "jsonl"}

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.sampled_from(TOKENS[format_]), max_size=20), st.binary(max_size=2), st.data()
    )
    def check(tokens: list[str], tail: bytes, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "docs"
            folder.mkdir()
            head = data.draw(st.sampled_from(["---\n", "+++\n"])) if format_ == "markdown" else ""
            (folder / f"a.{endings[format_]}").write_bytes((head + "".join(tokens)).encode() + tail)
            opened = source(folder.parent, format_)
            if not opened.problems():
                read(opened)
            opened.close()

    check()


def test_linked_folders_leave_nothing_out_in_silence(docs: Path) -> None:
    inside, outside = docs / "inside", docs.parent / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.md").write_text(folder.name)
    (docs / "again").symlink_to(inside)
    (docs / ".hidden").symlink_to(outside)
    assert texts(docs, "markdown") == ["inside"]
    (docs / "linked").symlink_to(outside)
    assert "leads out of" in problems(docs, "markdown")[0]


@pytest.mark.parametrize("target", ["never-there", "b.md"])
def test_a_link_that_leads_nowhere_is_named(docs: Path, target: str) -> None:
    (docs / "a.md").write_text("text")
    (docs / "b.md").symlink_to(target)
    assert "leads nowhere" in problems(docs, "markdown")[0]
