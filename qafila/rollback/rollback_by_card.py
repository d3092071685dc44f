"""Bring a workload back by its rollback card, while no ledger answers; nothing of it is lost."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from qafila.errors import BadInput, QafilaError
from qafila.ledger.connections import open_postgres
from qafila.rollback.card import Card, read_card
from qafila.rollback.rollback import RolledBack
from qafila.rollback.spool import Spooled, spool
from qafila.rollback.traffic import PROOF_SECONDS, descend, put_pointer_back, reaches_candidate
from qafila.routers.highest_weight import read_highest_weight
from qafila.routers.lookup import router_from
from qafila.routers.port import Router
from qafila.stores.pointer_row import read_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.phases import Event
from qafila.workload.verdict import Verdict

# A ledger that somebody else still reaches goes on counting in ones: it does not get this far, so
# that the weights of this rollback are never overwritten under the same epoch.
STEP = 1000


def roll_back_by_card(
    path: Path,
    why: str,
    *,
    workload: str | None = None,
    run_id: str | None = None,
    event: Event = Event.ROLLBACK,
    proof_seconds: float = PROOF_SECONDS,
    accepted: str | None = None,
) -> RolledBack:
    """Give the baseline all traffic by what the card says, prove it, and note it in the spool.

    Idempotent: on the baseline already, nothing is changed and nothing is noted. The phase and the
    lease follow when a ledger answers again (``take_in_spool``). ``accepted`` is as in
    ``read_card``.

    Raises:
        Refused: there is no card, or its seal does not hold.
        BadInput: it is no card, or one of another workload than ``workload``.
        StaleEpoch: somebody newer wrote meanwhile.
        Unavailable: the router's configuration cannot be read or written.
    """
    card = read_card(path, accepted=accepted)
    name = card.workload.name
    if workload is not None and name != workload:
        raise BadInput(f"{path} is the card of {name}, not of {workload}.")
    router = router_from(card.workload, card.find)
    try:
        return _roll_back(card, router, why, run_id, event, proof_seconds)
    finally:
        router.close()


def give_promoted_its_weight(card: Card, router: Router, why: str) -> str:
    """Write weight 100 again for a generation that its target says serves; return a sentence.

    For a drill beside it whose process and ledger died: the promotion was proven, and stays. Noted
    in the spool as evidence; no phase moves by it.

    Raises:
        StaleEpoch: somebody newer wrote meanwhile.
        Unavailable: the router did not take it; its file holds it.
    """
    name = card.workload.name
    before = read_highest_weight(router)
    epoch = max(card.epoch, before.epoch) + STEP
    taken_s = router.acknowledged(router.write(100, epoch=epoch, why=why))
    sentence = (
        f"{name}: generation {card.generation}, which is promoted, has its weight again, 100 "
        f"instead of {before.candidate_percent} %, acknowledged in {taken_s * 1000:.0f} ms."
    )
    body = {
        "by": "card",
        "why": why,
        "from_weight": before.candidate_percent,
        "final_weight": 100,
        "epoch": epoch,
        "acknowledged_s": round(taken_s, 4),
        "card": {"digest": card.digest},
    }
    _note(card, epoch, Verdict.PASS, f"{sentence} Why: {why}", body, Event.ROLLBACK, moved=False)
    return sentence


def _roll_back(
    card: Card,
    router: Router,
    why: str,
    run_id: str | None,
    event: Event,
    proof_seconds: float,
) -> RolledBack:
    name = card.workload.name
    before = read_highest_weight(router)
    target = card.workload.corpus.target
    epoch = max(card.epoch, before.epoch) + STEP

    def put_back() -> str | None:
        if not isinstance(target, PgvectorTarget):
            return None
        found = card.find(target.block)
        problem = put_pointer_back(
            found, target.block, name, [card.generation], epoch, ledger=card.ledger
        )
        if problem is not None and card.ledger is not None:
            problem += f" The card is of ledger {card.ledger}; by the ledger that owns the target: "
            problem += f"qafila rollback {name}"
        return problem

    weighs = before.candidate_percent or before.twin_percent or before.mirror_percent
    idle = not weighs and not _pointer_names(card)
    if idle and not reaches_candidate(router, proof_seconds):
        return RolledBack(
            name,
            (),
            True,
            0,
            0,
            0.0,
            None,
            0,
            0,
            Verdict.PASS,
            f"{name} is on its baseline already, by the router and the card.",
            why,
            epoch=before.epoch,
            by="card",
        )
    by_name = isinstance(target, PgvectorTarget) and target.column is not None
    down = descend(
        router,
        name,
        epoch=epoch,
        why=why,
        put_back=put_back,
        beside=by_name,
        proof_seconds=proof_seconds,
    )
    said = (
        f" Done by the card of {card.written_at:%Y-%m-%d %H:%M} UTC, without the ledger."
        f"{f' The card is {card.note}.' if card.note else ''}"
    )
    outcome = RolledBack.by_descent(
        down,
        name,
        [card.generation],
        from_weight=before.candidate_percent,
        epoch=epoch,
        why=why,
        said=said,
        by="card",
    )
    _note(
        card,
        epoch,
        down.verdict,
        f"{outcome.sentence} Why: {why}",
        {
            **outcome.body(),
            "card": {
                "digest": card.digest,
                "written_at": card.written_at.isoformat(),
                "note": card.note,
            },
        },
        event,
        moved=down.problem is None,
        run_id=run_id,
    )
    return outcome


def _pointer_names(card: Card) -> bool:
    """Say whether the card's generation serves or is on trial, or that cannot be known."""
    target = card.workload.corpus.target
    if not isinstance(target, PgvectorTarget):
        return False
    try:
        with open_postgres(card.find(target.block), target.block) as database:
            now = read_alias(database, card.workload.name)
    except (QafilaError, psycopg.Error):
        return True
    return now is not None and card.generation in (now.generation, now.trial)


def _note(
    card: Card,
    epoch: int,
    verdict: Verdict,
    sentence: str,
    body: dict[str, Any],
    event: Event,
    *,
    moved: bool,
    run_id: str | None = None,
) -> None:
    """Keep for the ledger what was done, before anybody is told."""
    spool(
        Spooled(
            id=uuid.uuid4().hex,
            workload=card.workload.name,
            generation=card.generation,
            fingerprint=card.fingerprint,
            epoch=epoch,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            run_id=run_id,
            event=event.value,
            moved=moved,
            verdict=verdict.value,
            sentence=sentence,
            body=body,
        )
    )
