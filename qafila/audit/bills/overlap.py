"""Refuse bills that would count the same money twice."""

from __future__ import annotations

from qafila.audit.bills.relation import OpenBill
from qafila.errors import BadInput


def refuse_double_counting(bill: OpenBill) -> None:
    """Compare all files of a bill with each other; one file alone is never refused.

    Refused are: the same line in two files (to the last digit, or by its vendor's id); another
    export of the same lines with other amounts (most lines of one file have account, resource,
    price and time in common with another's); and one account and month in two formats. Where
    a file repeats lines within itself already, as many may stand apart in two files, too.

    Raises:
        BadInput: names the files, and how many lines they share.
    """
    if sum(len(s.files) for s in bill.sources) < 2:
        return
    problems = [
        f"{bill.files[one]} and {bill.files[other]} hold {account} in {month:%Y-%m}, "
        f"one as {form}, the other as {second}"
        for one, other, account, month, form, second in bill.rows("two_formats")
    ]
    within = int(bill.rows("repeated_within_files")[0][0])
    shared = bill.rows("shared_lines")
    if sum(row[2] for row in shared) > within:
        problems += [
            f"{count:,} lines stand in {bill.files[one]} as well as in {bill.files[other]}"
            for one, other, count in shared
        ]
    elif not problems:
        problems = [
            f"{count:,} of {of:,} lines of {bill.files[one]} stand in {bill.files[other]} again, "
            "with other amounts"
            for one, other, count, of in bill.rows("restated")
        ]
    if problems:
        raise BadInput(
            f"the bill {bill.name} would count money twice:",
            problems,
            remedy="leave out the older export, or one of the two formats.",
        )
