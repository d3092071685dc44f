"""Files as a source: what each format gives, and what is refused with file and line."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import stat
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from qafila.backfill.claims import Spent
from qafila.backfill.load import Vectored, made_of
from qafila.connections.aws import connect_s3
from qafila.errors import BackfillHalted, BadInput, Unavailable
from qafila.sources import objects
from qafila.sources.documents import READERS, Document, read_markdown
from qafila.sources.objects import ObjectSource, files_of
from qafila.sources.port import SourceRow
from qafila.sources.records import read_csv
from qafila.workload.corpus import ObjectSource as Settings
from tests.support.aws import running_moto
from tests.support.corpus import demo_workload
from tests.support.pdf import pdf_of, pdf_of_glyphs

RETRIEVAL = Path(__file__).parents[4] / "shared" / "data" / "retrieval"


def source(home: Path, format_: str, **settings: Any) -> ObjectSource:
    asked = {"kind": "objects", "location": "docs", "format": format_, **settings}
    parsed = Settings.model_validate(asked)
    return ObjectSource(parsed, files_of(parsed, home), home)


def read(opened: ObjectSource) -> list[SourceRow]:
    return [row for batch in opened.read(None, None, 7) for row in batch]


def unreadable(docs: Path, format_: str, **settings: Any) -> dict[str, str]:
    """Return why documents cannot be read; they are set aside, and the source is not refused."""
    opened = source(docs.parent, format_, **settings)
    assert opened.problems() == []
    return {row.key_text: row.unreadable for row in read(opened) if row.unreadable}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


def test_a_line_that_cannot_be_read_is_set_aside_alone(docs: Path) -> None:
    lines = [
        b'{"id": "a", "text": "good"}',
        b"",
        b'{"id": "b", "text": ',
        b"[1]",
        b'{"text": "x"}',
        b'{"id": 1.5, "text": "x"}',
        b'{"id": "c", "text": ["x"]}',
        b'{"id": "d", "text": "\xe9"}',
        b'{"id": "e", "text": "x", "m": NaN}',
        b'{"id": "f\\u0000", "text": "x"}',
        b'{"id": "g", "text": "x", "acl": "hr"}',
        b'{"id": "h", "text": "x", "acl": 5}',
        b'{"id": "j", "text": "y", "acl": []}',
        b'{"id": "' + b"k" * 2001 + b'", "text": "x"}',
        b'{"id": "i", "text": "x", "acl": ["hr"]}',
        b"[" * 100_000,
    ]
    (docs / "one.jsonl").write_bytes(b"\n".join(lines))
    told = unreadable(docs, "jsonl")
    # a line that gives no key has its place as one
    assert told.keys() == {"c", *(f"one.jsonl:{n}" for n in (3, 4, 5, 6, 8, 9, 10, 14, 16))}
    assert told["c"] == "text holds a list, not a text"
    assert told["one.jsonl:8"].startswith("is not UTF-8 at its byte 22")
    opened = source(docs.parent, "jsonl")
    assert [r.key_text for r in read(opened) if not r.unreadable] == ["a", "g", "h", "i", "j"]
    assert (opened.volume().rows, opened.volume().unreadable) == (15, 10)
    guarded = unreadable(docs, "jsonl", acl="acl")
    assert {key for key, why in guarded.items() if "nobody could read it" in why} == {"a"}
    assert guarded["h"].startswith("acl holds a number")


def test_what_concerns_a_whole_file_refuses_the_source(docs: Path) -> None:
    (docs / "one.jsonl").write_text(
        '{"id": "a", "text": "good"}\n{"id": "b"\n{"id": "a", "text": "again"}\n'
    )
    (docs / "two.jsonl").write_bytes('{"id": "z", "text": "x"}\n'.encode("utf-16"))
    told = source(docs.parent, "jsonl").problems()
    assert told == [
        "two.jsonl:1: is UTF-16: save the file as UTF-8",
        "the key 'a' is there 2 times: one.jsonl:1, one.jsonl:3",
    ]
    with pytest.raises(BadInput, match=r"two\.jsonl:1"):
        read(source(docs.parent, "jsonl"))


def test_a_source_of_which_little_can_be_read_is_refused(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "bad.jsonl").write_text("nonsense\n" * 5000)
    told = source(docs.parent, "jsonl").problems()
    assert len(told) == 20
    assert told[0].startswith("bad.jsonl:1: is not a JSON object")
    assert told[-1] == "and 4981 more that cannot be read"
    (docs / "good.jsonl").write_text('{"id": "a", "text": "x"}')
    assert len(source(docs.parent, "jsonl").problems()) == 20
    monkeypatch.setattr(objects, "_MANY_UNREADABLE", 5000)  # few beside a larger source
    assert source(docs.parent, "jsonl", metadata=["m"]).problems() == []


def test_a_line_that_was_mended_is_found_by_its_former_place(docs: Path) -> None:
    (docs / "a.jsonl").write_text('{"id": "a", "text": "x"}\nnonsense\n')
    assert unreadable(docs, "jsonl").keys() == {"a.jsonl:2"}
    (docs / "a.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n')
    mended = source(docs.parent, "jsonl")
    assert [row.key_text for row in mended.fetch(["a.jsonl:2", "a.jsonl:3"])] == ["b"]
    assert [row.key_text for row in mended.fetch(["a.jsonl:1", "a", "b"])] == ["a", "b"]


def test_the_rest_of_a_row_is_no_row_of_its_own(docs: Path) -> None:
    row = b'b,"caf\xe9, and\nforged,a text"\n'
    (docs / "a.csv").write_bytes(b"id,text\na,one\n" + row + b'"c\n",two\nd,three\n')
    opened = source(docs.parent, "csv")
    assert opened.problems() == []
    assert {r.key_text: r.text for r in read(opened)} == {
        "a": "one",
        "a.csv:3": "",
        "c\n": "two",
        "d": "three",
    }


def test_problems_are_bounded(docs: Path) -> None:
    for n in range(1_100):
        (docs / f"{n}.csv").write_text("name,text\n1,x\n")
    told = source(docs.parent, "csv").problems()
    assert len(told) == 21
    assert told[-1] == "and 981 more like these"


def test_a_path_with_dots_goes_deeper_and_numbers_are_keys(docs: Path) -> None:
    records = [
        {"n": {"id": 12345678901234567890}, "a.b": "flat", "a": {"b": "deep"}, "t": "one"},
        {"n": {"id": "x"}, "a": {"b": "deep"}, "t": None, "tags": [{"k": "\udc00\u0000"}]},
    ]
    (docs / "a.jsonl").write_text("\n".join(json.dumps(r) for r in records))
    opened = source(
        docs.parent, "jsonl", key="n.id", text=["t", "a.b"], metadata=["a.b", "tags", "no.such"]
    )
    assert opened.problems() == []
    first, second = read(opened)
    assert (first.key_text, first.title, first.text) == ("12345678901234567890", "one", "one\nflat")
    assert (second.title, second.text) == ("", "deep")
    assert second.metadata == {"a.b": "deep", "tags": [{"k": "\udc00\u0000"}]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_by_any_common_delimiter_with_lines_inside_quotes(docs: Path, delimiter: str) -> None:
    d = delimiter
    body = (
        f'id{d}text{d}groups\r\n1{d}"line one\nsaid ""hi"" {d}"{d}"hr, it"\r\n2{d}é{d}"[""x""]"\r\n'
    )
    (docs / "a.csv").write_bytes(b"\xef\xbb\xbf" + body.encode())
    (docs / "b.csv.gz").write_bytes(gzip.compress(f'text{d}id{d}groups\n{d}3{d}"a;b"'.encode()))
    opened = source(docs.parent, "csv", acl="groups")
    assert opened.problems() == []
    assert [(r.key_text, r.text, list(r.acl)) for r in read(opened)] == [
        ("1", f'line one\nsaid "hi" {d}', ["hr", "it"]),
        ("2", "é", ["x"]),
        ("3", "", ["a", "b"]),
    ]


def test_a_long_document_changes_no_other_readers_limit(docs: Path) -> None:
    """The limit of ``csv`` is the process's own; two reads in two threads leave it alone."""
    long = "x" * 300_000
    (docs / "a.csv").write_text("id,text\n" + "".join(f"{n},{long}\n" for n in range(3)))
    limit = csv.field_size_limit()
    with ThreadPoolExecutor(2) as threads:
        reads = [read_csv(docs / "a.csv", "id", ["text"]) for _ in range(2)]
        for _ in range(3):
            for one in threads.map(next, reads):
                assert one.fields is not None
                assert one.fields["text"] == long
            assert csv.field_size_limit() == limit  # while both are open
            with pytest.raises(csv.Error, match="field larger than field limit"):
                list(csv.reader([long]))
        assert [list(one) for one in reads] == [[], []]
    assert csv.field_size_limit() == limit


