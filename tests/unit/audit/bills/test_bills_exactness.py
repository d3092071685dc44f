"""Whatever the rows, their order, their files and their format: every total is exact."""

from __future__ import annotations

import gzip
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.audit.bills.presentation import as_data
from qafila.audit.bills.read import read_bill
from qafila.text.exact_sum import add_up
from tests.support.bill_files import HEAD, bill_of, text_bill

FOCUS = HEAD + ",ProviderName,ResourceId"


@dataclass(frozen=True)
class Row:
    """One line of a bill, before it has a format; ``shape`` says which it gets."""

    shape: str
    amount: Decimal
    currency: str
    month: int
    service: str


ROWS = st.lists(
    st.builds(
        Row,
        st.sampled_from(
            [
                "focus",
                "focus, text in Parquet",
                "focus, decimals in Parquet",
                "focus, exponents",
                "focus, decimal comma",
                "aws",
                "azure",
                "oci",
            ]
        ),
        st.decimals(-(10**12), 10**12, places=20),
        st.sampled_from(["EUR", "USD", "MAD"]),
        st.sampled_from([4, 5]),
        st.sampled_from(["compute", 'a "quoted", name', "<b>é</b>; x"]),
    ),
    min_size=1,
    max_size=14,
)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def focus(rows: Sequence[tuple[int, Row]], sep: str, number: Callable[[Decimal], str]) -> str:
    cells = [
        [
            number(r.amount),
            r.currency,
            f"2026-0{r.month}-01",
            "Usage",
            quoted(r.service),
            "V",
            f"r-{n}",
        ]
        for n, r in rows
    ]
    return "\n".join([FOCUS.replace(",", sep), *(sep.join(c) for c in cells)]) + "\n"


def parquet(path: Path, text: str, kind: str) -> Path:
    source = path.with_suffix(".source.csv")
    source.write_text(text)
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (BilledCost::{kind} AS BilledCost) FROM"
            f" read_csv('{source}', all_varchar = true, delim = ',', quote = '\"', escape = '\"',"
            f" header = true)) TO '{path}' (FORMAT parquet)"
        )
    source.unlink()
    return path


def aws(rows: Sequence[tuple[int, Row]]) -> str:
    head = (
        "identity/LineItemId,bill/InvoiceId,bill/BillingPeriodStartDate,lineItem/LineItemType,"
        "lineItem/ProductCode,lineItem/CurrencyCode,lineItem/UnblendedCost\n"
    )
    return head + "".join(
        f"l-{n},,2026-0{r.month}-01T00:00:00Z,Usage,{quoted(r.service)},{r.currency},{r.amount:f}\n"
        for n, r in rows
    )


def azure(rows: Sequence[tuple[int, Row]]) -> str:
    head = (
        "MeterId,Date,MeterCategory,ChargeType,BillingCurrencyCode,CostInBillingCurrency,"
        "ResourceId\n"
    )
    return head + "".join(
        f"m,{r.month}/9/2026,{quoted(r.service)},Usage,{r.currency},{r.amount:f},r-{n}\n"
        for n, r in rows
    )


def oci(rows: Sequence[tuple[int, Row]]) -> str:
    head = "lineItem/referenceNo,lineItem/tenantId,lineItem/intervalUsageStart,product/service,"
    return (
        head
        + "cost/myCost,cost/currencyCode\n"
        + "".join(
            f"n-{n},t,2026-0{r.month}-09T10:00Z,{quoted(r.service)},{r.amount:f},{r.currency}\n"
            for n, r in rows
        )
    )


def european(amount: Decimal) -> str:
    return f"{amount:.20f}".replace(".", ",")


def write(folder: Path, name: str, shape: str, rows: Sequence[tuple[int, Row]]) -> Path:
    """Write rows of one shape to a file, every second one compressed."""
    if shape.endswith("Parquet"):
        kind = "VARCHAR" if "text" in shape else "DECIMAL(38, 20)"
        return parquet(folder / f"{name}.parquet", focus(rows, ",", "{:f}".format), kind)
    text = {
        "focus": lambda: focus(rows, ",", "{:f}".format),
        "focus, exponents": lambda: focus(rows, "\t", "{:E}".format),
        "focus, decimal comma": lambda: focus(rows, ";", european),
        "aws": lambda: aws(rows),
        "azure": lambda: azure(rows),
        "oci": lambda: oci(rows),
    }[shape]()
    path = folder / f"{name}.csv"
    path.write_bytes(gzip.compress(text.encode()) if len(rows) % 2 else text.encode())
    return path


