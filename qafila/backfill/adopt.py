"""Say which model made the column that an application searched in before us."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qafila.backfill.generations import open_for, preview_for
from qafila.embedders.careful import embed_carefully
from qafila.endpoints import open_embedder, open_store, reach_of
from qafila.errors import BadInput, Refused
from qafila.ledger.evidence import record_evidence
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import (
    Connection,
    Generation,
    generation_of,
    ledger_identity,
    move_phase,
    newest_generation,
    read_workload,
)
from qafila.live_sync.lifecycle import ensure_capture
from qafila.stores.column.store import ColumnStore
from qafila.stores.pointer_row import move_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.phases import Event, Phase

SAMPLE_ROWS = 20
SAME = 0.99  # cosine; two runs of one model differ by rounding, two models by far more


@dataclass(frozen=True)
class Adopted:
    """What was adopted. ``likeness`` is the median cosine to the model's own vectors of the texts
    of ``compared`` rows; None when no row has a vector yet.
    """

    generation: Generation
    compared: int
    likeness: float | None


def adopt_column(ledger: Connection, name: str, by: str) -> Adopted:
    """Take the application's own column in as a generation, made by the model the workload names.

    The pointer row names it from then on, live sync feeds it where the workload asks for that, and
    a rollback of the next generation returns to it. Writes no vector. Killed halfway, run it again.

    Raises:
        BadInput: the table cannot be swapped; names every problem.
        Refused: a generation has served already or is on its way, nobody is named, or the model
            makes other vectors of the rows' texts.
        Unavailable: the table was never free for a moment.
    """
    if len(by.strip()) < 2:
        raise Refused("adopting needs the name of who decides.", remedy="add --by NAME")
    workload, _ = read_workload(ledger, name)
    target = workload.corpus.target
    if not isinstance(target, PgvectorTarget) or target.column is None:
        raise Refused(
            f"{name} keeps its generations in tables of their own: there is no column to adopt.",
            remedy="set corpus.target.column, and apply the workload.",
        )
    _require_none_served(ledger, name)
    with held_lease(ledger, name, "qafila adopt") as heart:
        likeness = _compare(ledger, workload, preview_for(ledger, workload))
        generation = open_for(ledger, workload)
        ensure_capture(ledger, workload, generation)  # before anything may rely on its being fed
        with open_store(ledger, workload, generation) as store:
            assert isinstance(store, ColumnStore)
            store.adopt()
            ours = ledger_identity(ledger)
            move_alias(store.connection, name, generation.number, heart.epoch, ledger=ours)
        median = float(np.median(likeness)) if len(likeness) else None
        with ledger.transaction():
            generation = move_phase(ledger, generation, Event.ADOPT)
            record_evidence(
                ledger,
                "adopt",
                f"column {target.column.column} of {target.column.table} adopted as generation "
                f"{generation.number} by {by.strip()}",
                workload=name,
                generation=generation.number,
                body={"by": by.strip(), "compared": len(likeness), "likeness": median},
            )
    return Adopted(generation, len(likeness), median)


def _require_none_served(ledger: Connection, name: str) -> None:
    newest = newest_generation(ledger, name)
    for number in range(1, newest.number + 1 if newest else 1):
        phase = Phase(generation_of(ledger, name, number).phase)
        if phase not in (Phase.REGISTERED, Phase.ABANDONED, Phase.ROLLED_BACK):
            way = f"abandon {name} --why TEXT"
            if phase in (Phase.CANARY, Phase.PROMOTED):
                way = f"rollback {name}"
            elif phase in (Phase.SETTLED, Phase.CLEANED):
                way = f"status {name}"
            raise Refused(
                f"generation {number} of {name} is {phase}: only a column that serves as it did "
                "before us can be adopted.",
                kept="everything.",
                remedy=f"qafila {way}",
            )


def _compare(ledger: Connection, workload: Workload, generation: Generation) -> NDArray[np.float32]:
    """Return how like the column's vectors are to those that the model makes; cosine a row.

    Raises:
        Refused: they are not the same model's.
    """
    with open_store(ledger, workload, generation) as store:
        problems = store.problems()
        if problems:
            raise BadInput(
                f"the column of {workload.name} cannot be adopted:",
                problems,
                remedy="mend these, then again.",
            )
        assert isinstance(store, ColumnStore)
        texts, stored = store.sample_own(SAMPLE_ROWS)
    if not texts:
        return np.zeros(0, np.float32)
    reach = reach_of(ledger, workload)
    with open_embedder(None, workload, reach, generation=generation.number) as embedder:
        made = embed_carefully(embedder, texts).vectors
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(made, axis=1)
    cosines = np.sum(stored * made, axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    if np.median(cosines) < SAME:
        raise Refused(
            f"{workload.corpus.embedder.kind} ({generation.fingerprint}) makes other vectors of "
            f"{len(texts)} rows than the column holds: their cosine is {np.median(cosines):.2f} in "
            "the median.",
            kept="the column as it is; nothing was adopted.",
            remedy="name in corpus.embedder and corpus.source.text what the application embeds "
            "with and what it embeds, apply that; then again.",
        )
    return np.asarray(cosines, np.float32)