def test_lines_that_end_with_cr_alone_are_refused_with_their_line(docs: Path) -> None:
    (docs / "mac.csv").write_bytes(b"id,text\r1,x\r")
    (told,) = source(docs.parent, "csv").problems()
    assert told.startswith("mac.csv:1: is not valid CSV")


def test_csv_that_is_broken_says_where(docs: Path) -> None:
    (docs / "columns.csv").write_text("key,text\n1,x\n")
    (docs / "latin.csv").write_bytes("id,text\n1,é\n2,x\n".encode("latin-1"))
    (docs / "quote.csv").write_text('id,text\n8,"x" y\n9,z\n')
    (docs / "ragged.csv").write_text("id,text\n3,x\n4\n5,a,b\n,x\n")
    (docs / "cut.csv.gz").write_bytes(
        gzip.compress(b"id,text\n" + os.urandom(9999).hex().encode())[:99]
    )
    told = sorted(source(docs.parent, "csv").problems())
    assert [t.split(": ")[0] for t in told] == ["columns.csv:1", "cut.csv.gz:2", "quote.csv:2"]
    for name in ("columns.csv", "cut.csv.gz", "quote.csv"):
        (docs / name).unlink()
    told = sorted(unreadable(docs, "csv"))
    assert told == ["latin.csv:2", "ragged.csv:3", "ragged.csv:4", "ragged.csv:5"]


