"""The points of a Qdrant collection, page by page in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant
from qafila.stores.port import Place

_PAGE = 1000


class PointPages:
    """The part of the Qdrant store that reads points for all others."""

    _client: QdrantClient
    _place: Place

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
