"""Bills that are cut, renamed, doubled or written in another way: one clear refusal, or exact."""

from __future__ import annotations

import gzip
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from qafila.audit.bills.formats import recognise
from qafila.audit.bills.read import read_bill
from qafila.audit.bills.relation import open_bill
from qafila.errors import BadInput
from tests.support.bill_files import AZURE_EA, CUR_2, HEAD, OCI, bill_of, shared, text_bill

TIMED = HEAD + ",ChargePeriodStart,ChargePeriodEnd,ResourceId,SubAccountId"


def hours(day: int, cost: str = "0.5", resource: str = "i-1") -> list[str]:
    """Return three hourly lines of one day."""
    return [
        f"{cost},USD,2026-05-01,Usage,EC2,2026-05-{day:02}T{h:02}:00:00Z,"
        f"2026-05-{day:02}T{h + 1:02}:00:00Z,{resource},a-1"
        for h in range(3)
    ]


def test_a_cut_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress((HEAD + "\n" + "1,USD,2026-05-01,Usage,a\n" * 50_000).encode())
    path = tmp_path / "bill.csv.gz"
    for size in (len(whole) - 1, len(whole) // 2, 12):
        path.write_bytes(whole[:size])
        with pytest.raises(BadInput, match="cut or damaged"):
            read_bill(path)


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bill.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS BilledCost) TO '{path}' (FORMAT parquet)")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BadInput, match="the end of the Parquet file is missing"):
        read_bill(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (bytes(range(256)) * 10, "neither text nor Parquet"),
        (b"PK\x03\x04" + b"x" * 100, "zip archive or a spreadsheet"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a\xe9,b\n1,2\n", "neither UTF-8 text nor Parquet"),
        (b"a,a\n1,2\n", "has a column twice: a"),
        (b"\x1f\x8bnonsense", "cut or damaged"),
        (b"a,b\r1,2\r", "ends its lines with CR alone"),
        (b'"' + b"x" * 200_000 + b'",b\n1,2\n', "a first line that is no CSV"),
    ],
)
def test_what_is_no_bill_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words) as refused:
        read_bill(path)
    assert "odd.csv" in refused.value.what


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    text_bill(tmp_path, "", "empty.csv")
    with pytest.raises(BadInput) as refused:
        read_bill([tmp_path, tmp_path / "none.csv", tmp_path / "empty.csv"])
    folder, missing, empty = refused.value.problems
    assert "is a folder" in folder
    assert "there is no bill at" in missing
    assert "is empty" in empty


def test_a_ragged_line_and_bad_bytes_are_refused_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"(?i)line"):
        read_bill(bill_of(tmp_path, "1,USD,2026-05-01,Usage,a", "1,USD"))
    path = tmp_path / "latin.csv"
    path.write_bytes(HEAD.encode() + b"\n1,USD,2026-05-01,Usage,caf\xe9\n")
    with pytest.raises(BadInput, match=r"(?i)utf-8"):
        read_bill(path)


@pytest.mark.parametrize(
    ("given", "missing", "renamed"),
    [
        ("Billed_Cost", "BilledCost", "Billed_Cost"),
        ("Cost", "BilledCost", "Cost"),
        ("BilledCostUSD", "BilledCost", "BilledCostUSD"),
    ],
)
def test_a_renamed_column_is_named_with_the_likely_one(
    given: str, missing: str, renamed: str
) -> None:
    with pytest.raises(BadInput) as refused:
        recognise(HEAD.replace("BilledCost", given).split(","), "b.csv")
    assert refused.value.problems == (
        f"the column {missing} is missing; the column {renamed} may be it, renamed",
    )


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        (AZURE_EA, "CostInBillingCurrency", "CostInBillingCurrency or Cost or PreTaxCost"),
        (OCI, "cost/currencyCode", "cost/currencyCode"),
        (CUR_2, "line_item_unblended_cost", "line_item_unblended_cost"),
    ],
)
def test_a_column_missing_from_another_format_is_named(
    tmp_path: Path, text: str, column: str, words: str
) -> None:
    with pytest.raises(BadInput) as refused:
        read_bill(text_bill(tmp_path, text.replace(column, "something")))
    assert refused.value.problems == (f"the column {words} is missing",)


