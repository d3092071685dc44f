"""The collection of a generation: what stands in its way, and how it is created."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant
from qafila.stores.port import Place
from qafila.stores.qdrant.index import HELD_BACK

OLDEST = (1, 16)


def problems_of(client: QdrantClient, place: Place) -> list[str]:
    """Return what stands in the way of writing here: an old server, or another's collection."""
    with asking_qdrant("asking for its version"):
        version = client.info().version
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        return [
            f"Qdrant {version} has no conditional updates, so a worker whose shard was taken "
            "could overwrite newer points: update the server to 1.16 or newer"
        ]
    return _shape_problems(client, place)


def _shape_problems(client: QdrantClient, place: Place) -> list[str]:
    name = place.name
    with asking_qdrant(f"looking at {name}"):
        if not client.collection_exists(name):
            return []
        vectors = client.get_collection(name).config.params.vectors
    wanted = f"one unnamed vector of {place.dimensions} dimensions under Dot"
    if not isinstance(vectors, models.VectorParams):
        return [f"collection {name} is there with named vectors, not {wanted}: delete it"]
    if (vectors.size, vectors.distance) != (place.dimensions, models.Distance.DOT):
        return [
            f"collection {name} is there with {vectors.size} dimensions under "
            f"{vectors.distance}, not {wanted}: delete it"
        ]
    return []


def create_collection(client: QdrantClient, place: Place) -> None:
    """Create the collection with its payload indexes, and no graph yet; harmless to repeat."""
    name = place.name
    with asking_qdrant(f"creating {name}"):
        if not client.collection_exists(name):
            client.create_collection(
                name,
                vectors_config=models.VectorParams(
                    # vectors are unit vectors, so this is the cosine; under COSINE, Qdrant
                    # would normalise them anew and not give back what was written
                    size=place.dimensions,
                    distance=models.Distance.DOT,
                ),
                hnsw_config=HELD_BACK,
                # the rank is asked of the points of one batch only: an index on it would
                # cost a third of the load and find nothing faster
                strict_mode_config=models.StrictModeConfig(unindexed_filtering_update=True),
            )
        with local_mode_quiet():
            for field in ("acl", "source_key"):  # payload indexes come before points
                client.create_payload_index(
                    name, field, models.PayloadSchemaType.KEYWORD, wait=True
                )


@contextmanager
def local_mode_quiet() -> Iterator[None]:
    """Local mode warns that indexes and search settings do nothing there: expected, so silent."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(?i:local).*", category=UserWarning)
        yield
