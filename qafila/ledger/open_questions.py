"""A question that waits for a person: the id to ask it under, and its answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from qafila.errors import Refused
from qafila.ledger.approvals import Approval, read_approval
from qafila.ledger.ledger import Connection

POLL_S = 0.5
LINE_EVERY_S = 30.0


def open_question(ledger: Connection, base: str) -> tuple[str, Approval | None]:
    """Return the id under which to ask now, and that question if it was asked already.

    A question that was rejected or lapsed is over: the next one gets a number behind its id.
    """
    number, approval_id = 1, base
    while True:
        try:
            asked = read_approval(ledger, approval_id)
        except Refused:
            return approval_id, None
        if asked.state in ("pending", "approved"):
            return approval_id, asked
        number += 1
        approval_id = f"{base}-{number}"


def wait_for_answer(ledger: Connection, approval_id: str, say: Callable[[str], None]) -> Approval:
    """Read the ledger twice a second until the question is answered or has lapsed; ``say`` a line
    at once and then now and then."""
    next_line = 0.0
    while True:
        asked = read_approval(ledger, approval_id)
        if asked.state != "pending":
            return asked
        if time.monotonic() >= next_line:
            say(
                f"waiting for a person: {asked.subject}, lapses {asked.expires_at:%H:%M:%S %Z}; "
                f"qafila approve {approval_id} --by NAME"
            )
            next_line = time.monotonic() + LINE_EVERY_S
        time.sleep(POLL_S)
