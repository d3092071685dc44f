"""Text that others wrote moves no cursor on a terminal and becomes no markup in an artifact."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from qafila.cli import screen
from qafila.decision import drift, embedder_record
from qafila.decision import preflight as preflight_checks
from qafila.decision.preflight_rules import Answer
from qafila.text.foreign_text import markdown_row, markdown_text, printable
from qafila.validation.model import NotApplicable, Rung
from qafila.validation.phrases import finding_page, markdown_table
from tasks.artifact_tables import escaped_row

ROOT = Path(__file__).parents[2]
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ANYTHING = st.text(
    st.one_of(
        st.characters(codec=None, exclude_categories=[]),
        st.sampled_from("\x00\x07\x08\x1b\r\n\t\x7f\x9b\x9d\u202e\u2066\u2069"),
    ),
    max_size=60,
)
MARKUP = st.text(
    st.one_of(
        st.sampled_from("|\\`*_[]()<>!#~&;:/@.-+= \n\t1ahttpsw"), st.characters(codec="utf-8")
    ),
    max_size=60,
)
HOSTILE = [
    "a|b",
    "a\\|b",
    "a\\",
    "`code`",
    "``` fence",
    "[name](javascript:alert(1))",
    "![x](https://evil.example/p.png)",
    "<img src=x onerror=alert(1)>",
    "&lt;script&gt;",
    "https://evil.example/x",
    "HTTPS://evil.example",
    "www.evil.example",
    "mailto:a@evil.example",
    "<https://evil.example>",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "---",
    "===",
    "> quote",
    "- [ ] task",
    "a\n\n# heading",
    "a\r\n| b | c |",
    "**bold** _it_ __it__ ~~gone~~",
    "[x]: https://evil.example",
    "\x1b]0;title\x07",
    "snake_case_name",
    "    indented",
]


def printed(show: Callable[[], None]) -> str:
    out, wrong = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(wrong):
        show()
    return out.getvalue() + wrong.getvalue()


@given(ANYTHING)
@example("\x1b[2J\x1b]0;owned\x07")
@example("\x9b31m")
@example("safe\u202egnp.exe")
@example("over\rwritten")
def test_nothing_printed_moves_a_cursor_or_turns_letters_around(text: str) -> None:
    for show in (
        lambda: screen.say(text),
        lambda: screen.complain(text),
        lambda: screen.print_table((text, "b"), [(text, "c"), ("d", text)]),
        lambda: screen.print_json({text: [text]}),
        lambda: screen.print_json_lines([{"key": text}]),
    ):
        shown = printed(show)
        assert not UNSAFE.search(shown)
        shown.encode()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
@example("\x7f\x9b\u202e")
def test_json_that_is_printed_keeps_its_value(text: str) -> None:
    assert json.loads(printed(lambda: screen.print_json({text: text}))) == {text: text}
    (line,) = printed(lambda: screen.print_json_lines([[text]])).split("\n")[:-1]
    assert json.loads(line) == [text]


def test_a_table_has_a_line_a_row_whatever_is_in_it() -> None:
    shown = printed(lambda: screen.print_table(("a", "b"), [("x\ny", "z"), ("1", "2\r\n3")]))
    assert len(shown.splitlines()) == 3


def test_honest_text_is_printed_as_it_is() -> None:
    for text in ("naïve café", "مرحبا\u200f (1)", "שלום", "日本語", "a\tb\nc", "👩‍👩‍👧"):
        assert printable(text) == text


def letters(text: str) -> str:
    return " ".join(printable(" ".join(text.split())).split())


def parsed(markdown: str) -> list[Token]:
    return MarkdownIt("js-default", {"html": True}).parse(markdown)


def only_text(token: Token) -> str:
    assert token.type == "inline"
    children = token.children or []
    assert {child.type for child in children} <= {"text"}, markdown_of(children)
    return "".join(child.content for child in children)


def markdown_of(tokens: list[Token]) -> str:
    return " ".join(f"{t.type}:{t.content}" for t in tokens)


def hostile(test: Callable[[str], None]) -> Callable[[str], None]:
    for text in HOSTILE:
        test = example(text)(test)
    return given(MARKUP)(test)


@hostile
def test_a_cell_stays_one_cell_that_shows_its_letters(text: str) -> None:
    tokens = parsed(f"| a | b |\n|---|---|\n{markdown_row([text, 'end'])}\n")
    assert [t.type for t in tokens].count("table_open") == 1
    assert tokens[0].type == "table_open"
    assert tokens[-1].type == "table_close"
    cells = [only_text(tokens[n + 1]) for n, t in enumerate(tokens) if t.type == "td_open"]
    assert cells == [letters(text), "end"]


@hostile
def test_an_item_stays_one_item_that_shows_its_letters(text: str) -> None:
    tokens = parsed(f"- {markdown_text(text)}\n- end\n")
    kinds = [t.type for t in tokens if t.type.endswith("_open")]
    item = ["list_item_open", "paragraph_open"] if letters(text) else ["list_item_open"]
    assert kinds == ["bullet_list_open", *item, "list_item_open", "paragraph_open"]
    inline = [only_text(t) for t in tokens if t.type == "inline"]
    assert [*inline[:-1]] == ([letters(text)] if letters(text) else [])


@hostile
def test_a_sentence_stays_a_paragraph_and_holds_no_link(text: str) -> None:
    written = markdown_text(text)
    tokens = parsed(f"before\n{written}\n")
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert not re.search(r"://|www\.|@|mailto:", written, re.IGNORECASE)  # GFM makes links of them
    assert not UNSAFE.search(written)


def test_what_is_no_markup_is_written_as_it_is() -> None:
    for text in ("snake_case_name", "-0.125", "+3 %", "12.5", "#7", "a - b", "g2: 40 of 40 rows."):
        assert markdown_text(text) == text


BAD = "x](javascript:alert(1)) <img src=x> | `c` **b**\n# head\x1b[2J https://evil.example"


def record() -> list[str]:
    row = {
        "name": BAD,
        "place": 1,
        "tied": False,
        "query_ms_p95": None,
        "per_million_chunks": None,
        "currency": BAD,
        "dimensions": 8,
        "ndcg_at_10": 0.5,
        "ci": (0.4, 0.6),
    }
    return embedder_record.section(
        {
            "sentence": BAD,
            "evidence": 1,
            "date": "2026-01-01",
            "queries": 1,
            "judged_by": BAD,
            "documents": 1,
            "of_documents": 2,
            "note": BAD,
            "current": "",
            "ranked_by": "vector",
            "candidates": [row],
        }
    )


PAGES = {
    "table": lambda: "\n".join(markdown_table([{BAD: BAD, "b": 1}])),
    "rung": lambda: finding_page(NotApplicable(Rung.QUALITY, BAD)),
    "drift": lambda: drift.markdown("w", [drift.Finding(BAD, True, (BAD,), ())]),
    "preflight": lambda: preflight_checks.markdown(
        "w", 1, [Answer("q", BAD, False, BAD, BAD)], None
    ),
    "embedders": lambda: "\n".join(record()),
}


@pytest.mark.parametrize("page", PAGES)
def test_no_artifact_takes_foreign_text_for_markup(page: str) -> None:
    written = PAGES[page]()
    assert "javascript" in written
    assert not re.search(
        r"(?<!\\)\]\(|<img|(?<!\\)`c|\*\*b\*\*|https://evil|\x1b|^# head", written, re.M
    )
    html = MarkdownIt("js-default", {"html": True}).render(written)
    assert "<img" not in html
    assert "<a " not in html
    assert "<code>" not in html


def test_only_one_place_escapes_markdown_and_one_prints() -> None:
    escapes = re.compile(r"""replace\(["']\|["']""")
    prints = re.compile(
        r"typer\.(s?echo|secho)|\bprint\(|sys\.std(out|err)\.write|console\([^)]*\)\.print"
    )
    for room in ("qafila", "tasks", "flows", "blocks"):
        for path in (ROOT / room).rglob("*.py"):
            name, text = str(path.relative_to(ROOT)), path.read_text()
            assert not escapes.search(text), name
            if room == "qafila" and name.startswith("qafila/cli") and path.name != "screen.py":
                assert not prints.search(text), name


def test_a_table_of_a_run_shows_letters_and_keeps_its_numbers() -> None:
    row = escaped_row({"name": BAD, "rows": 7, "share": 0.5, "none": None, "all": [BAD]})
    assert (row["rows"], row["share"], row["none"], row["all"]) == (7, 0.5, None, [BAD])
    html = MarkdownIt("js-default", {"html": True}).render(row["name"])
    assert not re.search("<(a|img|code|strong|h1)\\b", html)


def test_every_table_of_a_run_is_escaped() -> None:
    found = {
        str(path.relative_to(ROOT))
        for room in ("tasks", "flows")
        for path in (ROOT / room).rglob("*.py")
        if "create_table_artifact" in path.read_text()
    }
    assert found == {"tasks/artifact_tables.py"}