def test_parquet_keeps_types_and_nests(docs: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'a' AS id, {'title': 'T', 'body': 'B'} AS doc, ['x','y'] AS groups,"
            " DATE '2024-05-06' AS day, 1.5::DECIMAL(4,2) AS price, 'NaN'::DOUBLE AS odd)"
            f" TO '{docs}/[a]*?.parquet' (FORMAT parquet)"
        )
    opened = source(
        docs.parent,
        "parquet",
        text=["doc.title", "doc.body"],
        acl="groups",
        metadata=["day", "price", "odd"],
    )
    assert opened.problems() == []
    (row,) = read(opened)
    assert (row.title, row.text, list(row.acl)) == ("T", "T\nB", ["x", "y"])
    assert row.metadata == {"day": "2024-05-06", "price": "1.50", "odd": "nan"}
    (docs / "broken.parquet").write_bytes(b"PAR1 no")
    told = source(docs.parent, "parquet", key="gone").problems()
    assert [t.split(": ")[0] for t in sorted(told)] == ["[a]*?.parquet:1", "broken.parquet:1"]


def test_markdown_front_matter_is_taken_off_and_kept(docs: Path) -> None:
    (docs / "sub").mkdir()
    (docs / "sub" / "a.md").write_text(
        "---\ntitle: Le début\ngroups: [hr]\nday: 2024-05-06\n---\n\n## Part\n\nText.\n"
    )
    (docs / "b.md").write_text("# Heading here #\n\nكتاب\n")
    (docs / "c.MARKDOWN").write_bytes(b"\xef\xbb\xbfplain\r\ntext")
    (docs / "rule.md").write_text("---\nprose only\n---\nand more")
    (docs / ".hidden.md").write_text("not read")
    (docs / "notes.txt").write_text("not read")
    opened = source(docs.parent, "markdown", metadata=["day"])
    assert [(r.key_text, r.title, r.text, r.metadata) for r in read(opened)] == [
        ("b.md", "Heading here", "# Heading here #\n\nكتاب", {}),
        ("c.MARKDOWN", "", "plain\ntext", {}),
        ("rule.md", "", "---\nprose only\n---\nand more", {}),
        ("sub/a.md", "Le début", "Le début\n\n## Part\n\nText.", {"day": "2024-05-06"}),
    ]
    (docs / "bad.md").write_text("---\na: [\n---\n")
    (docs / "latin.md").write_bytes("é".encode("latin-1"))
    assert unreadable(docs, "markdown").keys() == {"bad.md", "latin.md"}
    guarded = unreadable(docs, "markdown", acl="groups")
    assert guarded.keys() == {"b.md", "bad.md", "c.MARKDOWN", "latin.md", "rule.md"}
    assert "nobody could read it" in guarded["b.md"]