def test_semicolons_and_decimal_commas_are_read_exactly(tmp_path: Path) -> None:
    bill = read_bill(
        bill_of(
            tmp_path,
            "1.234,50;EUR;2026-05-01;Usage;a",
            "-0,00000000000000000003;EUR;2026-05-01;Credit;a",
            "1.000;EUR;2026-05-01;Usage;a",  # points part thousands here
            head=HEAD.replace(",", ";"),
        )
    )
    assert bill.total("EUR") == Decimal("2234.49999999999999999997")
    assert [d.kind for d in bill.defects if d.kind == "decimal-comma"] == ["decimal-comma"]


def test_semicolons_with_decimal_points_are_read_exactly(tmp_path: Path) -> None:
    lines = ("1234.5;EUR;2026-05-01;Usage;a", "1;EUR;2026-05-01;Usage;a, b")
    bill = read_bill(bill_of(tmp_path, *lines, head=HEAD.replace(",", ";")))
    assert bill.total("EUR") == Decimal("1235.5")


@pytest.mark.parametrize(
    "amounts", [("1,234", "5,678"), ("1,5", "1.5"), ("1,5", "1,2,3"), ("1,234.50", "2")]
)
def test_numbers_that_may_be_read_in_two_ways_are_refused(
    tmp_path: Path, amounts: tuple[str, str]
) -> None:
    lines = [f"{a};EUR;2026-05-01;Usage;a" for a in amounts]
    with pytest.raises(BadInput, match="cannot be told"):
        read_bill(bill_of(tmp_path, *lines, head=HEAD.replace(",", ";")))


def test_two_currencies_stand_apart_in_one_bill(tmp_path: Path) -> None:
    bill = read_bill(
        bill_of(
            tmp_path,
            "1,EUR,2026-05-01,Usage,a",
            "2,usd,2026-05-01,Usage,a",
            "4,USD,2026-05-01,Usage,b",
        )
    )
    assert {c: bill.total(c) for c in bill.currencies} == {"USD": Decimal(6), "EUR": Decimal(1)}
    assert bill.sums(bill.services, "EUR") == {"a": (Decimal(1), 1)}


def test_local_times_belong_to_the_month_as_written_and_the_bill_says_so(tmp_path: Path) -> None:
    path = bill_of(
        tmp_path,
        "1,EUR,2026-05-01T00:00:00+02:00,Usage,a,2026-05-01T00:00:00+02:00,,r,x",
        "2,EUR,2026-05-01 00:00:00,Usage,a,2026-05-01 00:00:00,,r,x",
        "4,EUR,2026-05-01T00:00:00Z,Usage,a,2026-05-01T00:00:00Z,,r,x",
        head=TIMED,
    )
    bill = read_bill(path)
    assert [(p.month, p.amount) for p in bill.periods] == [("2026-05", Decimal(7))]
    said = {d.kind: (d.count, d.of) for d in bill.defects}
    assert (said["local-time"], said["time-without-zone"]) == ((1, 3), (1, 3))
    with open_bill(path) as opened:
        times = opened.query("SELECT charge_start FROM line ORDER BY amount")
    assert [t[0] for t in times] == [
        datetime(2026, 4, 30, 22),
        datetime(2026, 5, 1),
        datetime(2026, 5, 1),
    ]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "\r\n1,EUR,2026-05-01,Usage,a\r\n2,EUR,2026-05-01,Usage,b\r\n",
        "\ufeff" + HEAD + "\n1,EUR,2026-05-01,Usage,a\n\n2,EUR,2026-05-01,Usage,b",
        "\n\n" + HEAD + "\n1,EUR,2026-05-01,Usage,a\n2,EUR,2026-05-01,Usage,b\n",
        "sep=;\n"
        + HEAD.replace(",", ";")
        + "\n1;EUR;2026-05-01;Usage;a\n2;EUR;2026-05-01;Usage;b\n",
        HEAD + '\n"+1.0","EUR","2026-05-01","Usage","a\nb"\n2, eur ,2026-05-01,Usage,b\n',
    ],
)
def test_line_ends_blank_lines_and_a_spreadsheets_first_line_change_nothing(
    tmp_path: Path, text: str
) -> None:
    for name in ("bill.csv", "bill.csv.gz"):
        bill = read_bill(text_bill(tmp_path, text, name))
        assert (bill.rows, bill.total("EUR")) == (2, Decimal(3))


