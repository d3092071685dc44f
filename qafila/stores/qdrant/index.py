"""Qdrant's HNSW index: held back while loading, asked for afterwards, waited for with a deadline.

While ``m`` is 0 the optimizer builds no graph (and, other than with ``indexing_threshold: 0``,
still moves full segments to disk, so memory stays flat). Segments below the indexing threshold
never get a graph: Qdrant looks at every one of their vectors, exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant
from qafila.errors import BackfillHalted
from qafila.workload.corpus import QdrantTarget

HELD_BACK = models.HnswConfigDiff(m=0)
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
_THRESHOLD_KB = 20_000  # where the server does not say its own


def build_hnsw(
    client: QdrantClient,
    collection: str,
    settings: QdrantTarget,
    *,
    wait: timedelta,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Let Qdrant index what was loaded; return when it is done. Harmless to repeat.

    Raises:
        BackfillHalted: the optimizer failed, or the deadline passed; names what is not indexed.
        Unavailable: the server does not answer; the index goes on being built without us.
    """
    kept = "all points: they are found by looking at every one, slowly."
    deadline, pause = time.monotonic() + wait.total_seconds(), _FIRST_PAUSE_SECONDS
    with asking_qdrant(f"starting the index of {collection}", kept=kept):
        client.update_collection(
            collection,
            hnsw_config=models.HnswConfigDiff(m=settings.m, ef_construct=settings.ef_construction),
        )
    while True:
        with asking_qdrant(f"waiting for the index of {collection}", kept=kept):
            info = client.get_collection(collection)
            failure = _failure(info)
            if failure is None and info.status == models.CollectionStatus.GREEN:
                break
            if info.status == models.CollectionStatus.GREY:  # pending, until somebody writes
                client.update_collection(
                    collection, optimizers_config=models.OptimizersConfigDiff()
                )
        if failure is not None:
            raise BackfillHalted(
                f"Qdrant could not index {collection}: {failure}; {_unindexed(info)}.",
                kept=kept,
                remedy="give the server what it lacks (see its log), then run it again.",
            )
        if time.monotonic() >= deadline:
            raise BackfillHalted(
                f"Qdrant is still {info.status} after {wait}: {_unindexed(info)} in {collection}.",
                kept=f"{kept} Indexing goes on in the server.",
                remedy="raise target.index_minutes, or give the server more cores and memory, "
                "then run it again: it only waits.",
            )
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    _require_graph(client, collection, info, kept)


def problems_of_index(client: QdrantClient, collection: str) -> Iterator[str]:
    """Yield why the index does not serve every point, each with its remedy; none in local mode."""
    if is_local(client):
        return
    with asking_qdrant(f"looking at the index of {collection}"):
        info = client.get_collection(collection)
    again = "run the backfill again, which asks for the index and waits for it"
    if info.config.hnsw_config.m == 0:
        yield (
            f"the index of {collection} is held back (m is 0), so every search looks at all "
            f"{info.points_count or 0} points: {again}"
        )
    elif (failure := _failure(info)) is not None:
        yield f"{collection}: {failure}; {_unindexed(info)}: see the server's log, then {again}"
    elif info.status != models.CollectionStatus.GREEN:
        yield f"{collection} is still {info.status}: {_unindexed(info)}; wait, or {again}"
    elif _too_many_unindexed(info):
        yield (
            f"Qdrant calls {collection} ready, and {_unindexed(info)}: see "
            "max_optimization_threads and indexing_threshold of the server, then " + again
        )
    if "acl" not in (info.payload_schema or {}):
        yield (
            f"{collection} has no payload index on acl, so a search by readers finds less and is "
            "slow: create a keyword index on it"
        )


def has_no_graph(client: QdrantClient, collection: str) -> bool:
    """Return whether every search looks at every vector that its filter leaves."""
    if is_local(client):
        return True
    with asking_qdrant(f"looking at the index of {collection}"):
        return not client.get_collection(collection).indexed_vectors_count


def _failure(info: models.CollectionInfo) -> str | None:
    """Return what the server says went wrong: accepted, and failed later."""
    if isinstance(info.optimizer_status, models.OptimizersStatusOneOf1):
        return f"optimizer error: {info.optimizer_status.error}"
    if info.status == models.CollectionStatus.RED:
        return "its status is red: an operation failed after it was accepted"
    return None


def _unindexed(info: models.CollectionInfo) -> str:
    indexed, points = info.indexed_vectors_count or 0, info.points_count or 0
    return f"{max(0, points - indexed)} of {points} vectors are not indexed"


def _require_graph(
    client: QdrantClient, collection: str, info: models.CollectionInfo, kept: str
) -> None:
    """Refuse a green that means: nobody will ever index this (no optimizer thread, say)."""
    if not is_local(client) and _too_many_unindexed(info):
        raise BackfillHalted(
            f"Qdrant calls {collection} ready, and {_unindexed(info)}.",
            kept=kept,
            remedy="see max_optimization_threads and indexing_threshold of the server and of "
            "this collection, then run it again.",
        )


def _too_many_unindexed(info: models.CollectionInfo) -> bool:
    """Each segment may keep as many vectors without a graph as fit under the threshold."""
    if not isinstance(info.config.params.vectors, models.VectorParams):
        return False
    threshold_kb = info.config.optimizer_config.indexing_threshold or _THRESHOLD_KB
    allowed = info.segments_count * threshold_kb * 1024 / (4 * info.config.params.vectors.size)
    return (info.points_count or 0) - (info.indexed_vectors_count or 0) > allowed


def is_local(client: QdrantClient) -> bool:
    """Return whether the client searches by brute force in this process, without any index."""
    options = client.init_options
    return options.get("location") == ":memory:" or options.get("path") is not None
