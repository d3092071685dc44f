"""Files that unfold without measure: each has one reason, and little of it is taken into memory."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from qafila.audit.traffic import flow_parquet
from qafila.audit.traffic.files import CutShort
from qafila.embedders import wire as vectors
from qafila.errors import BadInput, Unavailable
from qafila.llm_eval import wire as answers
from qafila.report import bundle_check
from qafila.routers.aws import alb_logs
from qafila.routers.envoy import access_log
from qafila.sources import records

MIB = 1 << 20


@contextmanager
def taking_at_most(size_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= size_bytes
    finally:
        tracemalloc.stop()


def bomb(path: Path, files: Mapping[str, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in files.items():
            archive.writestr(name, b"\0" * size)
    return path


def test_a_bundle_that_unpacks_to_more_than_one_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_check, "MOST_BYTES", 4 * MIB)
    path = bomb(tmp_path / "a.zip", {f"f{n}": 2 * MIB for n in range(40)})
    assert path.stat().st_size < MIB
    with taking_at_most(16 * MIB), pytest.raises(BadInput, match="more than 4 MiB"):
        bundle_check.check_bundle(path, None)


def test_a_size_that_a_zip_claims_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_check, "MOST_BYTES", 4 * MIB)
    path = bomb(tmp_path / "a.zip", {"f": 20 * MIB})
    content = path.read_bytes()
    path.write_bytes(content.replace((20 * MIB).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    with taking_at_most(16 * MIB), pytest.raises(BadInput, match="is no readable bundle"):
        bundle_check.check_bundle(path, None)


@pytest.mark.parametrize("name", [bundle_check.MANIFEST, bundle_check.ROWS])
def test_a_bundle_of_nothing_but_brackets_is_no_traceback(tmp_path: Path, name: str) -> None:
    whole = {"format": bundle_check.FORMAT, "files": {}, "rollout": "a", "workload": "b"}
    (tmp_path / bundle_check.MANIFEST).write_text(json.dumps(whole))
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(BadInput, match="cannot be read"):
        bundle_check.check_bundle(tmp_path, None)


def test_a_line_of_empty_lists_is_not_unfolded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_MOST_VALUES", 1_000_000)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": [' + b"[]," * 4_000_000 + b"1]}\n" + b'{"id": 1}\n'))
    assert path.stat().st_size < MIB
    with taking_at_most(64 * MIB):
        first, second = records.read_jsonl(path)
    assert first.wrong == "holds more than 1000000 values"
    assert second.fields == {"id": 1}


def parquet(path: Path, query: str) -> Path:
    with duckdb.connect() as database:
        database.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def test_a_text_that_repeats_is_not_held_a_thousand_times(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        f"SELECT i AS id, repeat('x', {2 * MIB}) AS text FROM range(1000) t(i)",
    )
    assert path.stat().st_size < 8 * MIB
    with taking_at_most(600 * MIB):
        assert sum(r.fields is not None for r in records.read_parquet(path, ["id", "text"])) == 1000


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_a_record_longer_than_may_be_is_left_out_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    monkeypatch.setattr(records, "_LONGEST_LINE", 1_000)
    if format_ == "parquet":
        path = parquet(
            tmp_path / "a.parquet",
            "SELECT i AS id, repeat('x', if(i = 2, 5000, 9)) AS text FROM range(1, 4) t(i)",
        )
        found = list(records.read_parquet(path, ["id", "text"]))
    else:
        path = tmp_path / "a.jsonl.gz"
        lines = [json.dumps({"id": i, "text": "x" * (5000 if i == 2 else 9)}) for i in (1, 2, 3)]
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
        found = list(records.read_jsonl(path))
    assert [(r.line, r.fields and r.fields["id"], r.of_file) for r in found] == [
        (1, 1, False),
        (2, None, False),
        (3, 3, False),
    ]
    assert (
        found[1].wrong
        == {
            "parquet": "has texts of 5000 bytes, more than 1000",
            "jsonl": "is longer than 1000 bytes",
        }[format_]
    )


def test_a_line_that_never_ends_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_LONGEST_LINE", MIB)
    monkeypatch.setattr(records, "_FARTHEST_END", 8 * MIB)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * (64 * MIB)))
    with taking_at_most(8 * MIB):
        first, last = records.read_jsonl(path)
    assert (first.of_file, last.of_file) == (False, True)
    assert last.wrong == f"is longer than {8 * MIB} bytes; nothing behind it was read"


def test_flow_logs_that_unpack_without_end_leave_the_disk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_parquet, "_MOST_BYTES", MIB)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"PAR1" + b"\0" * (8 * MIB)))
    with (
        pytest.raises(CutShort, match="unpacks to more than"),
        flow_parquet.opened_parquet(path),
    ):
        pass


class Bucket:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(self._content)}


def test_an_access_log_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alb_logs, "_MOST_BYTES", 4 * MIB)
    logs = alb_logs.AccessLogs(
        "edge",
        Bucket(gzip.compress(b"\0" * (64 * MIB))),
        bucket="b",
        prefix="",
        account="1",
        region="r",
        balancer="a/b",
        arms={},
    )
    with taking_at_most(16 * MIB), pytest.raises(Unavailable, match="unpacks to more than 4 MiB"):
        logs._requests("key", 0.0)


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b'{"ts": 1, "ms": 1, "code": 1e999}', b'{"ts": 1, "ms": 1, "code": Infinity}'],
    ids=["brackets", "a number beyond measure", "infinity"],
)
def test_a_line_of_an_access_log_that_is_no_request_is_passed_over(
    tmp_path: Path, line: bytes
) -> None:
    (tmp_path / "log").write_bytes(line + b"\n" + b'{"ts": 1, "ms": 1, "code": 200}\n')
    found, _ = access_log.read_log(tmp_path / "log", 0)
    assert [r.status for r in found] == [200]


def served(content: bytes, content_type: str) -> httpx.Client:
    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": content_type}, content=content)

    return httpx.Client(transport=httpx.MockTransport(handle), base_url="http://a")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"data: " + b"[" * 100_000 + b"\n\n", "text/event-stream"),
        (b"[" * 100_000, "application/json"),
        (b'{"choices": ' + b"[" * 100_000, "application/json"),
    ],
)
def test_an_answer_of_nothing_but_brackets_is_a_failure(content: bytes, content_type: str) -> None:
    with served(content, content_type) as client:
        found = answers.post(client, "chat", {}, 5.0)
    assert isinstance(found, vectors.Failure)
    assert found.fault is vectors.Fault.GARBLED


def test_vectors_longer_than_was_asked_for_are_not_taken_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vectors, "_BYTES_AT_LEAST", MIB)
    with served(b" " * (4 * MIB), "application/json") as client:
        found = vectors.post(client, vectors.Ask("m", 3, False, 5.0), ["a"], None)
    assert isinstance(found, vectors.Failure)
    assert "longer than any that was asked for" in found.reason


def test_an_answer_in_single_bytes_is_put_together_once() -> None:
    sent = b"data: " + b"x" * 300_000 + b"\r\n\ndata: [DONE]\n\n"
    parts = (sent[n : n + 1] for n in range(len(sent)))
    assert list(answers._events(parts)) == ["x" * 300_000, "[DONE]"]