def test_all_members_of_a_gzip_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "joined.csv.gz"
    lines = "2,EUR,2026-05-01,Usage,b\n" * 3
    path.write_bytes(gzip.compress(f"{HEAD}\n".encode()) + gzip.compress(lines.encode()) * 2)
    assert read_bill(path).total("EUR") == Decimal(12)


def test_a_line_that_cannot_be_read_is_not_printed_whole(tmp_path: Path) -> None:
    path = bill_of(
        tmp_path, f"1,EUR,2026-05-01,Usage,a,{'secret' * 6_000_000}", head=HEAD + ",Tags"
    )
    with pytest.raises(BadInput, match="Line: 2") as refused:
        read_bill(path)
    assert len(str(refused.value)) < 700
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["bill.csv", "bill.csv.gz"])
def test_exports_joined_by_hand_are_one_bill_and_said_to_be_joined(
    tmp_path: Path, name: str
) -> None:
    text = (
        HEAD
        + '\n1,EUR,2026-05-01,Usage,"a\r\nb"\n\ufeff'
        + HEAD
        + "\r\n2,EUR,2026-05-01,Usage,b\r\n"
        + HEAD
        + "\r\n4,EUR,2026-05-01,Usage,c"
    )
    bill = read_bill(text_bill(tmp_path, text, name))
    assert (bill.rows, bill.total("EUR")) == (3, Decimal(7))
    assert {s.subject for s in bill.services} == {"a\r\nb", "b", "c"}
    said = {d.kind: (d.count, d.of, d.sentence) for d in bill.defects}
    assert said["mixed-line-ends"] == (
        2,
        5,
        f"3 lines of {name} end in CR LF and 2 in LF, as in exports that were joined by hand: all "
        "were read",
    )
    assert said["repeated-head"][:2] == (2, None)
    assert "2 lines are the names of the columns again" in said["repeated-head"][2]


def test_a_semicolon_bill_joined_by_hand_keeps_its_decimal_comma(tmp_path: Path) -> None:
    head = HEAD.replace(",", ";")
    text = f"{head}\n1,5;EUR;2026-05-01;Usage;a\n{head}\r\n2,25;EUR;2026-05-01;Usage;b\r\n"
    bill = read_bill(text_bill(tmp_path, text))
    assert (bill.rows, bill.total("EUR")) == (2, Decimal("3.75"))


def test_a_bill_joined_by_hand_keeps_every_digit_of_its_longest_decimals(tmp_path: Path) -> None:
    small = "0.0000000000000000000000012345"
    text = f"{HEAD}\n{small},EUR,2026-05-01,Usage,a\n{HEAD}\r\n1,EUR,2026-05-01,Usage,b\r\n"
    bill = read_bill(text_bill(tmp_path, text))  # the lines are read again, with more places
    assert (bill.rows, bill.total("EUR")) == (2, Decimal(f"1{small[1:]}"))
    assert {d.kind for d in bill.defects} >= {"mixed-line-ends", "repeated-head"}


def test_an_even_file_beside_a_mixed_one_is_no_defect(tmp_path: Path) -> None:
    mixed = text_bill(tmp_path, HEAD + "\n1,EUR,2026-05-01,Usage,a\r\n", "mixed.csv")
    even = text_bill(tmp_path, HEAD + "\r\n2,EUR,2026-05-01,Usage,b\r\n", "even.csv")
    bill = read_bill([mixed, even])
    assert bill.total("EUR") == Decimal(3)
    assert [d.subject for d in bill.defects if d.kind == "mixed-line-ends"] == ["mixed.csv"]


