"""Bills of any vendor, read with DuckDB into exact values. Prefect is not needed here."""

from __future__ import annotations

from tasks.bills.reading import read_bill

__all__ = ["read_bill"]