PAGE = """<!doctype html><html lang="fr"><head><meta charset="{charset}"><title>Le
 titre</title><meta name="author" content="Zoé"><style>p {{}}</style></head><body>
<nav>Menu</nav><header><h1>Le titre</h1></header><{part}><h2>Été</h2><p>Un <b>mot</b>,
<a href="http://x">un lien</a> a_b * c.</p><ul><li>un</li></ul><script>bad()</script>
<table><tr><th>A</th></tr><tr><td>1</td></tr></table></{part}><footer>©</footer></body></html>"""


def test_html_becomes_text_without_what_is_no_text(docs: Path) -> None:
    (docs / "a.html").write_text(PAGE.format(charset="utf-8", part="div"))
    (docs / "b.htm").write_bytes(
        PAGE.format(charset="iso-8859-1", part="main").encode("windows-1252")
    )
    opened = source(docs.parent, "html", metadata=["author", "lang"])
    assert opened.problems() == []
    for row in read(opened):
        assert row.title == "Le titre"
        assert row.metadata == {"author": "Zoé", "lang": "fr"}
        for held in ("## Été", "**mot**", "un lien a_b * c.", "- un", "| A |", "Le titre"):
            assert held in row.text
        for left in ("Menu", "bad()", "©", "http:", "p {"):
            assert left not in row.text
    assert read(opened)[1].text.count("Le titre") == 1
    (docs / "x.html").write_text("<?xml version='1.0' encoding='utf-8'?><html><p>é</p></html>")
    (docs / "y.html").write_text("name.txt")
    assert [r.text for r in read(source(docs.parent, "html"))][2:] == ["é", "name.txt"]
    (docs / "lies.html").write_bytes(b"<meta charset=utf-8>\xe9")
    (docs / "mute.html").write_bytes(b"<p>\xe9")
    (docs / "odd.html").write_bytes(b"<meta charset=klingon>x")
    (docs / "deep.html").write_text("<div>" * 20_000)
    told = unreadable(docs, "html")
    assert told.keys() == {"deep.html", "lies.html", "mute.html", "odd.html"}


def test_a_pdf_without_text_or_one_that_is_broken_is_named(docs: Path) -> None:
    (docs / "good.pdf").write_bytes(pdf_of("Été (2024)", title="About"))
    opened = source(docs.parent, "pdf", metadata=["Title"])
    assert opened.problems() == []
    (row,) = read(opened)
    assert (row.key_text, row.text, row.metadata) == ("good.pdf", "Été (2024)", {"Title": "About"})
    (docs / "scan.pdf").write_bytes(pdf_of(""))
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing")
    (docs / "empty.pdf").write_bytes(b"")
    told = unreadable(docs, "pdf")
    assert told.keys() == {"broken.pdf", "empty.pdf", "scan.pdf"}
    assert "OCR" in told["scan.pdf"]


