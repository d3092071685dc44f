"""Bills of any vendor, read with DuckDB into exact values. Prefect is not needed here."""

from __future__ import annotations

from tasks.bills.reading import read_bill
from tasks.bills.relation import OpenBill, open_bill

__all__ = ["OpenBill", "open_bill", "read_bill"]
