"""A log that is written while it is read: half lines, other lines, long ones, rotation."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from qafila.routers.envoy.access_log import read_log


def line(number: int, **more: object) -> str:
    row = {"ts": number, "arm": "baseline", "code": 200, "ms": 1, "attempts": 1, **more}
    return json.dumps(row) + "\n"


def numbers(path: Path, cursor: int | None) -> tuple[list[int], int]:
    seen, cursor = read_log(path, cursor)
    return [int(request.started_at) for request in seen], cursor


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.jsonl"
    path.write_text(line(1))
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_reading_starts_from_now_and_goes_on_where_it_stopped(log: Path) -> None:
    seen, cursor = numbers(log, None)
    assert seen == []
    append(log, line(2) + line(3))
    seen, cursor = numbers(log, cursor)
    assert seen == [2, 3]
    assert numbers(log, cursor)[0] == []


def test_half_a_line_waits_for_its_end(log: Path) -> None:
    _, cursor = numbers(log, None)
    append(log, line(2) + line(3)[:20])
    seen, cursor = numbers(log, cursor)
    assert seen == [2]
    append(log, line(3)[20:])
    assert numbers(log, cursor)[0] == [3]


@pytest.mark.parametrize(
    "other",
    [
        "\n",
        "127.0.0.1 - GET /search 200\n",
        "[1, 2]\n",
        "null\n",
        '{"ts": "soon"}\n',
        '{"ts": 1, "code": 200}\n',
        "\x00\x01\n",
        '{"ts": 5, "code": 200, "ms": 1, "served": "probe-candidate"}\n',
        '{"ts": 5, "code": "-", "ms": 1}\n',
        "x" * (3 << 20) + "\n",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_a_line_that_is_no_users_is_passed_over(log: Path, other: str) -> None:
    _, cursor = numbers(log, None)
    append(log, line(2) + other + line(3))
    assert numbers(log, cursor)[0] == [2, 3]


def test_bytes_that_are_no_text_are_passed_over(log: Path) -> None:
    _, cursor = numbers(log, None)
    with log.open("ab") as file:
        file.write(b"\xff\xfe{}\n" + line(2).encode())
    assert numbers(log, cursor)[0] == [2]


def test_a_renamed_log_is_read_to_its_end_before_the_new_one(log: Path) -> None:
    _, cursor = numbers(log, None)
    append(log, line(2))
    old = log.rename(log.with_name("access.jsonl.1"))
    seen, cursor = numbers(log, cursor)  # the new one is not there yet
    assert seen == [2]
    append(old, line(3))  # what Envoy writes before it opens the new one
    log.write_text(line(4))
    seen, cursor = numbers(log, cursor)
    assert seen == [3, 4]
    append(log, line(5))
    assert numbers(log, cursor)[0] == [5]


def test_a_log_that_grew_past_the_old_position_after_rotation_is_read_whole(log: Path) -> None:
    _, cursor = numbers(log, None)
    log.rename(log.parent / "elsewhere")
    log.write_text("".join(line(n) for n in range(10, 20)))
    assert numbers(log, cursor)[0] == list(range(10, 20))


def test_a_truncated_log_is_read_from_its_start(log: Path) -> None:
    append(log, line(2) + line(3))
    _, cursor = numbers(log, None)
    os.truncate(log, 0)
    append(log, line(4))
    assert numbers(log, cursor)[0] == [4]


def test_a_log_that_is_not_there_yet_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    seen, cursor = numbers(path, None)
    assert seen == []
    path.write_text(line(1))
    assert numbers(path, cursor)[0] == [1]


def test_a_hundred_thousand_lines_are_read_in_bounded_memory(log: Path) -> None:
    count = 100_000
    _, cursor = numbers(log, None)
    append(log, "".join(line(n, key=f"tenant-{n % 100}", bad="-") for n in range(count)))
    tracemalloc.start()
    read = calls = 0
    while True:
        seen, cursor = read_log(log, cursor)
        if not seen:
            break
        read, calls = read + len(seen), calls + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == count
    assert calls == 2  # of about 10 MB of text, 8 MiB at a time
    assert peak < 80 << 20
