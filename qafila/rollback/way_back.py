"""Bring a workload back by the ledger, or by the rollback card when the ledger does not answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg

from qafila.errors import Unavailable
from qafila.ledger.evidence_head import keep_head
from qafila.ledger.ledger import open_ledger
from qafila.rollback.card import card_path
from qafila.rollback.rollback import RolledBack, roll_back
from qafila.rollback.rollback_by_card import roll_back_by_card
from qafila.rollback.spool import take_in_where_possible
from qafila.workload.phases import Event

LEDGER_SECONDS = 5


def bring_back(
    workload: str,
    why: str,
    *,
    holder: str,
    run_id: str | None = None,
    card: Path | None = None,
    accepted: str | None = None,
    event: Event = Event.ROLLBACK,
    wait_s: float | None = None,
    now: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> RolledBack:
    """Give the baseline all traffic and prove it, with or without the ledger.

    A ledger that hangs is given ``LEDGER_SECONDS`` for each question, then counts as down. With
    ``card`` the ledger is not asked at all; ``accepted`` is as in ``read_card``.
    ``wait_s`` and ``now`` are as in ``roll_back``; by a
    card nobody can say how far live sync is, and the weights fall at once.

    Raises:
        Refused: there is no such workload or router, the old side is behind, or the card's seal
            does not hold.
        Unavailable: neither the ledger answers nor is there a card; or the router cannot be read.
        StaleEpoch: a rollback that started later was faster.
    """
    if card is not None:
        return roll_back_by_card(
            card, why, workload=workload, run_id=run_id, event=event, accepted=accepted
        )
    try:
        ledger = open_ledger()
    except Unavailable as error:
        silence: Unavailable | psycopg.Error = error
    else:
        try:
            with ledger:
                limit = f"{LEDGER_SECONDS}s"
                ledger.execute("SELECT set_config('statement_timeout', %s, false)", [limit])
                done = roll_back(
                    ledger,
                    workload,
                    why,
                    holder=holder,
                    run_id=run_id,
                    event=event,
                    wait_s=wait_s,
                    now=now,
                    tell=tell,
                )
                take_in_where_possible(ledger, tell)
                with suppress(psycopg.Error):  # it is done: only the copy of the head is missing
                    keep_head(ledger)
                return done
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            silence = error
    said = silence.what if isinstance(silence, Unavailable) else f"the ledger hangs: {silence}"
    first = said.strip().splitlines()[0].rstrip(".")
    here = card_path(workload)
    if not here.is_file():
        raise Unavailable(
            f"{first}; and this machine has no rollback card {here}.",
            kept="all weights.",
            remedy="say it again in the folder where the stack was started, or with QAFILA_HOME or "
            "QAFILA_LEDGER_URL set. Without a ledger: a card lies beside the router's files as "
            f"rollback-card-{workload}.json: qafila rollback {workload} --card FILE",
        ) from silence
    tell(f"{first}; going back by the card {here}.")
    return roll_back_by_card(here, why, workload=workload, run_id=run_id, event=event)
