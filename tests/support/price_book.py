"""The price book that ships, parsed once for the tests."""

from __future__ import annotations

from pathlib import Path

import qafila.data
from qafila.decision.prices import parse_price_book

DATA = Path(qafila.data.__file__).parent
PRICES = (DATA / "prices.toml").read_text()
MODELS = (DATA / "models.toml").read_text()
EGRESS = (DATA / "egress.toml").read_text()
BOOK = parse_price_book(PRICES, MODELS, EGRESS)
