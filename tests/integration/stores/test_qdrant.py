"""Qdrant's faults, its fence and its index: the engine behind a stub of REST that can fail."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from qafila.backfill.patience import is_away
from qafila.connections.qdrant import connect_qdrant
from qafila.errors import BackfillHalted, Refused, Unavailable
from qafila.stores.port import Checkpoint, Chunk, Place, SyncMark, Vectors
from qafila.stores.qdrant.index import build_hnsw
from qafila.stores.qdrant.points import PointWriter
from qafila.stores.qdrant.store import QdrantStore
from qafila.workload.corpus import QdrantTarget
from qafila.workload.fingerprint import text_digest
from tests.support.qdrant_stub import QdrantStub
from tests.support.qdrant_ways import engine_behind_rest

PLACE = Place("docs-search", 1, "f" * 16, 8)
POINTS = r"PUT .*_g1/points$"
MARKS = r"POST .*_checkpoint/points/payload$"
TARGET = QdrantTarget(kind="qdrant", block="unnamed")


@pytest.fixture
def served() -> Iterator[tuple[QdrantStub, QdrantClient]]:
    with engine_behind_rest(timeout_seconds=5) as both:  # a busy machine may stall for a second
        yield both


@pytest.fixture
def stub(served: tuple[QdrantStub, QdrantClient]) -> QdrantStub:
    return served[0]


@pytest.fixture
def store(served: tuple[QdrantStub, QdrantClient]) -> QdrantStore:
    opened = QdrantStore(served[1], PLACE)
    opened.prepare()
    return opened


def chunks(n: int, text: str = "text") -> list[Chunk]:
    return [
        Chunk(f"k{i:04}", 0, 0, len(text), "", text, text_digest(text), ["public"])
        for i in range(n)
    ]


def vectors(n: int, seed: int = 0) -> Vectors:
    raw = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    unit: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit


def done(n: int, epoch: int = 1) -> Checkpoint:
    return Checkpoint(0, epoch, [f"k{n - 1:04}"], n, n, True)


def test_a_server_without_conditional_updates_is_refused(
    stub: QdrantStub, store: QdrantStore
) -> None:
    assert store.problems() == []
    stub.version = "1.15.5"
    (problem,) = store.problems()
    assert "1.15.5 has no conditional updates" in problem
    assert "1.16 or newer" in problem


def test_a_collection_of_another_shape_is_named_before_anything_is_written(
    served: tuple[QdrantStub, QdrantClient],
) -> None:
    QdrantStore(served[1], PLACE).prepare()
    (problem,) = QdrantStore(served[1], dataclasses.replace(PLACE, dimensions=16)).problems()
    assert "8 dimensions" in problem
    assert "16 dimensions" in problem


def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = QdrantStore(connect_qdrant("http://127.0.0.1:1", timeout_seconds=1), PLACE)
    with pytest.raises(Unavailable, match="asking for its version"):
        store.problems()


def test_payload_indexes_come_before_points_and_the_graph_after_them(
    stub: QdrantStub, store: QdrantStore, served: tuple[QdrantStub, QdrantClient]
) -> None:
    def graph_links() -> int:
        return served[1].get_collection(PLACE.name).config.hnsw_config.m

    store.claim(0, 1)
    store.write(chunks(2), vectors(2), done(2))
    asked = [a for a in stub.asked if PLACE.name + "/" in a]
    assert asked.index(f"PUT /collections/{PLACE.name}/index") < asked.index(
        f"PUT /collections/{PLACE.name}/points"
    )
    assert graph_links() == 0
    store.build_index()
    assert graph_links() == TARGET.m


@pytest.mark.parametrize(
    ("how", "arrived"),
    [
        ({"status": 500}, 0),
        ({"status": 503}, 0),
        ({"status": 429}, 0),
        ({"truncated": True}, 3),
        ({"hang_up": True}, 3),
        ({"delay_seconds": 5.5}, 3),
    ],
)
def test_after_any_fault_of_a_write_the_checkpoint_stays_and_a_second_write_is_harmless(
    stub: QdrantStub, store: QdrantStore, how: dict[str, Any], arrived: int
) -> None:
    store.claim(0, 1)
    stub.fail(POINTS, **how)
    with pytest.raises(Unavailable) as failed:
        store.write(chunks(3), vectors(3), done(3))
    assert "last checkpoint" in failed.value.kept
    assert store.count() == arrived
    again = store.claim(0, 2)
    assert (again.last_key, again.rows) == (None, 0)
    store.write(chunks(3), vectors(3), done(3, epoch=2))
    assert (store.count(), store.repeated(), store.claim(0, 3).rows) == (3, 0, 3)


def test_a_batch_that_failed_half_way_is_finished_by_the_next_try(
    stub: QdrantStub, store: QdrantStore
) -> None:
    store.claim(0, 1)
    stub.fail(POINTS, status=500, after=1)
    with pytest.raises(Unavailable):
        store.write(chunks(600), vectors(600), done(600))
    assert store.count() == 256
    store.write(chunks(600), vectors(600), done(600))
    assert store.count() == 600
    assert sum(a.endswith("_g1/points") for a in stub.asked) == 2 + 3


@pytest.mark.parametrize("status", ["acknowledged", "wait_timeout"])
def test_what_is_only_accepted_is_not_confirmed(
    stub: QdrantStub, store: QdrantStore, status: str
) -> None:
    store.claim(0, 1)
    stub.fail(POINTS, confirm_as=status)
    with pytest.raises(BackfillHalted, match="did not confirm"):
        store.write(chunks(3), vectors(3), done(3))
    assert store.claim(0, 2).rows == 0


def test_points_that_were_confirmed_and_are_gone_are_missed_before_the_index(
    stub: QdrantStub, store: QdrantStore
) -> None:
    store.claim(0, 1)
    stub.fail(POINTS, forget=True, after=1)
    store.write(chunks(600), vectors(600), done(600))
    with pytest.raises(BackfillHalted, match=r"confirmed 600 points .* holds 344: 256"):
        store.build_index()


def test_a_checkpoint_that_was_confirmed_and_is_gone_is_missed_at_once(
    stub: QdrantStub, store: QdrantStore
) -> None:
    store.claim(0, 1)
    stub.fail(MARKS, forget=True)
    with pytest.raises(BackfillHalted, match="confirmed the checkpoint of shard 0"):
        store.write(chunks(3), vectors(3), done(3))


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [(401, Refused, "key"), (400, BackfillHalted, "as the test wished")],
)
def test_an_answer_of_no_is_passed_on(
    stub: QdrantStub, store: QdrantStore, status: int, error: type[Exception], said: str
) -> None:
    store.claim(0, 1)
    stub.fail(POINTS, status=status)
    with pytest.raises(error, match=said):
        store.write(chunks(3), vectors(3), done(3))


def test_vectors_that_are_not_numbers_are_never_sent(stub: QdrantStub, store: QdrantStore) -> None:
    store.claim(0, 1)
    broken = vectors(3)
    broken[1, 2] = np.nan
    for wrong in (broken, vectors(3)[:, :4], vectors(2)):
        with pytest.raises(BackfillHalted, match="NaN, infinity or another length"):
            store.write(chunks(3), wrong, done(3))
    assert store.count() == 0


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"status": "red"}, "red"),
        (
            {"status": "red", "optimizer_status": {"error": "No space left on device"}},
            "No space left on device; 40000 of 40000 vectors are not indexed",
        ),
        ({"status": "yellow", "indexed_vectors_count": 30_000}, "10000 of 40000 .* not indexed"),
        ({"status": "grey"}, "still grey"),
    ],
)
def test_an_index_that_is_not_built_is_named_with_what_is_missing(
    stub: QdrantStub,
    store: QdrantStore,
    served: tuple[QdrantStub, QdrantClient],
    info: dict[str, Any],
    said: str,
) -> None:
    stub.info = {"points_count": 40_000, "indexed_vectors_count": 0, **info}
    with pytest.raises(BackfillHalted, match=said) as halted:
        build_hnsw(served[1], PLACE.name, TARGET, wait=timedelta(seconds=0.3))
    assert "all points" in halted.value.kept
    nudges = sum(a == f"PATCH /collections/{PLACE.name}" for a in stub.asked) - 1
    assert (nudges > 0) == (info["status"] == "grey")


def test_a_server_that_calls_itself_ready_without_an_index_is_not_believed(
    stub: QdrantStub, store: QdrantStore, served: tuple[QdrantStub, QdrantClient]
) -> None:
    # 20 000 kB a segment hold 640 000 vectors of 8 numbers without a graph
    stub.info = {"points_count": 2_000_000, "indexed_vectors_count": 100, "segments_count": 2}
    with pytest.raises(BackfillHalted, match="ready, and 1999900 of 2000000"):
        build_hnsw(served[1], PLACE.name, TARGET, wait=timedelta(seconds=0.3))
    stub.info = {"points_count": 600_000, "indexed_vectors_count": 0, "segments_count": 2}
    build_hnsw(served[1], PLACE.name, TARGET, wait=timedelta(seconds=0.3))


def test_an_index_that_takes_its_time_is_waited_for(
    stub: QdrantStub, store: QdrantStore, served: tuple[QdrantStub, QdrantClient]
) -> None:
    stub.info = {"status": "yellow"}
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 8:
            stub.info = {}

    build_hnsw(served[1], PLACE.name, TARGET, wait=timedelta(seconds=9), sleep=sleep)
    assert len(waited) == 8
    assert waited[:3] == [0.05, 0.1, 0.2]
    assert max(waited) == 2.0


def text_of(store: QdrantStore, key: str) -> str | None:
    found = [c.text for part, _ in store.scan(100) for c in part if c.source_key == key]
    return found[0] if found else None


@pytest.fixture
def late(served: tuple[QdrantStub, QdrantClient]) -> PointWriter:
    """Sends requests that nobody asked the marks about, as one that was on its way."""
    return PointWriter(served[1], PLACE)


def test_a_late_request_of_a_worker_whose_shard_was_taken_undoes_nothing(
    store: QdrantStore, late: PointWriter
) -> None:
    store.claim(0, 1)
    store.claim(0, 2)
    store.write(chunks(2, "newer"), vectors(2), done(2, epoch=2))
    late.upsert(chunks(2, "older"), vectors(2), 1)  # was on its way when the shard was taken
    assert text_of(store, "k0000") == "newer"
    store.claim_sync(1)
    store.replace(["k0000"], chunks(1, "synced"), vectors(1), SyncMark(1, "9"))
    late.upsert(chunks(2, "older"), vectors(2), 2)
    assert (text_of(store, "k0000"), text_of(store, "k0001")) == ("synced", "older")


def test_a_late_request_can_add_what_was_deleted_and_is_then_one_too_many(
    store: QdrantStore, late: PointWriter
) -> None:
    store.claim(0, 1)
    store.write(chunks(2), vectors(2), done(2))
    store.claim_sync(1)
    store.replace(["k0001"], [], vectors(0), SyncMark(1, "9"))
    late.upsert(chunks(2), vectors(2), 1)
    assert set(store.digests(["k0000", "k0001"])) == {("k0000", 0), ("k0001", 0)}


def test_a_live_sync_that_was_taken_over_deletes_nothing_newer(
    store: QdrantStore, late: PointWriter
) -> None:
    store.claim_sync(1)
    store.claim_sync(2)
    store.replace(["k0000"], chunks(1, "newer"), vectors(1), SyncMark(2, "9"))
    late.delete([str(chunks(1)[0].id)], 2**40 + 1)
    assert text_of(store, "k0000") == "newer"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 3, 2**40 + 1])), max_size=12))
def test_whatever_order_requests_arrive_in_the_highest_rank_stands(
    arrivals: list[tuple[int, int]],
) -> None:
    client = connect_qdrant(path=":memory:")
    store, late = QdrantStore(client, PLACE), PointWriter(client, PLACE)
    store.prepare()
    expected: dict[str, tuple[int, str]] = {}
    for number, (row, rank) in enumerate(arrivals):
        written = dataclasses.replace(chunks(3)[row], text=f"{rank} {number}")
        late.upsert([written], vectors(1), rank)
        if rank >= expected.get(written.source_key, (0, ""))[0]:
            expected[written.source_key] = rank, written.text
    stored = {c.source_key: c.text for part, _ in store.scan(100) for c in part}
    assert stored == {key: text for key, (_, text) in expected.items()}


def test_a_copy_under_an_id_of_its_own_is_counted_as_repeated(
    store: QdrantStore, served: tuple[QdrantStub, QdrantClient]
) -> None:
    store.claim(0, 1)
    store.write(chunks(3), vectors(3), done(3))
    for key in ("k0001", "new", "new"):  # the first "new" is alone, the second one repeats it
        payload = {"source_key": key, "chunk_number": 0}
        point = models.PointStruct(id=str(uuid.uuid4()), vector=[0.0] * 8, payload=payload)
        served[1].upsert(PLACE.name, [point], wait=True)
    assert store.repeated() == 2


def test_large_texts_are_spread_over_requests() -> None:
    with engine_behind_rest(timeout_seconds=60) as (stub, client):  # 14 MB take a busy machine long
        store = QdrantStore(client, PLACE)
        store.prepare()
        store.claim(0, 1)
        store.write(chunks(5, "x" * 7_000_000), vectors(5), done(5))
        assert sum(a.endswith("_g1/points") for a in stub.asked) == 3
        assert store.count() == 5


def test_a_second_process_is_told_that_local_mode_takes_one(tmp_path: Any) -> None:
    folder = str(tmp_path / "q")
    first = connect_qdrant(path=folder)
    with pytest.raises(Unavailable, match="local mode takes one") as refused:
        connect_qdrant(path=folder)
    assert f"this process has the Qdrant folder {folder} open already" in refused.value.what
    first.close()
    connect_qdrant(path=folder).close()


HOLDER = """
import sys
from qafila.connections.qdrant import connect_qdrant
client = connect_qdrant(path=sys.argv[1])
print("open", flush=True)
sys.stdin.read()
client.close()
"""


def test_who_has_a_folder_open_is_named_before_a_byte_of_it_is_read(tmp_path: Any) -> None:
    folder = tmp_path / "q"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        (folder / "meta.json").write_text("half wri")
        with pytest.raises(Unavailable, match="local mode takes one") as refused:
            connect_qdrant(path=str(folder))
        (folder / "meta.json").write_text('{"collections": {}, "aliases": {}}')
        holder.communicate("")
    named = f"another process ({holder.pid}) has the Qdrant folder {folder} open"
    assert named in refused.value.what or not Path("/proc/locks").exists()
    assert not is_away(refused.value)  # it answered: steps do not wait for it
    connect_qdrant(path=str(folder)).close()