@pytest.mark.parametrize(
    ("shapes", "letters"),
    [
        ("\ufedb\ufe98\ufe8e\ufe8f", "كتاب"),  # kaf initial, teh medial, alef final, beh isolated
        ("\ufefb", "لا"),  # a ligature is one shape of two letters
        ("\ufedb\ufe76\ufe98\ufe8e\ufe8f", "كَتاب"),  # a mark alone does not cut its word in two
        ("\ufdf2", "الله"),
        ("كتاب", "كتاب"),
    ],
)
def test_shapes_of_arabic_letters_in_a_pdf_become_the_letters(
    docs: Path, shapes: str, letters: str
) -> None:
    (docs / "a.pdf").write_bytes(pdf_of_glyphs(shapes[::-1]))  # drawn from left to right
    (row,) = read(source(docs.parent, "pdf"))
    assert row.text == letters


@pytest.mark.parametrize("glyphs", ["\ue001\ue002 \ue003", "\ufffd\ufffd", "- . -"])
def test_a_pdf_whose_fonts_name_no_letters_is_named(docs: Path, glyphs: str) -> None:
    (docs / "a.pdf").write_bytes(pdf_of_glyphs(glyphs))
    (told,) = source(docs.parent, "pdf").problems()
    assert told.startswith("a.pdf: it holds no letters")


def test_no_other_letters_in_a_pdf_are_changed(docs: Path) -> None:
    text = "x\u00b2 H\u2082O \ufb01n \uff21 \u2460"  # which NFKC of the whole text would flatten
    (docs / "a.pdf").write_bytes(pdf_of_glyphs(text))
    (docs / "b.md").write_text("\ufedb\ufe98")
    assert [r.text for r in read(source(docs.parent, "pdf"))] == [text]
    assert [r.text for r in read(source(docs.parent, "markdown"))] == ["\ufedb\ufe98"]


def test_a_wrong_place_or_format_is_named(docs: Path) -> None:
    assert "no folder or file" in source(docs.parent, "csv", location="nowhere").problems()[0]
    (docs / "a.txt").write_text("x")
    assert ".pdf" in source(docs.parent, "pdf").problems()[0]
    (docs / "one.data").write_text('{"id": 1, "text": "by its name, whatever its ending"}')
    opened = source(docs.parent, "jsonl", location=str(docs / "one.data"))
    assert [r.key_text for r in read(opened)] == ["1"]


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(docs: Path) -> None:
    (docs / "a.md").write_text("inside")
    (docs / "b.md").symlink_to("a.md")
    assert len(read(source(docs.parent, "markdown"))) == 2
    secret = docs.parent / "secret.md"
    secret.write_text("outside")
    (docs / "c.md").symlink_to(secret)
    assert "leads out of" in source(docs.parent, "markdown").problems()[0]


def test_a_file_that_changes_while_it_is_read_stops_the_load(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "a.jsonl").write_text('{"id": 1, "text": "old"}\n')
    opened = source(docs.parent, "jsonl")
    opened.shape()
    (docs / "a.jsonl").write_text('{"id": 1, "text": "a new one"}\n')
    with pytest.raises(BackfillHalted, match="came, went or changed"):
        opened.freeze(10)
    assert list((docs.parent / "spool").glob("*.sqlite")) == []

    opened = source(docs.parent, "jsonl")
    parse = json.loads

    def meddle(*arguments: Any, **named: Any) -> Any:
        (docs / "a.jsonl").write_text('{"id": 1, "text": "half"}\n')
        return parse(*arguments, **named)

    monkeypatch.setattr("qafila.sources.records.json.loads", meddle)
    with pytest.raises(BackfillHalted, match=r"a\.jsonl is not what it was"):
        opened.freeze(10)


