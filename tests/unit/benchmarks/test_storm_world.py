"""The storm's comparison finds a vector that is not the one of its text."""

from benchmarks.setting import WORKLOAD
from benchmarks.storm_world import vectors_wrong
from qafila.endpoints import embedder_of
from qafila.workload_file import read_file

TEXTS = {"op-1": "Creates a queue", "op-2": "Deletes a bucket", "op-3": "Lists all keys"}


def test_a_swapped_or_damaged_vector_is_counted() -> None:
    embedder = embedder_of(read_file(WORKLOAD).corpus.embedder)
    right = dict(zip(TEXTS, embedder.embed(list(TEXTS.values())).tolist(), strict=True))
    assert vectors_wrong(right, TEXTS) == 0
    swapped = {**right, "op-1": right["op-2"], "op-2": right["op-1"]}
    assert vectors_wrong(swapped, TEXTS) == 2
    assert vectors_wrong({**right, "op-3": [0.0] * len(right["op-3"])}, TEXTS) == 1
