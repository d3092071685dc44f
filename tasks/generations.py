"""Open a generation: what its fingerprint is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from qafila.core import chunking
from qafila.core.corpus import Embedder, WordLlamaEmbedder
from qafila.core.fingerprint import Fingerprint, canonical_json
from qafila.core.phases import Phase
from qafila.core.workload import Workload
from tasks.embedders.wordllama import MODEL
from tasks.ledger import Connection, Generation, newest_generation, open_generation


def fingerprint_of(workload: Workload) -> Fingerprint:
    """Return what decides the content of a generation of this workload, without loading a model."""
    corpus = workload.corpus
    model, revision = _model_of(corpus.embedder)
    return Fingerprint(
        source=canonical_json(corpus.source.model_dump()).decode(),
        chunker=canonical_json(corpus.chunking.model_dump()).decode(),
        chunker_version=chunking.VERSION,
        model=model,
        model_revision=revision,
        dimensions=corpus.embedder.dimensions,
        distance="cosine",
        normalised=True,
    )


def _model_of(embedder: Embedder) -> tuple[str, str]:
    """Return model and revision of an embedder, as it names them itself."""
    if isinstance(embedder, WordLlamaEmbedder):
        return MODEL, f"{version('wordllama')}{'+lower' if embedder.lowercase else ''}"
    return embedder.model, embedder.revision


def open_for(ledger: Connection, workload: Workload) -> Generation:
    """Return the workload's generation in migration; open the next when the newest has ended."""
    return open_generation(ledger, workload, fingerprint_of(workload))


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
