"""TOML in time that grows with the text.

The only place that parses TOML. Each dot of a key may be a level, and ``tomllib`` takes the square
of their number: 64 kB of ``a.a.a`` take it 0.7 s, 256 kB 12 s.
"""

from __future__ import annotations

import tomllib
from typing import Any

from qafila.errors import BadInput

MOST_DOTS = 200  # in a line


def load_toml(text: str, name: str) -> dict[str, Any]:
    """Return the table that a TOML text holds; ``name`` is what the text is called in an error.

    Raises:
        BadInput: it is no TOML, is nested too deep, or has a line with more dots than are read.
    """
    lines = text.split("\n")
    crowded = [number for number, line in enumerate(lines, 1) if line.count(".") > MOST_DOTS]
    if crowded:
        raise BadInput(
            f"{name} has more than {MOST_DOTS} dots in line {crowded[0]}: break the line."
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # 30 February is a ValueError
        told = " ".join(str(error).split())
        raise BadInput(f"{name} cannot be read as TOML: {told}") from error
