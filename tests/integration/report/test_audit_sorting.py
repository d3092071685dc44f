"""The audit's tables in a real browser: sorted, filtered, by keyboard, and without script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qafila.report.audit import render_audit
from qafila.report.audit_facts import AuditFacts
from tests.support.browser import Page, browsing
from tests.unit.audit.test_audit import inventory
from tests.unit.report.test_audit_page import facts

NAMES = ("web 10", "web 9", "Café", "api", "<b>bold</b>", "زيتون", "")
EVIL = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"


def told() -> AuditFacts:
    findings = [
        {
            "kind": "untagged gpu",
            "name": name,
            "resource": f"i-{n}",
            "amount": amount,
            "currency": currency,
            "sentence": EVIL if n == 0 else f"reason {n}",
        }
        for n, (name, amount, currency) in enumerate(
            zip(
                NAMES,
                ("9", "1000.5", "100", None, "-3", "20", "3"),
                ("EUR", "EUR", "EUR", None, "EUR", "USD", "USD"),
                strict=True,
            )
        )
    ]
    sizes = [
        {"kind": "disk", "name": f"d{n}", "id": f"d{n}", "region": "r", "size_bytes": size}
        for n, size in enumerate((2048, 1 << 40, None, 3 << 20, 0))
    ]
    many = [{"kind": "disk", "name": f"m{n}", "id": f"m{n}", "region": "r"} for n in range(20)]
    held = facts(inventory())
    return AuditFacts(
        **{**vars(held), "tables": {**held.tables, "findings": findings, "resources": sizes + many}}
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    home = tmp_path_factory.mktemp("browser")
    (home / "audit.html").write_text(render_audit(told()), "utf-8")
    with browsing(home) as one:
        one.open(home / "audit.html")
        yield one


def column(page: Page, table: str, number: int) -> list[str]:
    cells: list[str] = page.ask(
        f"Array.from(document.querySelectorAll('#{table} tbody tr:not([hidden])'),"
        f" row => row.cells[{number}].textContent)"
    )
    return cells


def click(page: Page, table: str, number: int) -> str | None:
    """Click a column's head; return what it says of the order then."""
    head = f"document.querySelectorAll('#{table} th')[{number}]"
    page.ask(f"{head}.querySelector('button').click()")
    said: str | None = page.ask(f"{head}.getAttribute('aria-sort')")
    return said


def test_words_sort_as_a_reader_counts_and_a_third_click_brings_the_order_back(page: Page) -> None:
    as_written = column(page, "findings", 1)
    assert click(page, "findings", 1) == "ascending"
    up = column(page, "findings", 1)
    assert up[:5] == ["<b>bold</b>", "api", "Café", "web 9", "web 10"]
    assert up[-1] == as_written[-1]  # nothing is last, whichever way
    assert click(page, "findings", 1) == "descending"
    assert column(page, "findings", 1) == [*up[-2::-1], up[-1]]
    assert click(page, "findings", 1) is None
    assert column(page, "findings", 1) == as_written


def test_money_sorts_by_amount_within_its_currency_and_the_unknown_is_last(page: Page) -> None:
    assert click(page, "findings", 3) == "descending"
    assert column(page, "findings", 3) == [
        "1,000.50 EUR",
        "100.00 EUR",
        "9.00 EUR",
        "-3.00 EUR",
        "20.00 USD",
        "3.00 USD",
        "–",
    ]
    assert click(page, "findings", 3) == "ascending"
    assert column(page, "findings", 3) == [
        "-3.00 EUR",
        "9.00 EUR",
        "100.00 EUR",
        "1,000.50 EUR",
        "3.00 USD",
        "20.00 USD",
        "–",
    ]
    click(page, "findings", 0)  # only one column is the sorted one
    assert page.ask("document.querySelectorAll('#findings th[aria-sort]').length") == 1
    click(page, "findings", 0)
    click(page, "findings", 0)


def test_sizes_sort_by_their_bytes_and_not_by_their_text(page: Page) -> None:
    heads = page.ask(
        "Array.from(document.querySelectorAll('#resources th'), head => head.textContent)"
    )
    size = heads.index("size")
    click(page, "resources", size)
    assert column(page, "resources", size)[:5] == ["1.0 TiB", "3.0 MiB", "2.0 KiB", "0 B", "–"]
    click(page, "resources", size)
    click(page, "resources", size)


def test_the_keyboard_alone_sorts(page: Page) -> None:
    page.ask("document.querySelectorAll('#findings th button')[1].focus()")
    page.press("Tab")
    assert page.ask("document.activeElement.textContent") == "resource"
    page.press("Enter")
    head = "document.activeElement.closest('th').getAttribute('aria-sort')"
    assert page.ask(head) == "ascending"
    page.press(" ")
    assert page.ask(head) == "descending"
    assert column(page, "findings", 2) == [f"i-{n}" for n in range(6, -1, -1)]
    page.press("Enter")


def test_a_filter_shows_the_rows_with_every_word_and_says_how_many(page: Page) -> None:
    assert page.ask("document.querySelector('#findings input')") is None  # few rows need none
    page.ask("document.querySelector('#resources input').focus()")
    page.type("DISK m1")
    wanted = ["m1", *(f"m{n}" for n in range(10, 20))]
    names = "Array.from(document.querySelectorAll('#resources th'), h => h.textContent)"
    name = page.ask(names).index("name")
    assert column(page, "resources", name) == wanted
    assert page.ask("document.querySelector('#resources output').value") == "11 of 25 rows"
    display = "getComputedStyle(document.querySelector('#resources tr[hidden]')).display"
    page.call("Emulation.setEmulatedMedia", media="print")  # paper holds every row
    assert page.ask(display) == ("table-row")
    page.call("Emulation.setEmulatedMedia", media="")
    assert page.ask(display) == ("none")
    click(page, "resources", name)
    click(page, "resources", name)
    assert column(page, "resources", name) == wanted[::-1]  # sorting keeps what is filtered
    click(page, "resources", name)
    page.ask(
        "const box = document.querySelector('#resources input'); box.value = '';"
        "box.dispatchEvent(new Event('input'))"
    )
    assert len(column(page, "resources", name)) == 25
    assert page.ask("document.querySelector('#resources output').value") == ""


def test_nothing_that_stands_in_a_cell_is_ever_run_or_becomes_markup(page: Page) -> None:
    assert page.ask("document.querySelectorAll('td b, td img, td script').length") == 0
    click(page, "findings", 4)
    assert page.ask("document.title") != "run"
    # and the policy runs no other script, should one ever get in
    page.ask(
        "const s = document.createElement('script'); s.textContent = \"document.title='run'\";"
        "document.body.append(s)"
    )
    assert page.ask("document.title") != "run"


def test_without_script_the_tables_stand_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "audit.html").write_text(render_audit(told()), "utf-8")
    with browsing(tmp_path) as page:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.navigate", url=(tmp_path / "audit.html").as_uri())
        page.open(tmp_path / "audit.html")
        assert page.ask("document.querySelectorAll('th button, input, [aria-sort]').length") == 0
        assert len(column(page, "findings", 1)) == len(NAMES)