@pytest.mark.parametrize("wrong", ['1,EUR,2026-05-01,Usage,"a', '1,EUR,2026-05-01,Usage,"a"b'])
def test_mixed_line_ends_make_the_reader_no_more_lenient(tmp_path: Path, wrong: str) -> None:
    text = HEAD + f"\n2,EUR,2026-05-01,Usage,b\r\n{wrong}\n3,EUR,2026-05-01,Usage,c\n"
    with pytest.raises(BadInput):
        read_bill(text_bill(tmp_path, text))


def test_a_line_that_ends_in_cr_alone_is_refused_in_plain_words(tmp_path: Path) -> None:
    text = HEAD + "\n1,EUR,2026-05-01,Usage,a\r2,EUR,2026-05-01,Usage,b\n"
    with pytest.raises(BadInput, match="a line ends in CR alone"):
        read_bill(text_bill(tmp_path, text))


def test_a_bill_and_its_copy_in_another_type_of_file_are_refused(tmp_path: Path) -> None:
    path = bill_of(tmp_path, *hours(1), *hours(2), head=TIMED)
    parquet = tmp_path / "same.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT * REPLACE (BilledCost::DECIMAL(18, 6) AS BilledCost) FROM"
            f" read_csv('{path}', all_varchar = true)) TO '{parquet}' (FORMAT parquet)"
        )
    with pytest.raises(BadInput, match="count money twice"):
        read_bill([path, parquet])


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    path = bill_of(tmp_path, *hours(1), head=TIMED)
    with pytest.raises(BadInput, match="named twice"):
        read_bill([path, str(path)])
    copied = text_bill(tmp_path, path.read_text(), "copy.csv")
    with pytest.raises(BadInput) as refused:
        read_bill([path, copied])
    assert refused.value.problems == ("3 lines stand in bill.csv as well as in copy.csv",)


def test_two_exports_that_overlap_by_a_day_are_refused(tmp_path: Path) -> None:
    one = bill_of(tmp_path, *hours(1), *hours(2), head=TIMED, name="one.csv")
    two = bill_of(tmp_path, *hours(2), *hours(3), head=TIMED, name="two.csv")
    with pytest.raises(BadInput, match="count money twice") as refused:
        read_bill([one, two])
    assert refused.value.problems == ("3 lines stand in one.csv as well as in two.csv",)


def test_a_newer_export_with_other_amounts_is_refused(tmp_path: Path) -> None:
    early = bill_of(tmp_path, *hours(1), *hours(2), head=TIMED, name="early.csv")
    late = bill_of(
        tmp_path, *hours(1, "0.6"), *hours(2, "0.6"), *hours(3), head=TIMED, name="late.csv"
    )
    with pytest.raises(BadInput, match="count money twice") as refused:
        read_bill([early, late])
    assert "6 of 6 lines of early.csv stand in late.csv again" in refused.value.problems[0]


def test_the_same_lines_by_their_vendors_id_are_refused(tmp_path: Path) -> None:
    one = text_bill(tmp_path, OCI, "one.csv")
    two = text_bill(tmp_path, OCI.replace("0.04,0", "0.05,0"), "two.csv")
    with pytest.raises(BadInput) as refused:
        read_bill([one, two])
    assert refused.value.problems == ("3 lines stand in one.csv as well as in two.csv",)


def test_one_account_and_month_in_two_formats_is_refused(tmp_path: Path) -> None:
    focus = bill_of(
        tmp_path,
        "0.21,USD,2026-05-01,Usage,EC2,AWS,a-1",
        head=HEAD + ",ProviderName,SubAccountId",
        name="focus.csv",
    )
    with pytest.raises(BadInput) as refused:
        read_bill([focus, text_bill(tmp_path, CUR_2, "cur.csv")])
    assert refused.value.problems == (
        "cur.csv and focus.csv hold a-1 in 2026-05, one as AWS CUR 2, the other as FOCUS 1.0",
    )


def test_a_bill_that_repeats_lines_says_so_and_may_stand_in_parts(tmp_path: Path) -> None:
    lines = [*hours(1), *hours(1), *hours(2)]
    whole = read_bill(bill_of(tmp_path, *lines, head=TIMED, name="whole.csv"))
    (copies,) = (d for d in whole.defects if d.kind == "duplicate-lines")
    assert (copies.count, copies.amount) == (3, Decimal("1.5"))
    parts = [
        bill_of(tmp_path, *lines[:5], head=TIMED, name="1.csv"),
        bill_of(tmp_path, *lines[5:], head=TIMED, name="2.csv"),
    ]  # one line in both, two twice within the first: the bill is like that
    assert read_bill(parts).periods == whole.periods


