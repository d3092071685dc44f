"""What the network costs: bills by kind and route, prices with tiers, and what moving would do."""

from __future__ import annotations

from qafila.core.network.kinds import Kind
from qafila.core.network.ledger import (
    Charge,
    Ledger,
    Talker,
    Transfer,
    Unclassified,
    ledger_of,
)

__all__ = ["Charge", "Kind", "Ledger", "Talker", "Transfer", "Unclassified", "ledger_of"]
