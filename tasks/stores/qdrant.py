"""Qdrant 1.16 or newer: one collection a generation, the checkpoint after the confirmed points.

What is guaranteed, and what is not. Qdrant has no transaction over points and checkpoint, so order
and conditions do the work:

- A checkpoint never runs ahead of its points: every request waits until it is applied, and only
  then does the checkpoint move. A process that dies in between leaves points that the next one
  writes again. That is harmless: ids are derived from source key and chunk number, so a point
  written twice is one point.
- A worker whose shard was taken cannot move the checkpoint: the move is conditional on its epoch.
- Nor can it undo newer work. Every point carries the rank of its writer (the shard's epoch; live
  sync stands above all shards), and an update touches a point only where no higher rank has
  written. Whatever order requests arrive in, the highest rank stands.
- Not guaranteed: a condition cannot hold back a point that is not there. The request of at most
  256 points that was on its way when a shard was taken can still add points. The new owner writes
  the same ids over them, unless their rows were deleted from the source in between. Such a point
  is found by the comparison at the end, as one too many.
- Not guaranteed: a server that loses power may forget what it confirmed. The points are counted
  against the checkpoints before the index is built, and compared one by one afterwards.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
from qdrant_client import QdrantClient, models

from qafila.core.admission import limits_of
from qafila.core.corpus import PgvectorSource, QdrantTarget
from qafila.core.fingerprint import chunk_id_text
from qafila.errors import BackfillHalted, Refused
from tasks.sources.port import Key
from tasks.stores.filtering import ValueTally, in_part
from tasks.stores.pgvector_raw import RawSource
from tasks.stores.port import (
    Checkpoint,
    Chunk,
    Effort,
    Hit,
    Holds,
    Part,
    Place,
    Rejected,
    SyncMark,
    Vectors,
    Where,
)
from tasks.stores.qdrant_faults import NOTHING, asking_qdrant, require_completed
from tasks.stores.qdrant_index import HELD_BACK, build_hnsw, has_no_graph, problems_of_index
from tasks.stores.qdrant_marks import Marks
from tasks.stores.qdrant_raw import read_ahead
from tasks.stores.qdrant_witness import PointWitness, chunk_of

OLDEST = (1, 16)
_BATCH_POINTS, _BATCH_BYTES = 256, 16 * 2**20  # a server takes 32 MB a request, unless told other
_FLOAT_BYTES, _POINT_BYTES = 22, 500  # in JSON; the second for payload beside the text
_PAGE = 1000
_MOST_DRAWN = 50_000
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SYNC_RANK = 2**40  # live sync stands above every epoch of a shard


class QdrantStore(PointWitness):
    """One generation in a Qdrant collection; also in the client's local mode."""

    def __init__(
        self, client: QdrantClient, place: Place, settings: QdrantTarget | None = None
    ) -> None:
        self._client = client
        self._place = place
        self._settings = settings or QdrantTarget(kind="qdrant", block="unnamed")
        self._marks = Marks(client, place)
        self._drawn: dict[Part, list[str]] = {}

    def problems(self) -> list[str]:
        with asking_qdrant("asking for its version"):
            version = self._client.info().version
        numbers = re.match(r"v?(\d+)\.(\d+)", version)
        if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
            return [
                f"Qdrant {version} has no conditional updates, so a worker whose shard was taken "
                "could overwrite newer points: update the server to 1.16 or newer"
            ]
        return self._shape_problems()

    def _shape_problems(self) -> list[str]:
        name = self._place.name
        with asking_qdrant(f"looking at {name}"):
            if not self._client.collection_exists(name):
                return []
            vectors = self._client.get_collection(name).config.params.vectors
        wanted = f"one unnamed vector of {self._place.dimensions} dimensions under Dot"
        if not isinstance(vectors, models.VectorParams):
            return [f"collection {name} is there with named vectors, not {wanted}: delete it"]
        if (vectors.size, vectors.distance) != (self._place.dimensions, models.Distance.DOT):
            return [
                f"collection {name} is there with {vectors.size} dimensions under "
                f"{vectors.distance}, not {wanted}: delete it"
            ]
        return []

    def prepare(self) -> None:
        name = self._place.name
        with asking_qdrant(f"creating {name}"):
            if not self._client.collection_exists(name):
                self._client.create_collection(
                    name,
                    vectors_config=models.VectorParams(
                        # vectors are unit vectors, so this is the cosine; under COSINE, Qdrant
                        # would normalise them anew and not give back what was written
                        size=self._place.dimensions,
                        distance=models.Distance.DOT,
                    ),
                    hnsw_config=HELD_BACK,
                    # the rank is asked of the points of one batch only: an index on it would
                    # cost a third of the load and find nothing faster
                    strict_mode_config=models.StrictModeConfig(unindexed_filtering_update=True),
                )
            with _local_mode_quiet():
                for field in ("acl", "source_key"):  # payload indexes come before points
                    self._client.create_payload_index(
                        name, field, models.PayloadSchemaType.KEYWORD, wait=True
                    )
        self._marks.prepare()

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        return self._marks.claim(shard, epoch)

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        self._marks.require(checkpoint)
        for number, part in enumerate(_batches(chunks, self._place.dimensions)):
            if number:  # asked anew before each request, so that one at most comes too late
                self._marks.require(checkpoint)
            self._upsert(chunks[part], vectors[part], checkpoint.epoch)
        self._marks.move(checkpoint)

    def copy_from(
        self,
        source: psycopg.Connection[Any],
        settings: PgvectorSource,
        high: Key | None,
        checkpoint: Checkpoint,
        batch_rows: int,
        set_aside: Callable[[Sequence[Rejected]], None],
        *,
        low: Key | None = None,
        on_batch: Callable[[Checkpoint], None] = lambda _: None,
    ) -> Checkpoint:
        """Write as ``write`` does; the next batch is read while this one is written."""
        place, mark = self._place, checkpoint
        if mark.finished:
            return mark
        raw = RawSource(
            source, settings, fingerprint=place.fingerprint, generation=place.generation,
            vector_type="vector", limits=limits_of(self._settings, place.dimensions),
        )  # fmt: skip
        begin = mark.last_key or low
        batches = read_ahead(raw, place.dimensions, begin, high, batch_rows)
        with closing(batches):
            for batch in batches:
                if batch.passed.rejected:
                    set_aside(batch.passed.rejected)
                mark = replace(
                    mark,
                    last_key=batch.passed.last_key or mark.last_key or low,
                    rows=mark.rows + batch.passed.rows,
                    chunks=mark.chunks + batch.passed.chunks,
                    finished=batch.passed.finished,
                )
                self.write(batch.chunks, batch.vectors, mark)
                on_batch(mark)
        return mark

    def claim_sync(self, epoch: int) -> SyncMark:
        return self._marks.claim_sync(epoch)

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        self._marks.require_sync(mark)
        rank = _SYNC_RANK + mark.epoch
        new = {str(c.id) for c in chunks}
        gone = [i for i in self._ids_of(source_keys) if i not in new]
        for part in _batches(chunks, self._place.dimensions):
            self._upsert(chunks[part], vectors[part], rank)
        for start in range(0, len(gone), _PAGE):
            self._delete(gone[start : start + _PAGE], rank)
        self._marks.move_sync(mark)

    def build_index(self) -> None:
        """Count the points against the checkpoints, then have them indexed and wait for it."""
        confirmed, synced = self._marks.confirmed_chunks()
        there = self.count()
        if there < confirmed and not synced:  # live sync may have deleted some, and rightly
            raise BackfillHalted(
                f"Qdrant confirmed {confirmed} points of {self._place.name} and holds {there}: "
                f"{confirmed - there} were accepted and are gone.",
                kept=f"{there} points and all checkpoints; no index was built.",
                remedy="see the server's log and its disk, then run the backfill again: "
                "its comparison names the rows, and loads them anew.",
            )
        build_hnsw(
            self._client,
            self._place.name,
            self._settings,
            wait=timedelta(minutes=self._settings.index_minutes),
        )

    def count(self) -> int:
        with asking_qdrant(f"counting {self._place.name}"):
            return self._client.count(self._place.name, exact=True).count

    def repeated(self) -> int:
        """A second copy can only stand under an id that is not derived from its key."""
        repeated: int = 0
        strangers: set[str] = set()
        for points in self._pages(None, with_payload=["source_key", "chunk_number"]):
            derived = {
                str(p.id): chunk_id_text(p.payload["source_key"], p.payload["chunk_number"])
                for p in points
                if p.payload
            }
            foreign = [own for own_id, own in derived.items() if own_id != own]
            if foreign:
                with asking_qdrant("looking for repeated points"):
                    found = self._client.retrieve(self._place.name, foreign, with_payload=False)
                there = {str(p.id) for p in found}
                for own in foreign:
                    repeated += own in there or own in strangers
                    strangers.add(own)
        return repeated

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        fields = ["source_key", "chunk_number", "text_digest", "fingerprint"]
        return {
            (p["source_key"], p["chunk_number"]): (
                bytes.fromhex(p["text_digest"]),
                p["fingerprint"],
            )
            for points in self._pages(_of_documents(source_keys), with_payload=fields)
            for p in (point.payload or {} for point in points)
        }

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        for points in self._pages(None, with_payload=True, with_vectors=True, limit=batch_rows):
            chunks = [chunk_of(p.payload or {}) for p in points]
            yield chunks, np.array([p.vector for p in points], np.float32)

    def search(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None = None,
        effort: Effort | None = None,
    ) -> list[Hit]:
        ef = effort.ef_search if effort else self._settings.ef_search
        return self._nearest(vector, k, groups, where, models.SearchParams(hnsw_ef=ef))

    def search_exact(
        self, vector: Vectors, k: int, groups: Sequence[str], where: Where | None = None
    ) -> list[Hit]:
        return self._nearest(vector, k, groups, where, models.SearchParams(exact=True))

    def scans(self, groups: Sequence[str], where: Where | None = None) -> bool:
        return has_no_graph(self._client, self._place.name)

    def index_problems(self) -> list[str]:
        return list(problems_of_index(self._client, self._place.name))

    def values(self) -> Mapping[Holds, int]:
        tally = ValueTally()
        for points in self._pages(None, with_payload=["metadata"]):
            for point in points:
                tally.add((point.payload or {}).get("metadata") or {})
        return tally.values()

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        chosen = self._filter(groups, where)
        with asking_qdrant(f"counting in {self._place.name}"):
            return self._client.count(self._place.name, chosen, exact=True).count

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        chosen = models.Filter(must=[_named(source_keys), _readable_by(groups)])
        fields = ["source_key", "chunk_number"]
        return {
            (p.payload["source_key"], p.payload["chunk_number"])
            for points in self._pages(chosen, with_payload=fields)
            for p in points
            if p.payload
        }

    def removal(self) -> list[str]:
        with asking_qdrant(f"looking for {self._place.name}"):
            names = (self._marks.collection, self._place.name)
            return [f"DELETE /collections/{n}" for n in names if self._client.collection_exists(n)]

    def drop(self) -> None:
        with asking_qdrant(f"deleting {self._place.name}"):
            self._client.delete_collection(self._marks.collection)
            self._client.delete_collection(self._place.name)

    def _upsert(self, chunks: Sequence[Chunk], vectors: Vectors, rank: int) -> None:
        doing = f"writing {len(chunks)} points to {self._place.name}"
        kept = (
            "everything up to the last checkpoint; points of this batch that did arrive are "
            "written again, over themselves."
        )
        if vectors.shape != (len(chunks), self._place.dimensions) or not np.isfinite(vectors).all():
            raise BackfillHalted(
                f"vectors of shape {vectors.shape} with NaN, infinity or another length came for "
                f"{len(chunks)} chunks of {self._place.name}.",
                kept=kept,
                remedy="see what the embedder answered.",
            )
        points = models.Batch.model_construct(  # checked above: a second look costs as much again
            ids=[chunk_id_text(c.source_key, c.number) for c in chunks],
            vectors=vectors.tolist(),
            payloads=[self._payload(c, rank) for c in chunks],
        )
        with asking_qdrant(doing, kept=kept):
            result = self._client.upsert(
                self._place.name, points, wait=True, update_filter=_not_above(rank)
            )
        require_completed(result, doing, kept=kept)

    def _delete(self, ids: Sequence[str], rank: int) -> None:
        doing = f"deleting {len(ids)} points of {self._place.name}"
        chosen = models.Filter(
            must=[models.HasIdCondition(has_id=[*ids])], must_not=_not_above(rank).must_not
        )
        with asking_qdrant(doing, kept="the mark of live sync: it is done again."):
            result = self._client.delete(self._place.name, points_selector=chosen, wait=True)
        require_completed(result, doing, kept="the mark of live sync: it is done again.")

    def _nearest(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None,
        how: models.SearchParams,
    ) -> list[Hit]:
        chosen = self._filter(groups, where)
        with _local_mode_quiet(), asking_qdrant(f"searching {self._place.name}"):
            answer = self._client.query_points(
                self._place.name,
                query=np.asarray(vector, np.float32).tolist(),
                limit=k,
                query_filter=chosen,
                search_params=how,
                with_payload=["source_key", "chunk_number"],
            )
        return [
            Hit((p.payload or {})["source_key"], (p.payload or {})["chunk_number"], p.score)
            for p in answer.points
        ]

    def _filter(self, groups: Sequence[str], where: Where | None) -> models.Filter:
        must: list[Any] = [_readable_by(groups)]
        if isinstance(where, Holds):
            must.append(_equals(f"metadata.{_quoted(where.field)}", where.value))
        elif where is not None:
            must.append(models.HasIdCondition(has_id=[*self._ids_in(where)]))
        return models.Filter(must=must)

    def _ids_in(self, part: Part) -> list[str]:
        """Return the points of a part, as ids: Qdrant has no filter that draws by itself.

        Raises:
            Refused: they are too many for a request.
        """
        if part not in self._drawn:
            found: list[str] = []
            for points in self._pages(None, with_payload=["source_key"]):
                found += [
                    str(p.id)
                    for p in points
                    if p.payload and in_part(part, p.payload["source_key"])
                ]
                if len(found) > _MOST_DRAWN:
                    raise Refused(
                        f"{part} are more than {_MOST_DRAWN} points of {self._place.name}, too "
                        "many to name in a request.",
                        kept=NOTHING,
                        remedy="keep a metadata field that leaves as few, and filter by that.",
                    )
            self._drawn[part] = found
        return self._drawn[part]

    def _ids_of(self, source_keys: Sequence[str]) -> list[str]:
        pages = self._pages(_of_documents(source_keys), with_payload=False)
        return [str(point.id) for points in pages for point in points]

    def _pages(
        self, chosen: models.Filter | None, *, limit: int = _PAGE, **what: Any
    ) -> Iterator[list[models.Record]]:
        offset = None
        while True:
            with asking_qdrant(f"reading {self._place.name}"):
                points, offset = self._client.scroll(
                    self._place.name, chosen, limit=limit, offset=offset, **what
                )
            if points:
                yield points
            if offset is None:
                return

    def _payload(self, c: Chunk, rank: int) -> dict[str, Any]:
        return {
            "source_key": c.source_key,
            "chunk_number": c.number,
            "start_offset": c.start,
            "end_offset": c.end,
            "title": c.title,
            "text": c.text,
            "text_digest": c.digest.hex(),
            "acl": list(c.acl),
            "metadata": dict(c.metadata),
            "fingerprint": self._place.fingerprint,
            "generation": self._place.generation,
            "writer_rank": rank,
        }