@given(ROWS, st.integers(1, 3), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_parts_always_add_up_exactly_to_the_total_of_each_currency(
    rows: list[Row], cuts: int, order: random.Random
) -> None:
    numbered = list(enumerate(rows))
    order.shuffle(numbered)
    # A comma is told from the numbers of a file alone: one that has only a few may be refused.
    shapes: defaultdict[str, list[tuple[int, Row]]] = defaultdict(list)
    for row in numbered:
        shapes[row[1].shape].append(row)
    with TemporaryDirectory() as folder:
        paths = [
            write(Path(folder), f"{place}-{cut}", shape, part)
            for place, (shape, found) in enumerate(shapes.items())
            for cut in range(cuts)
            if (part := found[cut::cuts])
        ]
        order.shuffle(paths)
        told = as_data(read_bill(paths))
    assert told["rows"] == len(rows)
    assert set(told["billed_total"]) == {r.currency for r in rows}
    for currency, total in told["billed_total"].items():
        mine = [r for r in rows if r.currency == currency]
        assert Decimal(total) == add_up(r.amount for r in mine)
        parts = told["currencies"][currency]
        for name in ("by_vendor", "by_service", "by_month", "by_category"):
            assert add_up(map(Decimal, parts[name].values())) == Decimal(total), name
        for service, amount in parts["by_service"].items():
            assert Decimal(amount) == add_up(r.amount for r in mine if r.service == service)
        for month, amount in parts["by_month"].items():
            assert Decimal(amount) == add_up(r.amount for r in mine if month == f"2026-0{r.month}")
            each = parts["by_month_and_service"][month].values()
            assert add_up(map(Decimal, each)) == Decimal(amount)
        periods = [p for p in told["periods"] if p["currency"] == currency]
        assert add_up(Decimal(p["billed_total"]) for p in periods) == Decimal(total)


@pytest.mark.parametrize(
    ("kind", "amounts"),
    [
        ("DECIMAL(38, 0)", ("7", "-3")),
        ("DECIMAL(38, 10)", ("0.0000000001", "12345678.1234567891")),
        ("DECIMAL(38, 18)", ("0.000000000000000001", "-99.999999999999999999")),
        ("DECIMAL(38, 20)", ("0.00000000000000000001", "123456789012345678")),
        ("DECIMAL(38, 28)", ("0.0000000000000000000000000001", "1.5")),
        ("DECIMAL(38, 37)", ("0.0000000000000000000000000000000000001", "1")),
        ("DECIMAL(9, 4)", ("0.0001", "12345.6789")),
        ("VARCHAR", ("1E-12", "2.27205938461E-7", "-0.1", "1.2345678901234567e-06")),
        ("DOUBLE", ("0.1", "0.2", "0.0000000004", "1.2345678901234567e-06", "1e-24")),
        ("FLOAT", ("0.1", "0.2")),
        ("BIGINT", ("3", "-1")),
    ],
)
def test_every_type_of_parquet_is_read_to_the_last_digit(
    tmp_path: Path, kind: str, amounts: tuple[str, ...]
) -> None:
    lines = [f"{a},EUR,2026-05-01,Usage,a,V,r-{n}" for n, a in enumerate(amounts)]
    text = "\n".join([FOCUS, *lines]) + "\n"
    bill = read_bill(parquet(tmp_path / "bill.parquet", text, kind))
    assert bill.total("EUR") == add_up(map(Decimal, amounts))
    defects = {d.kind for d in bill.defects}
    assert "rounded-amounts" not in defects
    assert ("floating-point" in defects) is (kind in ("DOUBLE", "FLOAT"))
    # and as text, of which a spreadsheet or a script may write all of this
    assert read_bill(text_bill(tmp_path, text, "bill.csv.gz")).total("EUR") == bill.total("EUR")


@pytest.mark.parametrize(
    ("amounts", "places", "off"),
    [
        (("1e-40", "1"), 37, "0." + "0" * 37 + "5"),
        (("1e-30", "123456789.5"), 29, "0." + "0" * 29 + "5"),
        (("999999999999999999", "1e-25", "1e-25"), 20, "0." + "0" * 19 + "1"),  # no room at all
    ],
)
def test_an_amount_with_more_digits_than_there_is_room_for_is_counted_with_its_bound(
    tmp_path: Path, amounts: tuple[str, ...], places: int, off: str
) -> None:
    bill = read_bill(bill_of(tmp_path, *(f"{a},EUR,2026-05-01,Usage,a" for a in amounts)))
    (rounded,) = (d for d in bill.defects if d.kind == "rounded-amounts")
    assert f"more than {places} decimals" in rounded.sentence
    assert rounded.sentence.endswith(f"off by more than {off}")
    apart = abs(bill.total("EUR") - add_up(map(Decimal, amounts)))
    assert Decimal(0) < apart <= Decimal(off)


def test_copies_and_traffic_of_amounts_with_many_digits_are_exact_as_well(tmp_path: Path) -> None:
    line = "1.23456789e-21,EUR,2026-05-01,Usage,a,data transfer out,r"
    bill = read_bill(
        bill_of(tmp_path, line, line, line, head=HEAD + ",ChargeDescription,ResourceId")
    )
    (copies,) = (d for d in bill.defects if d.kind == "duplicate-lines")
    assert (copies.count, copies.amount) == (2, Decimal("2.46913578e-21"))
    assert [s.amount for s in bill.network] == [Decimal("3.70370367e-21")]
    assert [i.in_period(bill.periods[0].start) for i in bill.items] == [Decimal("3.70370367e-21")]


@given(st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=10))
@settings(max_examples=15, deadline=None)
def test_floating_point_is_always_its_shortest_text(amounts: list[float]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bill.parquet"
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE given (n INTEGER, amount DOUBLE)")
            connection.executemany(
                "INSERT INTO given VALUES (?, ?)", [[n, a] for n, a in enumerate(amounts)]
            )
            connection.execute(
                "COPY (SELECT amount AS BilledCost, 'EUR' AS BillingCurrency,"
                " DATE '2026-05-01' AS BillingPeriodStart, 'Usage' AS ChargeCategory,"
                f" 'a' AS ServiceName, n AS ResourceId FROM given) TO '{path}' (FORMAT parquet)"
            )
        bill = read_bill(path)
    exact = add_up(Decimal(repr(a)) for a in amounts)
    rounded = [d for d in bill.defects if d.kind == "rounded-amounts"]
    assert bill.total("EUR") == exact or (rounded and abs(bill.total("EUR") - exact) < 1e-20)
