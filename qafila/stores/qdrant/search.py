"""Search in a Qdrant collection: by the graph or at every point, and what its filters leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from qafila.connections.qdrant_faults import NOTHING, asking_qdrant
from qafila.connections.qdrant_paths import quoted, why_unsayable
from qafila.errors import Refused
from qafila.stores.filters import ValueTally, in_part
from qafila.stores.port import Effort, Hit, Holds, Part, Vectors, Where
from qafila.stores.qdrant.filters import equals, named, readable_by
from qafila.stores.qdrant.index import has_no_graph, problems_of_index
from qafila.stores.qdrant.pages import PointPages
from qafila.stores.qdrant.schema import local_mode_quiet
from qafila.workload.corpus import QdrantTarget

_MOST_DRAWN = 50_000


class PointSearch(PointPages):
    """The part of the Qdrant store that searches; a part that was drawn once is kept."""

    _settings: QdrantTarget
    _drawn: dict[Part, list[str]]

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
        return {h: n for h, n in tally.values().items() if why_unsayable(h.field) is None}

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        chosen = self._filter(groups, where)
        with asking_qdrant(f"counting in {self._place.name}"):
            return self._client.count(self._place.name, chosen, exact=True).count

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        chosen = models.Filter(must=[named(source_keys), readable_by(groups)])
        fields = ["source_key", "chunk_number"]
        return {
            (p.payload["source_key"], p.payload["chunk_number"])
            for points in self._pages(chosen, with_payload=fields)
            for p in points
            if p.payload
        }

    def _nearest(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None,
        how: models.SearchParams,
    ) -> list[Hit]:
        chosen = self._filter(groups, where)
        with local_mode_quiet(), asking_qdrant(f"searching {self._place.name}"):
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
        must: list[Any] = [readable_by(groups)]
        if isinstance(where, Holds):
            must.append(equals(f"metadata.{quoted(where.field)}", where.value))
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
