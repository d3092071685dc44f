"""Where things are: the home folder, what the stack wrote there, and the ledger's address."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from qafila.errors import Unavailable


def home() -> Path:
    """Return ``QAFILA_HOME``, else ``.qafila`` in the current folder; always absolute."""
    return Path(os.environ.get("QAFILA_HOME", ".qafila")).resolve()


def stack_file() -> Path:
    """Return the file in which ``qafila up`` records what it started."""
    return home() / "stack.json"


def stack_state() -> dict[str, Any]:
    """Return what ``qafila up`` recorded, a section a piece; empty when nothing was started."""
    try:
        state: dict[str, Any] = json.loads(stack_file().read_text())
    except FileNotFoundError:
        return {}
    return state


def ledger_url() -> str:
    """Return the ledger's address: ``QAFILA_LEDGER_URL``, else the embedded stack's.

    Raises:
        Unavailable: neither is set; says where it looked, in order.
    """
    url = os.environ.get("QAFILA_LEDGER_URL") or stack_state().get("postgres", {}).get("ledger_url")
    if not url:
        raise Unavailable(
            "there is no ledger here. Looked for it in: "
            f"1. the variable QAFILA_LEDGER_URL; 2. {stack_file()}.",
            kept="nothing was touched.",
            remedy="where the stack was started in another folder, go there or set QAFILA_HOME to "
            "its .qafila; else start one with: qafila up",
        )
    return str(url)
