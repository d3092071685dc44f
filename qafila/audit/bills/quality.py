"""The quality of a bill: its defects, each counted and with the money it touches."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from qafila.audit.bills.defects import Defect, day_list, days_missing, lines_of
from qafila.audit.bills.formats import AZURE, lacking, misplaced
from qafila.audit.bills.model import exact, money
from qafila.audit.bills.relation import OpenBill, Source
from qafila.sql import statement


def find_defects(bill: OpenBill, places: int) -> tuple[tuple[Defect, ...], frozenset[str]]:
    """Return the defects, and the currencies whose effective cost is not to be trusted.

    Reads the sums that ``spend`` made, and scans the lines once more for copies. ``places``: how
    many decimals of what was billed are kept.
    """
    doubts = [_Doubt(bill, row) for row in bill.rows("doubts")]
    found = [
        *_of_joining(bill),
        *_of_columns(bill),
        *_rounded(bill, places),
        *_of_wording(bill),
        *(defect for doubt in doubts for defect in doubt.defects(bill)),
        *_mismatches(bill),
        *_copies(bill),
        *_gaps(bill),
        *_partly_invoiced(bill),
    ]
    doubted = frozenset(d.currency for d in doubts if d.effective_is_whole)
    return tuple(found), doubted


def _of_joining(bill: OpenBill) -> Iterator[Defect]:
    """What files that were joined by hand look like; neither changes an amount."""
    for name, ends in sorted(bill.line_ends.items()):
        yield Defect(
            "mixed-line-ends",
            f"{ends.crlf:,} lines of {name} end in CR LF and {ends.lf:,} in LF, as in exports "
            "that were joined by hand: all were read",
            min(ends.crlf, ends.lf),
            name,
            ends.crlf + ends.lf,
        )
    if bill.head_lines:
        yield Defect(
            "repeated-head",
            f"{bill.head_lines:,} {'line is' if bill.head_lines == 1 else 'lines are'} the names "
            "of the columns again, as in exports that were joined by hand: left out",
            bill.head_lines,
        )


def _of_columns(bill: OpenBill) -> Iterator[Defect]:
    """Columns that are missing, renamed, without tags, or of a type that cannot hold money."""
    for source in bill.sources:
        names = ", ".join(source.files[:3]) + (" …" if len(source.files) > 3 else "")
        columns = list(source.columns.types)
        if source.format.startswith("FOCUS"):
            for column, meant in misplaced(columns):
                stands = (
                    f"stands where {meant} belongs"
                    if meant
                    else f"is not of {source.format} and does not begin with x_"
                )
                yield Defect(
                    "renamed-column", f"the column {column} of {names} {stands}", 1, column
                )
            if missing := lacking(columns):
                yield Defect(
                    "missing-columns",
                    f"{len(missing)} columns that FOCUS asks for are missing in {names}: "
                    f"{', '.join(missing)}",
                    len(missing),
                    missing[0],
                )
        if not _has_tags(source):
            yield Defect(
                "no-tags", f"{names} has no tags: what is untagged is not known", 1, "Tags"
            )
        if source.floating:
            yield Defect(
                "floating-point",
                f"{names} holds its amounts as floating-point numbers: each was read by its "
                "shortest text",
                1,
            )
        if source.columns.comma:
            yield Defect(
                "decimal-comma", f"the numbers of {names} were read with a decimal comma", 1
            )


def _rounded(bill: OpenBill, places: int) -> Iterator[Defect]:
    rows, decimals, *_ = bill.rows("wording")[0]
    if decimals <= places:
        return
    ((long,),) = bill.query(statement("bills", "rounded"), [places])
    most = exact(Decimal(long).scaleb(-places) / 2)  # each by half a digit of the last place
    yield Defect(
        "rounded-amounts",
        f"{long:,} amounts have more than {places} decimals and were rounded: no total is off by "
        f"more than {most}",
        long,
        of=rows,
    )


def _of_wording(bill: OpenBill) -> Iterator[Defect]:
    rows, _, nulls, null_rows, zoneless, offsets = bill.rows("wording")[0]
    if nulls:
        yield Defect(
            "literal-null",
            f"{nulls:,} cells on {lines_of(null_rows, rows, '')} hold the word NULL instead of "
            "nothing",
            nulls,
            of=rows,
        )
    if zoneless:
        yield Defect(
            "time-without-zone",
            f"{lines_of(zoneless, rows, '')} name no time zone: their times were read as UTC",
            zoneless,
            of=rows,
        )
    if offsets:
        yield Defect(
            "local-time",
            f"{lines_of(offsets, rows, '')} are in local time: they belong to the month as "
            "written, their times were converted to UTC",
            offsets,
            of=rows,
        )
    if any(s.format == AZURE for s in bill.sources):
        unused = int(bill.rows("unused_commitments")[0][0])
        if unused:
            yield Defect(
                "amortised-export",
                f"{lines_of(unused, rows, 'Azure')} are unused commitments, or usage at a "
                "commitment's price: the export is amortised, its total is not what was invoiced",
                unused,
                of=rows,
            )


def _has_tags(source: Source) -> bool:
    columns = source.columns
    return bool(
        columns.find("Tags", "resource_tags")
        or columns.starting("resourceTags/")
        or columns.starting("tags/")
    )


class _Doubt:
    """One vendor's counts in one currency."""

    def __init__(self, bill: OpenBill, row: tuple[Any, ...]) -> None:
        (
            self.vendor,
            self.currency,
            self.rows,
            self.amount,
            self.fractions,
            effective,
            listed,
            contracted,
            self.not_bought,
            self.untagged,
            self.untagged_amount,
            self.unnamed,
            self.unnamed_amount,
            self.without_account,
            self.negatives,
            self.negative_amount,
            self.strange,
            self.no_service,
        ) = row
        self.whole = (effective, listed, contracted)
        if self.fractions and any(self.whole):
            values = [self.vendor, self.currency]
            self.whole = bill.query(statement("bills", "whole_values"), values)[0]

    @property
    def effective_is_whole(self) -> bool:
        return bool(self.fractions and self.whole[0])

    def defects(self, bill: OpenBill) -> Iterator[Defect]:
        if self.fractions:
            names = ("EffectiveCost", "ListCost", "ContractedCost")
            for column, whole in zip(names, self.whole, strict=True):
                if whole:
                    yield self._of(
                        "rounded-column",
                        column,
                        self.not_bought,
                        f"{column} of {self._lines(self.not_bought)} is rounded to whole "
                        f"{self.currency}",
                        None,
                    )
        if self.untagged and any(_has_tags(s) for s in bill.sources):
            yield self._of(
                "untagged",
                self.vendor,
                self.untagged,
                f"{self._lines(self.untagged)} have no tag: {self._money(self.untagged_amount)}",
                self.untagged_amount,
            )
        if self.unnamed:
            yield self._of(
                "no-resource-id",
                self.vendor,
                self.unnamed,
                f"{self._lines(self.unnamed)} are usage without a resource id: "
                f"{self._money(self.unnamed_amount)}",
                self.unnamed_amount,
            )
        if self.without_account:
            said = f"{self._lines(self.without_account)} name no account"
            yield self._of("no-account-id", self.vendor, self.without_account, said, None)
        if self.no_service:
            said = f"{self._lines(self.no_service)} name no service"
            yield self._of("no-service-name", self.vendor, self.no_service, said, None)
        if self.negatives:
            yield self._of(
                "negative-usage",
                self.vendor,
                self.negatives,
                f"{self._lines(self.negatives)} are usage below zero, neither credit nor refund: "
                f"{self._money(self.negative_amount)}",
                self.negative_amount,
            )
        if self.strange:
            yield self._of(
                "unknown-category",
                self.vendor,
                self.strange,
                f"{self._lines(self.strange)} have a charge category that FOCUS does not know",
                None,
            )

    def _lines(self, count: int) -> str:
        return lines_of(count, self.rows, self.vendor)

    def _money(self, amount: Decimal) -> str:
        return money(amount, self.currency)

    def _of(
        self, kind: str, subject: str, count: int, sentence: str, amount: Decimal | None
    ) -> Defect:
        return Defect(kind, sentence, count, subject, self.rows, amount, self.currency)


