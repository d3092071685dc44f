"""An existing Qdrant collection: a point is a chunk that has its vector already.

Qdrant scrolls by point id and knows no other complete order: whole numbers before UUIDs, each in
their own order. Chunks of one document therefore need not stand together.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant
from qafila.errors import BadInput, Refused
from qafila.sources.fields import WrongField, dig, groups_of, metadata_of, text_of
from qafila.sources.payload_paths import any_of, out_of_reach, path_problem, tops_of
from qafila.sources.pgvector import FULL_ROUNDS, MOST_NUMBER, spread
from qafila.sources.port import Key, KeyRange, Piece, Semantics, SourceRow, Volume
from qafila.sources.relation import ranges_of
from qafila.stores.qdrant.index import is_local
from qafila.workload.corpus import QdrantSource as Settings

_PAGE_IDS = 10_000  # ids alone are small
_PAGE_POINTS = 1_000
_SAMPLE_POINTS = 256
_MOST_PROBLEMS = 20
_OFFSETS = ("start_offset", "end_offset")


# of unit vectors; Qdrant's Euclidean score is the distance itself
_COSINE_OF: Mapping[models.Distance, Callable[[float], float]] = {
    models.Distance.COSINE: float,
    models.Distance.DOT: float,
    models.Distance.EUCLID: lambda d: 1 - d * d / 2,
}


class QdrantSource:
    """Reads points by id; the caller owns the client."""

    semantics = Semantics(
        order="the point's id: whole numbers first, then UUIDs, each ascending",
        snapshot="none: Qdrant has no snapshot to read from, so every page shows the points as "
        "they are then; under cosine, vectors come back normalised",
        change="a point that is written before its page is read arrives as it is then, also a new "
        "one; what changes afterwards is found by the comparison at the end",
    )

    def __init__(self, client: QdrantClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    def problems(self) -> list[str]:
        """Return everything that stands in the way of reading it, each with its remedy."""
        name, settings = self._settings.collection, self._settings
        with asking_qdrant(f"looking for the collection {name!r}"):
            if not self._client.collection_exists(name):
                there = [c.name for c in self._client.get_collections().collections]
                return [f"Qdrant has no collection {name!r}; it has: {_listed(there)}"]
        vectors, sparse = self._vectors()
        if settings.vector_name in sparse:
            return [f"the vector {settings.vector_name!r} of {name!r} is sparse: name a dense one"]
        found = vectors.get(settings.vector_name)
        if found is None:
            return [
                f"{name!r} has no vector {settings.vector_name!r}; it has: "
                + _listed([v or "an unnamed one (leave vector_name empty)" for v in vectors])
            ]
        problems = []
        if found.multivector_config is not None:
            problems.append(
                f"the vector {settings.vector_name!r} of {name!r} holds several vectors a point: "
                "name one that holds one"
            )
        if found.distance == models.Distance.COSINE and not settings.vectors.normalised:
            problems.append(
                f"{name!r} is a cosine collection, which normalises what it is given: say "
                "corpus.source.vectors.normalised: true"
            )
        # the title and the metadata are found in whole payloads, so Qdrant is not asked for them
        asked = {s: getattr(settings, s) for s in ("text", "key", "number", "acl")}
        if unasked := [p for s, path in asked.items() if path and (p := path_problem(s, path))]:
            return problems + unasked
        return problems + self._text_problems() + self._key_problems()

    def _text_problems(self) -> list[str]:
        seen, _ = self._page(None, _SAMPLE_POINTS, tops_of(self._settings.text))
        if seen and not any(_has_text(p.payload or {}, self._settings.text) for p in seen):
            return [
                f"none of the first {len(seen)} points of {self._settings.collection!r} has a text "
                f"at {self._settings.text!r}: name the field in corpus.source.text"
            ]
        return []

    def _key_problems(self) -> list[str]:
        """Look at key and groups of every point; on disk, so that memory does not grow."""
        settings = self._settings
        if settings.key is None and settings.number is None and settings.acl is None:
            return []  # the id identifies, and Qdrant keeps ids apart
        named = (settings.key, settings.number, settings.acl)
        fields = [top for f in named if f for top in tops_of(f)]
        wrong: list[str] = []
        with closing(sqlite3.connect("")) as seen:  # an empty name is a file that nobody else sees
            seen.execute("CREATE TABLE chunk (key TEXT, number INTEGER, id TEXT)")
            for page in self._scroll(None, _PAGE_POINTS, fields):
                rows = []
                for point in page:
                    try:
                        key, number = self._place(point)
                        groups_of(point.payload or {}, settings.acl)
                    except WrongField as error:
                        wrong.append(f"point {point.id}: {error}")
                    else:
                        rows.append((_storable(key), number, str(point.id)))
                seen.executemany("INSERT INTO chunk VALUES (?, ?, ?)", rows)
                if len(wrong) > _MOST_PROBLEMS:
                    return [*wrong[:_MOST_PROBLEMS], "there are more points like these"]
            twice = seen.execute(
                "SELECT key, number, min(id), count(*) FROM chunk GROUP BY key, number"
                " HAVING count(*) > 1 LIMIT ?",
                [_MOST_PROBLEMS],
            ).fetchall()
        return wrong + [
            f"{n} points, {first} one of them, are chunk {number} of {key!r}: name fields that "
            "tell them apart in corpus.source.key and .number, or no key at all"
            for key, number, first, n in twice
        ]

    def shape(self) -> str:
        """Return a digest of size, distance and type of the vector that is read."""
        vectors, _ = self._vectors()
        found = vectors.get(self._settings.vector_name)
        told = None if found is None else [found.size, found.distance, found.datatype]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def volume(self) -> Volume:
        """Count the points; bytes of text come from a sample of them."""
        name, field = self._settings.collection, self._settings.text
        with asking_qdrant(f"counting the points of {name!r}"):
            points = self._client.count(name, exact=True).count
        seen, _ = self._page(None, _SAMPLE_POINTS, tops_of(field))
        sizes = [
            len(str(dig(p.payload or {}, field) or "").encode("utf-8", "replace")) for p in seen
        ]
        mean = sum(sizes) / len(sizes) if sizes else 0.0
        how = f"points counted, text by the first {len(seen)}"
        return Volume(points, int(points * mean), how)

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return id ranges of about ``rows_per_shard`` points that cover every possible id."""
        ends: list[Key] = []
        points = 0
        for page in self._scroll(None, _PAGE_IDS, False):
            first = rows_per_shard - points % rows_per_shard - 1
            ends += [[_plain(page[n].id)] for n in range(first, len(page), rows_per_shard)]
            points += len(page)
        return ranges_of(ends, points, rows_per_shard)

    def read(
        self, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[Sequence[SourceRow]]:
        """Yield batches of chunks with low < id <= high, in the order of ids.

        Raises:
            BadInput: a point without a usable key was written since the plan was made.
        """
        last = None if high is None else _rank(high[0])
        for page in self._scroll(low, batch_rows, True, vectors=True):
            inside = [p for p in page if last is None or _rank(p.id) <= last]
            if inside:
                yield self._rows(inside)
            if len(inside) < len(page):
                return

    def fetch(self, keys: Sequence[str]) -> list[SourceRow]:
        """Return the chunks of these documents as they are now, by document and number."""
        name = self._settings.collection
        if self._settings.key is None:
            with asking_qdrant(f"reading points of {name!r}"):
                points = self._client.retrieve(
                    name,
                    [i for k in keys if (i := _id_of(k)) is not None],
                    with_payload=True,
                    with_vectors=self._vector_asked,
                )
        else:
            points = self._of_documents(keys)
        rows = self._rows(points)
        return sorted(rows, key=lambda r: (r.key_text, r.piece.number if r.piece else 0))

    @property
    def rounds(self) -> float:
        """Return by how much a score may be off, for float32."""
        return FULL_ROUNDS

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, int, float]]:
        """Return the k nearest points of all, by looking at every one."""
        settings, name = self._settings, self._settings.collection
        held = self._vectors()[0].get(settings.vector_name)
        cosine = _COSINE_OF.get(held.distance) if held else None
        if held is None or cosine is None:
            raise Refused(f"scores of {name!r} are of a distance that says nothing about cosine.")
        tops = [t for f in (settings.key, settings.number) if f for t in tops_of(f)]
        exact = None if is_local(self._client) else models.SearchParams(exact=True)
        with asking_qdrant(f"searching {name!r}"):
            answer = self._client.query_points(
                name,
                query=vector.tolist(),
                using=settings.vector_name or None,
                limit=k,
                search_params=exact,
                with_payload=tops,
            )
        return [
            (*self._place(models.Record(id=p.id, payload=p.payload)), cosine(p.score))
            for p in answer.points
        ]

    def _of_documents(self, keys: Sequence[str]) -> list[models.Record]:
        """Return the points of these documents, by Qdrant's filter or, if need be, one by one."""
        path, wanted = self._settings.key, set(keys)
        assert path is not None
        found = [
            p
            for page in self._scroll(
                None, _PAGE_POINTS, True, vectors=True, only=any_of(path, keys)
            )
            for p in page
            if self._key_of(p) in wanted
        ]
        missing = {k for k in wanted - {self._key_of(p) for p in found} if out_of_reach(path, k)}
        if not missing:
            return found
        ids = [
            p.id
            for page in self._scroll(None, _PAGE_POINTS, tops_of(path))
            for p in page
            if self._key_of(p) in missing
        ]
        for start in range(0, len(ids), _PAGE_POINTS):
            with asking_qdrant(f"reading points of {self._settings.collection!r}"):
                found += self._client.retrieve(
                    self._settings.collection,
                    ids[start : start + _PAGE_POINTS],
                    with_payload=True,
                    with_vectors=self._vector_asked,
                )
        return found

    def _key_of(self, point: models.Record) -> str:
        return str(dig(point.payload or {}, self._settings.key or ""))

    @property
    def _vector_asked(self) -> bool | list[str]:
        return [self._settings.vector_name] if self._settings.vector_name else True

    def _vectors(self) -> tuple[dict[str, models.VectorParams], list[str]]:
        with asking_qdrant(f"looking at the collection {self._settings.collection!r}"):
            params = self._client.get_collection(self._settings.collection).config.params
        held = params.vectors
        dense = held if isinstance(held, dict) else {} if held is None else {"": held}
        return dict(dense), list(params.sparse_vectors or {})

    def _page(
        self,
        start: int | str | None,
        limit: int,
        payload: Sequence[str] | bool,
        *,
        vectors: bool = False,
        only: models.Filter | None = None,
    ) -> tuple[list[models.Record], Any]:
        with asking_qdrant(f"reading points of {self._settings.collection!r}"):
            return self._client.scroll(
                self._settings.collection,
                scroll_filter=only,
                limit=limit,
                offset=start,
                with_payload=payload if isinstance(payload, bool) else [*payload],
                with_vectors=self._vector_asked if vectors else False,
            )

    def _scroll(
        self,
        low: Key | None,
        limit: int,
        payload: Sequence[str] | bool,
        *,
        vectors: bool = False,
        only: models.Filter | None = None,
    ) -> Iterator[list[models.Record]]:
        """Yield pages of points behind ``low``; a page begins *at* an id, so it is passed over."""
        start = None if low is None else low[0]
        while True:
            points, following = self._page(start, limit, payload, vectors=vectors, only=only)
            if low is not None and points and _rank(points[0].id) == _rank(low[0]):
                points = points[1:]
            if points:
                yield points
            if following is None:
                return
            low, start = None, following

    def _place(self, point: models.Record) -> tuple[str, int]:
        """Return the document of a point and its number there."""
        payload, settings = point.payload or {}, self._settings
        key: Any = _plain(point.id) if settings.key is None else dig(payload, settings.key)
        if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
            raise WrongField(f"it has no document key at {settings.key!r}, but {key!r}")
        number = 0 if settings.number is None else dig(payload, settings.number)
        if isinstance(number, bool) or not isinstance(number, int):
            raise WrongField(f"it has no whole number at {settings.number!r}, but {number!r}")
        if not 0 <= number <= MOST_NUMBER:
            raise WrongField(f"{settings.number!r} is {number}, which numbers no chunk")
        return str(key), number

    def _rows(self, points: Sequence[models.Record]) -> list[SourceRow]:
        rows, wrong = [], []
        for point in points:
            try:
                rows.append(self._row(point))
            except WrongField as error:
                wrong.append(f"point {point.id}: {error}")
        if wrong:
            raise BadInput(
                f"points of {self._settings.collection!r} cannot be read:",
                wrong[:_MOST_PROBLEMS],
                remedy="mend or delete these points, then start the load again.",
            )
        return rows

    def _row(self, point: models.Record) -> SourceRow:
        payload, settings = point.payload or {}, self._settings
        key, number = self._place(point)
        text = text_of(payload, settings.text)
        start, end = (payload.get(o) for o in _OFFSETS)
        if not isinstance(start, int) or not isinstance(end, int):
            start, end = 0, len(text)
        return SourceRow(
            key=[_plain(point.id)],
            title=text_of(payload, settings.title) if settings.title else "",
            text=text,
            acl=groups_of(payload, settings.acl),
            metadata=spread(metadata_of(payload, settings.metadata), settings.metadata),
            piece=Piece(key, number, start, end),
            vector=self._vector(point),
        )

    def _vector(self, point: models.Record) -> NDArray[np.float32] | None:
        held: Any = point.vector
        if isinstance(held, Mapping):
            held = held.get(self._settings.vector_name)
        return np.array(held, np.float32) if held else None


def _plain(point_id: Any) -> int | str:
    return point_id if isinstance(point_id, int) else str(uuid.UUID(str(point_id)))


def _rank(point_id: Any) -> tuple[int, int]:
    """Return what orders ids as Qdrant does."""
    if isinstance(point_id, int):
        return 0, point_id
    return 1, uuid.UUID(str(point_id)).int


def _id_of(text: str) -> int | str | None:
    """Return the id that a text stands for; None when it is none."""
    if text.isascii() and text.isdecimal():
        return int(text) if len(text) <= 20 and int(text) < 2**64 else None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _has_text(payload: Mapping[str, Any], field: str) -> bool:
    try:
        return bool(text_of(payload, field))
    except WrongField:
        return False


def _storable(key: str) -> str:
    return key.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
