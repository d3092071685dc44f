"""The ways in which tests reach a Qdrant: local mode, the engine behind REST, a real server."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from qdrant_client import QdrantClient

from qafila.connections.qdrant import connect_qdrant
from tests.support.qdrant_edge import EdgeClient
from tests.support.qdrant_stub import QdrantStub, running_stub

WAYS = ("qdrant", "qdrant-engine", "qdrant-server")
SERVER = "QAFILA_TEST_QDRANT_URL"


@contextmanager
def qdrant_client(way: str) -> Iterator[QdrantClient]:
    """Yield a client; on a real server, collections that are new afterwards are deleted."""
    if way == "qdrant":
        yield connect_qdrant(path=":memory:")
    elif way == "qdrant-engine":
        with engine_behind_rest() as (_, client):
            yield client
    else:
        if SERVER not in os.environ:
            pytest.skip(f"no server: set {SERVER}")
        key = os.environ.get("QAFILA_TEST_QDRANT_API_KEY")
        with warnings.catch_warnings():  # a key over http is the tester's affair
            warnings.filterwarnings("ignore", message="Api key", category=UserWarning)
            client = connect_qdrant(os.environ[SERVER], api_key=key)
        with closing(client):
            yield client


def own_workload(way: str, workload: str) -> str:
    """Return a name that nobody else uses on a server that others use too."""
    return workload if way != "qdrant-server" else f"t{uuid.uuid4().hex[:12]}-{workload}"


def delete_collections(client: QdrantClient, workload: str) -> None:
    """Delete what a test made for a workload of its own."""
    start = f"chunk_{workload.replace('-', '_')}_"
    for collection in client.get_collections().collections:
        if collection.name.startswith(start):
            client.delete_collection(collection.name)


@contextmanager
def engine_behind_rest(timeout_seconds: int = 30) -> Iterator[tuple[QdrantStub, QdrantClient]]:
    """Yield Qdrant's engine behind the stub of its REST interface, and a client of that."""
    with (
        closing(EdgeClient()) as engine,
        running_stub(engine) as stub,
        closing(connect_qdrant(stub.url, timeout_seconds=timeout_seconds)) as client,
    ):
        yield stub, client