def _mismatches(bill: OpenBill) -> Iterator[Defect]:
    """Compare price times quantity with the cost, on the first million lines of a large bill."""
    for vendor, currency, compared, apart, amount in bill.rows("mismatches"):
        yield Defect(
            "sum-mismatch",
            f"on {lines_of(apart, compared, vendor)} that were multiplied out, price times "
            f"quantity is not the cost, by more than 1 %: {money(amount, currency)}",
            apart,
            vendor,
            compared,
            amount,
            currency,
        )


def _copies(bill: OpenBill) -> Iterator[Defect]:
    if not bill.rows("repeated")[0][0]:
        return
    for currency, copies, amount in bill.rows("repeated_amounts"):
        yield Defect(
            "duplicate-lines",
            f"{copies:,} lines are copies of another to the last digit: {money(amount, currency)}",
            copies,
            amount=amount,
            currency=currency,
        )


def _gaps(bill: OpenBill) -> Iterator[Defect]:
    for vendor, start, mask in bill.rows("days"):
        if days := days_missing(int(mask)):
            yield Defect(
                "missing-days",
                f"{vendor} has no usage on {len(days)} days of {start:%Y-%m}: {day_list(days)}",
                len(days),
                vendor,
            )


def _partly_invoiced(bill: OpenBill) -> Iterator[Defect]:
    for vendor, start, rows, without in bill.rows("partly_invoiced"):
        yield Defect(
            "partly-invoiced",
            f"{lines_of(without, rows, vendor)} of {start:%Y-%m} have no invoice id, the others "
            "have one: the month counts as open",
            without,
            vendor,
            rows,
        )
