"""Open a generation: what its fingerprint is made of."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

import psycopg

from qafila.chunking import chunks as chunking
from qafila.chunking.tokens import tokenizer_name
from qafila.embedders.mapped import mapped_part
from qafila.embedders.wordllama import MODEL
from qafila.errors import QafilaError, Refused
from qafila.ledger.ledger import (
    Connection,
    Generation,
    fingerprint_body,
    newest_generation,
    open_generation,
    read_workload,
)
from qafila.sql import statement
from qafila.workload.corpus import (
    Embedder,
    PgvectorSource,
    PgvectorTarget,
    QdrantSource,
    WordLlamaEmbedder,
)
from qafila.workload.fingerprint import Fingerprint, VectorPart, canonical_json
from qafila.workload.model import Workload
from qafila.workload.phases import Phase


def fingerprint_of(workload: Workload, map_digest: str | None = None) -> Fingerprint:
    """Return what decides the content of a generation of this workload, without loading a model.

    ``map_digest`` names the map of a bridge.

    Raises:
        Refused: the workload is a bridge and no map is named.
    """
    corpus = workload.corpus
    model, revision = model_of(corpus.embedder)
    if corpus.bridge is not None:
        if map_digest is None:
            raise Refused(
                f"{workload.name} is a bridge, and its map is not fitted yet.",
                kept="everything; nothing was written.",
                remedy=f"qafila bridge {workload.name}",
            )
        assert isinstance(corpus.source, PgvectorSource | QdrantSource)  # the file was checked
        origin, new = corpus.source.vectors, VectorPart(model, revision, 0, True)
        old = VectorPart(origin.model, origin.revision, 0, origin.normalised)
        part = mapped_part(new, old, map_digest)
        model, revision = part.model, part.revision
    return Fingerprint(
        source=canonical_json(corpus.source.model_dump()).decode(),
        chunker=canonical_json(corpus.chunking.model_dump()).decode(),
        chunker_version=chunking.version_of(corpus.chunking, tokenizer_name(corpus.embedder)),
        model=model,
        model_revision=revision,
        dimensions=corpus.embedder.dimensions,
        distance="cosine",
        normalised=True,
    )


def model_of(embedder: Embedder) -> tuple[str, str]:
    """Return model and revision of an embedder, as it names them itself."""
    if isinstance(embedder, WordLlamaEmbedder):
        return MODEL, f"{version('wordllama')}{'+lower' if embedder.lowercase else ''}"
    return embedder.model, embedder.revision


def open_for(ledger: Connection, workload: Workload) -> Generation:
    """Return the workload's generation in migration; open the next when the newest has ended."""
    digest = None if workload.corpus.bridge is None else _newest_map(ledger, workload)
    newest = newest_generation(ledger, workload.name)
    above = 0 if newest is not None and not newest.ended else highest_in_target(ledger, workload)
    return open_generation(ledger, workload, fingerprint_of(workload, digest), above=above)


def highest_in_target(ledger: Connection, workload: Workload) -> int:
    """Return the highest generation that the workload's target has or names; 0 for none.

    Also 0 where the target cannot be asked now. A number that is taken there is then refused by
    the target itself before any row is written.
    """
    from qafila.connections.postgres import connect_postgres
    from qafila.connections.qdrant import connect_qdrant
    from qafila.endpoints import reach_of
    from qafila.stores.pgvector import owner as pgvector_owner
    from qafila.stores.qdrant import owner as qdrant_owner

    try:
        reach = reach_of(ledger, workload)
        if isinstance(workload.corpus.target, PgvectorTarget):
            with connect_postgres(**reach.target) as target:
                return max(pgvector_owner.generations_in(target, workload.name), default=0)
        with closing(connect_qdrant(**reach.target)) as client:
            return max(qdrant_owner.generations_in(client, workload.name), default=0)
    except (QafilaError, psycopg.Error, RuntimeError):  # a folder that another process has open
        return 0


def _newest_map(ledger: Connection, workload: Workload) -> str | None:
    from qafila.connections.postgres import connect_postgres
    from qafila.endpoints import reach_of

    with connect_postgres(**reach_of(ledger, workload).target) as target:
        try:
            row = target.execute(
                statement("cache", "newest_map"), {"workload": workload.name}
            ).fetchone()
        except psycopg.errors.UndefinedTable:  # the target holds nothing of ours yet
            return None
    return None if row is None else str(row[0])


def preview_for(ledger: Connection, workload: Workload) -> Generation:
    """Return the generation that would be filled, without opening it."""
    newest = newest_generation(ledger, workload.name)
    if newest is not None and not newest.ended:
        return newest
    return Generation(
        workload=workload.name,
        number=1 if newest is None else newest.number + 1,
        revision=0,
        fingerprint=fingerprint_of(workload).digest,
        phase=Phase.REGISTERED.value,
        phase_since=datetime.now(UTC),
    )


def meaning_of(ledger: Connection, generation: Generation) -> Workload:
    """Return the workload as it stands, when it still means what this generation holds.

    Raises:
        Refused: it means something else by now; names every difference.
    """
    workload, _ = read_workload(ledger, generation.workload)
    before = fingerprint_body(ledger, generation)
    bridge = workload.corpus.bridge is not None
    now = fingerprint_of(workload, str(before.get("model")).split()[-1] if bridge else None)
    if now.digest == generation.fingerprint:
        return workload
    differences = [
        f"{name.replace('_', ' ')} was {before.get(name)!r} and is {value!r}"
        for name, value in asdict(now).items()
        if before.get(name) != value
    ]
    raise Refused(
        f"generation {generation.number} of {generation.workload} was begun with another meaning: "
        f"{'; '.join(differences)}. Two of them would mix.",
        kept="all rows and checkpoints as they are.",
        remedy=f"apply the former file, or: qafila abandon {generation.workload} --why TEXT",
    )