def _batches(chunks: Sequence[Chunk], dimensions: int) -> Iterator[slice]:
    """Yield slices of at most 256 chunks that fit into one request; a huge chunk goes alone."""
    start = size = 0
    for position, chunk in enumerate(chunks):
        more = dimensions * _FLOAT_BYTES + len(chunk.text.encode(errors="replace")) + _POINT_BYTES
        full = position - start == _BATCH_POINTS or size + more > _BATCH_BYTES
        if position > start and full:
            yield slice(start, position)
            start, size = position, 0
        size += more
    if len(chunks) > start:
        yield slice(start, len(chunks))


def _not_above(rank: int) -> models.Filter:
    """Match points that no higher rank has written; an update changes only those."""
    above = models.FieldCondition(key="writer_rank", range=models.Range(gt=rank))
    return models.Filter(must_not=[above])


def _of_documents(source_keys: Sequence[str]) -> models.Filter:
    return models.Filter(must=[_named(source_keys)])


def _named(source_keys: Sequence[str]) -> models.FieldCondition:
    match = models.MatchAny(any=[*source_keys])
    return models.FieldCondition(key="source_key", match=match)


def _quoted(field: str) -> str:
    """Return one step of a path into the payload: a dot in a name is no step deeper."""
    return field if _PLAIN.fullmatch(field) else f'"{field}"'


def _readable_by(groups: Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key="acl", match=models.MatchAny(any=[*groups]))


def _equals(field: str, value: str | int | bool) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


@contextmanager
def _local_mode_quiet() -> Iterator[None]:
    """Local mode warns that indexes and search settings do nothing there: expected, so silent."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(?i:local).*", category=UserWarning)
        yield