def test_usage_below_zero_is_told_from_a_credit_and_a_refund(tmp_path: Path) -> None:
    bill = read_bill(
        bill_of(
            tmp_path,
            "-1,EUR,2026-05-01,Usage,a,",
            "-2,EUR,2026-05-01,Usage,a,Correction",
            "-4,EUR,2026-05-01,Credit,a,",
            "8,EUR,2026-05-01,Usage,a,",
            head=HEAD + ",ChargeClass",
        )
    )
    (negative,) = (d for d in bill.defects if d.kind == "negative-usage")
    assert (negative.count, negative.amount) == (1, Decimal(-1))
    assert {k: a for k, (a, _) in bill.sums(bill.categories, "EUR").items()} == {
        "Usage": Decimal(7),
        "Correction": Decimal(-2),
        "Credit": Decimal(-4),
    }
    assert bill.total("EUR") == Decimal(1)


def test_amounts_too_large_to_add_up_exactly_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="1 of 1 lines have no BilledCost"):
        read_bill(bill_of(tmp_path, "1000000000000000000,EUR,2026-05-01,Usage,a"))
    nearly = "999999999999999999,EUR,2026-05-01,Usage,a"
    with pytest.raises(BadInput, match="more than 18 digits"):
        read_bill(bill_of(tmp_path, nearly, nearly))


@pytest.mark.parametrize("amount", ["1_000", "nan", "infinity", "1 000", "$5", "0x10"])
def test_an_amount_that_is_no_plain_number_is_refused(tmp_path: Path, amount: str) -> None:
    with pytest.raises(BadInput, match="1 of 1 lines have no BilledCost"):
        read_bill(bill_of(tmp_path, f"{amount},EUR,2026-05-01,Usage,a"))


def test_names_with_markup_quotes_and_lines_stay_text(tmp_path: Path) -> None:
    name = "<script>alert('x')</script>"
    path = bill_of(
        tmp_path,
        f'1,EUR,2026-05-01,Usage,a,"{name}\n""; DROP TABLE line; --"',
        head=HEAD + ",ResourceId",
        name="it's [bold].csv",
    )
    (item,) = read_bill(path).items
    assert item.resource_id == f'{name}\n"; DROP TABLE line; --'


def test_a_tag_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    tag = "x" * 10_000_000
    path = bill_of(
        tmp_path, f'1,EUR,2026-05-01,Usage,a,"{{""k"": ""{tag}""}}"', head=HEAD + ",Tags"
    )
    assert read_bill(path).total("EUR") == Decimal(1)


def test_the_defects_of_the_real_sample_are_those_it_is_known_for() -> None:
    bill = read_bill(shared("focus_1_0_sample.csv"))
    found = {(d.kind, d.subject): d for d in bill.defects}
    aws = [d for d in bill.defects if d.kind == "rounded-column" and "AWS" in d.sentence]
    assert {(d.subject, d.count, d.of) for d in aws} == {
        ("EffectiveCost", 942, 942),
        ("ContractedCost", 942, 942),
    }
    untagged = found["untagged", "AWS"]
    assert (untagged.count, untagged.of, untagged.amount) == (
        289,
        942,
        Decimal("-1.702349699200"),
    )
    assert "where ServiceId belongs" in found["renamed-column", "Id"].sentence
    assert found["literal-null", ""].count > 0
    assert bill.sums(bill.categories, "USD") == {
        "Usage": (Decimal("22.86192672899"), 997),
        "Adjustment": (Decimal("0.272"), 2),
        "Credit": (Decimal("-2.6137"), 1),
    }
    # Rounded to whole dollars, the amortised cost is not known: 13 would be a lie.
    assert {c.amortised for c in bill.commitments} == {None}
    assert not [d for d in bill.defects if d.kind == "duplicate-lines"]