def test_a_change_after_the_spool_is_another_state_of_the_source(docs: Path) -> None:
    (docs / "a.jsonl").write_text('{"id": 1, "text": "old"}\n')
    opened = source(docs.parent, "jsonl")
    assert read(opened)[0].text == "old"
    (docs / "a.jsonl").write_text('{"id": 1, "text": "renewed"}\n')
    assert read(opened)[0].text == "old"
    later = source(docs.parent, "jsonl")
    assert later.shape() != opened.shape()
    assert read(later)[0].text == "renewed"


def test_documents_on_disk_are_for_their_owner_alone(docs: Path) -> None:
    (docs / "a.jsonl").write_text('{"id": 1, "text": "x"}\n')
    read(source(docs.parent, "jsonl"))
    (spool,) = (docs.parent / "spool").glob("*.sqlite")
    assert stat.S_IMODE(spool.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100])
def test_a_spool_that_was_damaged_is_written_anew(docs: Path, damage: bytes) -> None:
    (docs / "a.md").write_text("text")
    read(source(docs.parent, "markdown"))
    (spool,) = (docs.parent / "spool").glob("*.sqlite")
    spool.write_bytes(damage)
    assert [r.text for r in read(source(docs.parent, "markdown"))] == ["text"]


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with running_moto() as url:
        yield connect_s3(["us-east-1"], url, "a", "b")


def test_s3_objects_are_read_as_they_were_listed(tmp_path: Path, s3: Any) -> None:
    s3.create_bucket(Bucket="bucket")
    for name in ("docs/a.jsonl", "docs/sub/b.jsonl", "docs-other/c.jsonl", "docs/.tmp/d.jsonl"):
        s3.put_object(
            Bucket="bucket", Key=name, Body=json.dumps({"id": name, "text": "x"}).encode()
        )
    s3.put_object(Bucket="bucket", Key="docs/", Body=b"")

    def opened(location: str) -> ObjectSource:
        asked = Settings.model_validate(
            {"kind": "objects", "location": location, "block": "x", "format": "jsonl"}
        )
        return ObjectSource(asked, files_of(asked, tmp_path, s3), tmp_path)

    for location in ("s3://bucket/docs", "s3://bucket/docs/"):
        assert [r.key_text for r in read(opened(location))] == ["docs/a.jsonl", "docs/sub/b.jsonl"]
    assert [r.key_text for r in read(opened("s3://bucket/docs-other/c.jsonl"))] == [
        "docs-other/c.jsonl"
    ]
    assert len(read(opened("s3://bucket"))) == 3
    assert "NoSuchBucket" in opened("s3://nobody").problems()[0]
    for location in ("s3://", "s3:///docs", "s3://two words/docs"):
        (told,) = opened(location).problems()
        assert told.endswith("write s3://bucket/prefix into corpus.source.location")
    (listed, *_) = opened("s3://bucket/docs")._files.listed()
    s3.put_object(Bucket="bucket", Key="docs/a.jsonl", Body=b'{"id": 1, "text": "replaced"}')
    files = opened("s3://bucket/docs")._files
    with pytest.raises(BackfillHalted, match="not what it was"), files.local(listed):
        pass
    s3.delete_object(Bucket="bucket", Key="docs/a.jsonl")
    with pytest.raises(BackfillHalted, match="not what it was"), files.local(listed):
        pass


def test_objects_that_are_archived_are_all_named_and_read_once_they_are_not(
    tmp_path: Path, s3: Any
) -> None:
    s3.create_bucket(Bucket="cold")

    def put(n: int, **how: str) -> None:
        body = json.dumps({"id": n, "text": "x"}).encode()
        s3.put_object(Bucket="cold", Key=f"docs/{n}.jsonl", Body=body, **how)

    for n in range(3):
        put(n, **({"StorageClass": "GLACIER"} if n else {}))
    asked = Settings.model_validate(
        {"kind": "objects", "location": "s3://cold/docs", "block": "x", "format": "jsonl"}
    )

    def opened() -> ObjectSource:
        return ObjectSource(asked, files_of(asked, tmp_path, s3), tmp_path)

    assert opened().problems() == [
        f"s3://cold/docs/{n}.jsonl is archived: restore it, or move it out of the prefix"
        for n in (1, 2)
    ]
    for n in (1, 2):
        put(n)
    assert len(read(opened())) == 3


