"""What always holds of a bill: parts add up to the whole, and nothing depends on how it is cut."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date
from decimal import Context, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.audit.bills.defects import day_list, days_missing
from qafila.audit.bills.file_check import TextFile
from qafila.audit.bills.formats import FOCUS_COLUMNS, MANDATORY, misplaced, recognise
from qafila.audit.bills.joined_text import LineEnds, evened
from qafila.audit.bills.model import Bill, exact
from qafila.audit.bills.read import read_bill
from qafila.text.exact_sum import add_up
from tests.support.bill_files import HEAD, bill_of, shared

AMOUNTS = st.decimals(
    allow_nan=False, allow_infinity=False, places=20, min_value=-(10**12), max_value=10**12
)
LINES = st.lists(
    st.tuples(
        AMOUNTS,
        st.sampled_from(["EUR", "USD", "MAD"]),
        st.sampled_from(["2026-04-01", "2026-05-01"]),
        st.sampled_from(["Usage", "Tax", "Credit", "Purchase", "Adjustment"]),
        st.sampled_from(["compute", "storage", 'a "quoted", name']),
    ),
    min_size=1,
    max_size=12,
)
Line = tuple[Decimal, str, str, str, str]


def written(lines: list[Line]) -> Iterator[str]:
    """Return lines of a bill; each has a resource of its own, so that no two are the same."""
    for number, (amount, currency, start, category, service) in enumerate(lines):
        name = service.replace('"', '""')
        yield f'{amount:f},{currency},{start},{category},"{name}",r-{number}'


def bill(lines: list[str], files: int) -> Bill:
    with TemporaryDirectory() as folder:
        shares = [lines[n::files] for n in range(files)]
        return read_bill(
            [
                bill_of(Path(folder), *share, head=HEAD + ",ResourceId", name=f"{n}.csv")
                for n, share in enumerate(shares)
                if share
            ]
        )


@given(LINES)
@settings(max_examples=10, deadline=None)
def test_every_way_of_adding_up_gives_the_exact_sum_of_one_currency(lines: list[Line]) -> None:
    read = bill(list(written(lines)), 1)
    assert set(read.currencies) == {line[1] for line in lines}
    for currency in read.currencies:
        whole = add_up(line[0] for line in lines if line[1] == currency)
        assert read.total(currency) == whole
        for spends in (read.services, read.vendors, read.categories):
            assert add_up(s.amount for s in spends if s.currency == currency) == whole
        items = [i for i in read.items if i.currency == currency]
        assert add_up(a for i in items for a in i.amounts.values()) == whole
    assert sum(p.rows for p in read.periods) == read.rows == len(lines)


@given(st.lists(AMOUNTS, max_size=20))
def test_a_sum_never_loses_a_digit(amounts: list[Decimal]) -> None:
    units = sum(int(a.scaleb(20, Context(prec=60))) for a in amounts)  # whole numbers are exact
    assert add_up(amounts) == Decimal(units).scaleb(-20, Context(prec=60))
    assert Decimal(exact(add_up(amounts))) == add_up(amounts)


@given(LINES, st.integers(2, 4), st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_neither_the_order_of_lines_nor_the_cut_into_files_changes_anything(
    lines: list[Line], files: int, order: random.Random
) -> None:
    texts = list(written(lines))
    one = bill(texts, 1)
    order.shuffle(texts)
    other = bill(texts, files)
    assert (other.periods, other.services, other.categories) == (
        one.periods,
        one.services,
        one.categories,
    )
    assert other.items == one.items


ENDS = st.lists(st.sampled_from(["\n", "\r\n"]), min_size=13, max_size=13)


@given(LINES, ENDS, st.booleans())
@settings(max_examples=15, deadline=None)
def test_no_total_ever_depends_on_the_line_ends(
    lines: list[Line], ends: list[str], last: bool
) -> None:
    texts = [HEAD + ",ResourceId", *written(lines)]
    joined = "".join(text + end for text, end in zip(texts, ends, strict=False))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "0.csv"
        path.write_bytes((joined if last else joined.rstrip("\r\n")).encode())
        read = read_bill(path)
    even = bill(texts[1:], 1)
    assert (read.periods, read.services, read.vendors, read.categories, read.items) == (
        even.periods,
        even.services,
        even.vendors,
        even.categories,
        even.items,
    )
    used = ends[: len(texts)] if last else ends[: len(texts) - 1]
    counted = [d.count for d in read.defects if d.kind == "mixed-line-ends"]
    rarer = min(used.count("\n"), used.count("\r\n"))
    assert counted == ([rarer] if rarer else [])


@given(st.text('ab,"\r\n', max_size=40), st.integers(1, 5))
def test_evening_out_changes_nothing_but_the_ends_of_lines(text: str, piece: int) -> None:
    with TemporaryDirectory() as folder, patch("qafila.audit.bills.joined_text._PIECE", piece):
        path, copy = Path(folder) / "a.csv", Path(folder) / "b.csv"
        path.write_bytes(text.encode())
        done = evened(TextFile(path, (), ",", compressed=False), copy)
        even = copy.read_bytes().decode() if done else text
    cells = text.split('"')  # every other one stands in quotation marks
    wanted = '"'.join(c if n % 2 else c.replace("\r\n", "\n") for n, c in enumerate(cells))
    both = sum(c.count("\r\n") for c in cells[::2])
    alone = sum(c.count("\n") for c in cells[::2]) - both
    assert even == (wanted if both and alone else text)
    assert (done[1] if done else None) == (LineEnds(both, alone) if both and alone else None)


@pytest.mark.parametrize("files", [2, 5])
def test_a_real_bill_cut_into_files_is_the_same_bill_in_any_order(
    tmp_path: Path, files: int
) -> None:
    whole = shared("focus_1_0_sample.csv")
    head, *lines = whole.read_text().splitlines()
    paths = [bill_of(tmp_path, *lines[n::files], head=head, name=f"{n}.csv") for n in range(files)]
    one, other = read_bill(whole), read_bill(paths[::-1])
    assert (other.periods, other.services, other.vendors) == (
        one.periods,
        one.services,
        one.vendors,
    )
    assert [(d.kind, d.count, d.amount) for d in other.defects if d.of] == [
        (d.kind, d.count, d.amount) for d in one.defects if d.of
    ]


@given(st.sets(st.integers(1, 31)))
def test_missing_days_are_those_between_the_first_and_the_last(days: set[int]) -> None:
    missing = days_missing(sum(1 << day for day in days))
    assert not set(missing) & days
    if days:
        assert set(missing) | days == set(range(min(days), max(days) + 1))
    else:
        assert missing == []


def test_days_are_shown_as_ranges() -> None:
    assert day_list([3, 7, 8, 9, 11]) == "3, 7-9, 11"


def test_a_gap_of_days_is_named_by_vendor_and_month(tmp_path: Path) -> None:
    head = HEAD + ",ProviderName,ChargePeriodStart,ChargePeriodEnd"
    lines = [
        f"1,EUR,2026-05-01,Usage,a,V,2026-05-{d:02}T00:00:00Z,2026-05-{d:02}T01:00:00Z"
        for d in (1, 2, 6)
    ]
    # A fee over the whole month does not hide that metered usage has a hole.
    lines.append("9,EUR,2026-05-01,Usage,a,V,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z")
    found = [
        d
        for d in read_bill(bill_of(tmp_path, *lines, head=head)).defects
        if d.kind == "missing-days"
    ]
    assert [(d.count, d.subject) for d in found] == [(3, "V")]
    assert found[0].sentence == "V has no usage on 3 days of 2026-05: 3-5"


def test_the_columns_of_focus_are_those_of_its_matrix() -> None:
    rows = [
        r.split(",") for r in shared("focus_columns_1_0_to_1_2.csv").read_text().splitlines()[1:]
    ]
    assert set(FOCUS_COLUMNS) == {r[0] for r in rows}
    assert set(MANDATORY) == {r[0] for r in rows if r[4] == "Mandatory"}
    for version, place in (("1.0", 1), ("1.1", 2), ("1.2", 3)):
        columns = [r[0] for r in rows if r[place] == "1"]
        assert recognise(columns, "b") == f"FOCUS {version}"


def test_a_vendors_own_column_is_no_defect_and_a_renamed_one_is() -> None:
    columns = ["ServiceCategory", "Id", "ServiceName", "x_Own", "Odd"]
    assert misplaced(columns) == [("Id", "ServiceId"), ("Odd", None)]


def test_a_month_of_several_vendors_closes_only_with_all_of_them(tmp_path: Path) -> None:
    head = HEAD + ",InvoiceId"
    closed = bill_of(tmp_path, "1,EUR,2026-05-01,Usage,a,I", head=head, name="1.csv")
    silent = bill_of(tmp_path, "2,EUR,2026-05-01,Usage,b", name="2.csv")
    still_open = bill_of(tmp_path, "4,EUR,2026-05-01,Usage,c,", head=head, name="3.csv")
    for files, state in (
        ([closed], "closed"),
        ([closed, silent], "not known"),
        ([closed, silent, still_open], "open"),
    ):
        (period,) = read_bill(files).periods
        assert (period.start, period.state) == (date(2026, 5, 1), state)
