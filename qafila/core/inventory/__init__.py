"""One audit as a whole: what was found, its evidence, its tables, its difference to the last."""

from __future__ import annotations

from qafila.core.inventory.body import evidence_body
from qafila.core.inventory.difference import Change, Difference, Snapshot, compare
from qafila.core.inventory.storable import storable, storable_part
from qafila.core.inventory.tables import tables
from qafila.core.inventory.whole import Inventory
from qafila.core.inventory.wording import size_text

__all__ = [
    "Change",
    "Difference",
    "Inventory",
    "Snapshot",
    "compare",
    "evidence_body",
    "size_text",
    "storable",
    "storable_part",
    "tables",
]