def test_a_file_whose_disk_fails_is_named_and_not_taken_for_a_full_disk_of_ours(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (docs / f"{name}.md").write_text("text")

    def failing(code: int) -> Callable[[Path], Document]:
        def read_failing(path: Path) -> Document:
            if path.name == "a.md":
                raise OSError(code, os.strerror(code))
            return read_markdown(path)

        return read_failing

    monkeypatch.setitem(READERS, "markdown", failing(errno.EIO))
    assert source(docs.parent, "markdown").problems() == [
        "a.md: it cannot be read: Input/output error"
    ]
    monkeypatch.setitem(READERS, "markdown", failing(errno.ENOSPC))
    with pytest.raises(Unavailable, match="make room"):
        source(docs.parent, "markdown").problems()


def test_a_right_that_was_given_since_is_seen_though_no_file_changed(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "a.jsonl").write_text('{"id": 1, "text": "x"}\n')
    with monkeypatch.context() as denied:

        def refuse(*_: Any) -> None:
            raise PermissionError

        denied.setattr("qafila.sources.objects.read_jsonl", refuse)
        (told,) = source(docs.parent, "jsonl").problems()
        assert told.startswith("a.jsonl: it must not be read")
    opened = source(docs.parent, "jsonl")
    assert opened.problems() == []
    assert [r.text for r in read(opened)] == ["x"]


def test_s3_is_listed_page_by_page_and_a_change_meanwhile_stops_the_load(
    tmp_path: Path, s3: Any
) -> None:
    s3.create_bucket(Bucket="paged")
    for n in range(7):
        s3.put_object(
            Bucket="paged",
            Key=f"docs/ü {n}+&%41.jsonl",
            Body=json.dumps({"id": n, "text": "x"}).encode(),
        )
    pages = []

    def two_a_page(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 2
        pages.append(params.get("ContinuationToken"))

    event = "provide-client-params.s3.ListObjectsV2"
    s3.meta.events.register(event, two_a_page)
    try:
        asked = Settings.model_validate(
            {"kind": "objects", "location": "s3://paged/docs", "block": "x", "format": "jsonl"}
        )
        opened = ObjectSource(asked, files_of(asked, tmp_path, s3), tmp_path)
        assert [r.key_text for r in read(opened)] == [str(n) for n in range(7)]
        assert len(set(pages)) == 4
        late = ObjectSource(asked, files_of(asked, tmp_path / "late", s3), tmp_path / "late")
        late.shape()
        s3.put_object(Bucket="paged", Key="docs/a new one.jsonl", Body=b'{"id": 7, "text": "x"}')
        with pytest.raises(BackfillHalted, match="came, went or changed"):
            late.freeze(10)
    finally:
        s3.meta.events.unregister(event, two_a_page)


@pytest.mark.parametrize(("collection", "documents"), [("cranfield", 1400), ("piaf-fr", None)])
def test_a_public_collection_is_read_whole(
    tmp_path: Path, collection: str, documents: int | None
) -> None:
    path = RETRIEVAL / collection / "docs.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    opened = source(tmp_path, "jsonl", location=str(path), text=["title", "text"])
    assert opened.problems() == []
    expected = {json.loads(line)["id"] for line in path.read_text().splitlines()}
    assert documents in (None, len(expected))
    keys = [
        row.key_text
        for s in opened.freeze(300)
        for batch in opened.read(s.low, s.high, 100)
        for row in batch
    ]
    assert keys == sorted(expected, key=str.encode)


def test_memory_does_not_grow_with_the_documents(docs: Path) -> None:
    def peak_bytes(documents: int) -> int:
        with (docs / "a.jsonl").open("w") as file:
            for n in range(documents):
                file.write(f'{{"id": "{(n * 7919) % documents}", "text": "document {n}"}}\n')
        tracemalloc.start()
        opened = source(docs.parent, "jsonl")
        ranges = opened.freeze(documents)
        read_rows = sum(len(batch) for batch in opened.read(None, None, 100))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (len(ranges), read_rows) == (1, documents)
        return peak

    peak_bytes(100)  # whatever is loaded once
    # other threads of the process, such as a server's log, are counted too: they only add
    many, few = (min(peak_bytes(n) for _ in range(3)) for n in (8_000, 2_000))
    assert many < 1.2 * few


def test_of_several_that_ask_one_reads_the_files_and_all_see_them(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "a.md").write_text("text")
    times = []

    def slow(path: Path) -> Document:
        times.append(path)
        time.sleep(0.1)
        return read_markdown(path)

    monkeypatch.setitem(READERS, "markdown", slow)
    with ThreadPoolExecutor(4) as pool:
        sources = [source(docs.parent, "markdown") for _ in range(4)]
        rows = list(pool.map(read, sources))
    assert (len(times), [len(r) for r in rows]) == (1, [1] * 4)


def test_a_disk_that_takes_no_spool_is_named(docs: Path) -> None:
    (docs / "a.md").write_text("text")
    (docs.parent / "spool").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot be spooled"):
        source(docs.parent, "markdown").problems()


HOSTILE = {
    "b-latin.md": (b"caf\xe9", "it is not UTF-8 at byte 4"),
    "c-front.md": (b"---\na: [\n---\nText.", "it begins with front matter that"),
    "d-aliases.md": (
        b"---\na: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(
            b"b%d: &b%d [%s]\n" % (n, n, b", ".join([b"*b%d" % (n - 1) if n else b"*a"] * 9))
            for n in range(9)
        )
        + b"---\nText.",
        "it begins with front matter that",
    ),
}


def test_a_document_that_cannot_be_read_is_one_dead_letter_and_the_others_go_through(
    docs: Path,
) -> None:
    (docs / "a.md").write_text("# A\n\nFirst.")
    (docs / "z.md").write_text("Last.")
    for name, (content, _) in HOSTILE.items():
        (docs / name).write_bytes(content)
    opened = source(docs.parent, "markdown")
    assert opened.problems() == []
    assert opened.volume().rows == 2 + len(HOSTILE)
    rows = read(opened)
    chunking = {"method": "sentences", "max_characters": 100, "overlap_characters": 0}
    for workload in (demo_workload(), demo_workload(chunking=chunking)):
        made = made_of(
            rows,
            workload,
            lambda rows, chunks: Vectored(
                chunks, np.ones((len(chunks), 256), np.float32), [], Spent()
            ),
        )
        assert [c.source_key for c in made.chunks] == ["a.md", "z.md"]
        aside = {c.source_key: why for c, why in made.rejected}
        assert aside.keys() == HOSTILE.keys()
        assert all(why.startswith(HOSTILE[key][1]) for key, why in aside.items()), aside


def test_a_page_that_stops_its_reader_is_one_dead_letter(docs: Path) -> None:
    (docs / "a.html").write_text("<p>First.</p>")
    (docs / "b.html").write_text("<div>" * 40_000 + "deep")
    (docs / "c.html").write_text("<p>Last.</p>")
    opened = source(docs.parent, "html")
    assert opened.problems() == []
    told = {row.key_text: row.unreadable for row in read(opened)}
    assert (told["a.html"], told["c.html"]) == ("", "")
    assert "nested too deeply" in told["b.html"]


def test_files_none_of_which_can_be_read_are_refused(docs: Path) -> None:
    """They are of another format, most likely: a load of dead letters alone helps nobody."""
    for name, (content, _) in HOSTILE.items():
        (docs / name).write_bytes(content)
    told = source(docs.parent, "markdown").problems()
    assert [p.split(": ")[0] for p in told] == list(HOSTILE)
