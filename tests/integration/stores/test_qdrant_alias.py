"""Qdrant's aliases as the pointer: same story as the pointer row, in local mode and behind REST."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient, models

from qafila.errors import Refused, StaleEpoch
from qafila.stores.pointer_row import Alias
from qafila.stores.qdrant.alias import (
    alias_name,
    list_aliases,
    move_alias,
    read_alias,
    return_alias,
    set_trial,
)
from tests.support.qdrant_ways import WAYS, delete_collections, own_workload, qdrant_client

Own = tuple[QdrantClient, str]


@pytest.fixture(params=WAYS)
def own(request: pytest.FixtureRequest) -> Iterator[Own]:
    """Return a client and a workload with three generations."""
    workload = own_workload(request.param, "w")
    with qdrant_client(request.param) as client:
        for generation in (1, 2, 3):
            name = f"chunk_{workload.replace('-', '_')}_g{generation}"
            client.create_collection(
                name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
            )
        yield client, workload
        if request.param == "qdrant-server":
            delete_collections(client, workload)


def test_trial_cutover_and_the_way_back(own: Own) -> None:
    client, w = own
    assert read_alias(client, w) is None
    assert set_trial(client, w, 1, 0) == Alias(w, None, 1, None, 0)
    assert move_alias(client, w, 1, 3) == Alias(w, 1, None, None, 3)
    assert set_trial(client, w, 2, 0) == Alias(w, 1, 2, None, 3)
    assert move_alias(client, w, 2, 5) == Alias(w, 2, None, 1, 5)
    assert move_alias(client, w, 2, 5) == Alias(w, 2, None, 1, 5)
    assert return_alias(client, w, [2], 6) == Alias(w, 1, None, None, 6)
    assert return_alias(client, w, [2], 7) == Alias(w, 1, None, None, 7)


def test_a_trial_that_never_served_only_ends(own: Own) -> None:
    client, w = own
    assert return_alias(client, w, [1], 1) is None
    move_alias(client, w, 1, 1)
    set_trial(client, w, 2, 2)
    assert return_alias(client, w, [2], 3) == Alias(w, 1, None, None, 3)


def test_stale_writers_and_older_generations_are_refused(own: Own) -> None:
    client, w = own
    move_alias(client, w, 2, 9)
    with pytest.raises(StaleEpoch):
        move_alias(client, w, 3, 8)
    with pytest.raises(StaleEpoch):
        return_alias(client, w, [2], 8)
    with pytest.raises(Refused, match="generation 2 serves"):
        set_trial(client, w, 1, 9)
    assert read_alias(client, w) == Alias(w, 2, None, None, 9)


def test_a_service_that_asks_the_alias_gets_the_generation_that_serves(own: Own) -> None:
    client, w = own
    for generation in (1, 2):
        collection = f"chunk_{w.replace('-', '_')}_g{generation}"
        point = models.PointStruct(id=1, vector=[1.0, 0.0], payload={"generation": generation})
        client.upsert(collection, [point], wait=True)
    move_alias(client, w, 1, 1)
    assert list_aliases(client)[alias_name(w)].endswith("_g1")
    move_alias(client, w, 2, 2)
    assert list_aliases(client)[alias_name(w)].endswith("_g2")
    assert list_aliases(client)[alias_name(w, "previous")].endswith("_g1")


def test_a_generation_that_is_not_there_changes_nothing(own: Own) -> None:
    client, w = own
    move_alias(client, w, 1, 1)
    for move in (move_alias, set_trial):
        with pytest.raises(Refused, match=r"no collection chunk_.*_g7"):
            move(client, w, 7, 2)
    assert read_alias(client, w) == Alias(w, 1, None, None, 1)


def test_workloads_do_not_share_aliases(own: Own) -> None:
    client, w = own
    move_alias(client, w, 1, 1)
    assert read_alias(client, f"{w}-g1") is None
