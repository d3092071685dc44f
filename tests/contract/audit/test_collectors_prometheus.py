"""What is kept of a Prometheus server, and what each of its refusals means."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qafila.audit.collectors import collectors_of
from qafila.audit.collectors.prometheus_metrics import CPU, GPU
from qafila.audit.collectors.prometheus_server import RATES, Metrics, MetricsLimits
from qafila.audit.estate import Collected, Outcome
from qafila.errors import BadInput
from tests.support.collecting import standing
from tests.support.prometheus_api import HEADER, MetricsServer, running_metrics, series

TARGETS, UTILISATION = collectors_of("prometheus")
Collect = Callable[..., Collected]


@pytest.fixture
def collect() -> Iterator[Collect]:
    with ExitStack() as stack:

        def run(collector: Any, server: MetricsServer, **given: Any) -> Collected:
            stack.enter_context(running_metrics(server))
            return collector.collect(
                stack.enter_context(Metrics(server.url, pacing=standing(RATES), **given))
            )

        yield run


def test_targets_say_whether_they_answer_and_nothing_secret(collect: Collect) -> None:
    seen = collect(TARGETS, MetricsServer())
    health = {r.name: r.facts["health"] for r in seen.resources if r.kind == "prometheus:target"}
    assert health == {"10.0.0.1:9100": "up", "10.0.0.2:9400": "up", "10.0.0.3:8080": "down"}
    assert "not-to-be-kept" not in repr(seen)
    assert {r.tags.get("app") for r in seen.resources} == {None, "assistant"}


def test_means_of_thirty_days_come_with_their_window(collect: Collect) -> None:
    seen = collect(UTILISATION, MetricsServer())
    by_kind = {r.kind: r for r in seen.resources}
    gpu = by_kind["prometheus:gpu"].facts
    assert (gpu["utilisation_percent"], gpu["memory_used_bytes"]) == (12.5, 20480 << 20)
    assert (gpu["gpu"], gpu["window_days"]) == ("NVIDIA A10G", 30)
    assert by_kind["prometheus:machine"].facts["cpu_percent"] == 37.13
    assert by_kind["prometheus:container"].name == "search"
    assert seen.outcome is Outcome.COMPLETE  # a value that is no number is no machine
    assert [r.name for r in seen.resources if r.kind == "prometheus:machine"] == ["10.0.0.1:9100"]


@pytest.mark.parametrize(
    ("retention", "days", "outcome"),
    [
        ("15d", 15, Outcome.TRUNCATED),
        ("2w1d", 15, Outcome.TRUNCATED),
        ("36h", 1.5, Outcome.TRUNCATED),
        ("1y", 30, Outcome.COMPLETE),
        ("30d or 50GiB", 30, Outcome.COMPLETE),
        ("0s", 30, Outcome.COMPLETE),
    ],
)
def test_a_server_that_forgets_earlier_says_so(
    collect: Collect, retention: str, days: float, outcome: Outcome
) -> None:
    seen = collect(UTILISATION, MetricsServer(retention=retention))
    assert seen.outcome is outcome
    assert {r.facts.get("window_days", days) for r in seen.resources} == {days}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (401, Outcome.DENIED),
        (403, Outcome.DENIED),
        (422, Outcome.UNSUPPORTED),
        (400, Outcome.UNSUPPORTED),
        (404, Outcome.UNSUPPORTED),
        (503, Outcome.THROTTLED),
        (429, Outcome.THROTTLED),
        (500, Outcome.UNSUPPORTED),
        (302, Outcome.UNSUPPORTED),
    ],
)
def test_every_refusal_is_an_outcome(collect: Collect, status: int, outcome: Outcome) -> None:
    seen = collect(TARGETS, MetricsServer(refuses={"/api/v1/targets": [status]}))
    assert (seen.outcome, seen.resources) == (outcome, ())
    assert f"HTTP {status}" in seen.missed
    assert "not-to-be-kept" not in seen.missed


def test_one_question_that_is_refused_does_not_hide_the_others(collect: Collect) -> None:
    seen = collect(UTILISATION, MetricsServer(refuses={CPU: [422]}))
    assert (seen.outcome, seen.missed) == (
        Outcome.UNSUPPORTED,
        "CPU utilisation: HTTP 422 execution",
    )
    assert {r.kind for r in seen.resources} == {"prometheus:gpu", "prometheus:container"}


def test_a_throttled_question_is_asked_again(collect: Collect) -> None:
    seen = collect(TARGETS, MetricsServer(refuses={"/api/v1/targets": [429, 429, 200]}))
    assert (seen.outcome, seen.calls) == (Outcome.COMPLETE, 3)


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>",
        b"[]",
        b'{"status": "success", "data": 7}',
        b'{"data": {}}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}',
    ],
)
def test_an_answer_that_is_none_is_never_complete_utilisation(collect: Collect, raw: bytes) -> None:
    seen = collect(UTILISATION, MetricsServer(raw=raw))
    assert (seen.outcome, seen.resources) == (Outcome.UNSUPPORTED, ())


def test_warnings_of_a_partial_answer_are_noted(collect: Collect) -> None:
    seen = collect(TARGETS, MetricsServer(warnings=["store 3 did not answer"]))
    assert seen.outcome is Outcome.TRUNCATED


def test_a_result_without_end_is_cut(collect: Collect) -> None:
    server = MetricsServer()
    server.results[GPU] = [series("1", Hostname="h", gpu=str(i)) for i in range(30)]
    seen = collect(UTILISATION, server, limits=MetricsLimits(series=10))
    assert seen.outcome is Outcome.TRUNCATED
    assert sum(r.kind == "prometheus:gpu" for r in seen.resources) == 10
    seen = collect(TARGETS, MetricsServer(), limits=MetricsLimits(bytes=100))
    assert (seen.outcome, seen.resources) == (Outcome.TRUNCATED, ())


def test_a_credential_comes_from_a_file_and_is_sent(collect: Collect, tmp_path: Path) -> None:
    file = tmp_path / "header"
    file.write_text(f"Authorization: {HEADER}\n")
    seen = collect(TARGETS, MetricsServer(header=HEADER), header_file=file)
    assert seen.outcome is Outcome.COMPLETE
    assert collect(TARGETS, MetricsServer(header=HEADER)).outcome is Outcome.DENIED


@pytest.mark.parametrize(
    "text", ["", "no colon", "A: b\nC: d", "A B: c", "Authorization:", "A: b\u2026", "Ä: b"]
)
def test_a_file_that_holds_no_header_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "header"
    file.write_text(text)
    with pytest.raises(BadInput, match="one header") as refused:
        Metrics("http://127.0.0.1:9", header_file=file)
    assert "no colon" not in str(refused.value)
    with pytest.raises(BadInput, match="cannot be read"):
        Metrics("http://127.0.0.1:9", header_file=tmp_path / "none")


@pytest.mark.parametrize(
    "url", ["ftp://h", "http://", "127.0.0.1:9090", "http://u:s3cret@h:1", "http://u:s3/cret@h:1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        Metrics(url)
    assert "s3cret" not in str(refused.value)


EXPOSED = """\
DCGM_FI_DEV_GPU_UTIL{{gpu="0",modelName="NVIDIA A10G",Hostname="gpu-1"}} 25
DCGM_FI_DEV_FB_USED{{gpu="0",modelName="NVIDIA A10G",Hostname="gpu-1"}} 20480
node_cpu_seconds_total{{cpu="0",mode="idle"}} {idle}
node_cpu_seconds_total{{cpu="0",mode="user"}} {busy}
container_memory_working_set_bytes{{namespace="shop",pod="search-1",container="search"}} 1
container_memory_working_set_bytes{{namespace="shop",pod="search-1",container=""}} 1
"""


class Exporter(BaseHTTPRequestHandler):
    """A target whose one core is busy for 40 % of the time."""

    def do_GET(self) -> None:
        now = time.time()
        content = EXPOSED.format(idle=now * 0.6, busy=now * 0.4).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus is installed here")
def test_a_real_prometheus_answers_as_the_small_one(tmp_path: Path) -> None:
    target = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=target.serve_forever, args=(0.02,), daemon=True).start()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"- {{job_name: node, static_configs: [{{targets: ['127.0.0.1:{target.server_port}']}}]}}\n"
        "- {job_name: gone, static_configs: [{targets: ['127.0.0.1:1']}]}\n"
    )
    running = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        seen = Collected("", "", Outcome.DENIED, (), (), 0)
        for _ in range(100):
            with Metrics(f"http://127.0.0.1:{port}") as metrics:
                seen = UTILISATION.collect(metrics)
            if {"prometheus:gpu", "prometheus:machine"} <= {r.kind for r in seen.resources}:
                break
            time.sleep(0.3)
        by_kind = {r.kind: r.facts for r in seen.resources}
        assert by_kind["prometheus:machine"]["cpu_percent"] == pytest.approx(40, abs=5)
        assert by_kind["prometheus:gpu"]["utilisation_percent"] == 25
        assert by_kind["prometheus:gpu"]["window_days"] == 15
        assert (seen.outcome, [r.name for r in seen.resources][-1]) == (
            Outcome.TRUNCATED,
            "search",
        )
        with Metrics(f"http://127.0.0.1:{port}") as metrics:
            targets = TARGETS.collect(metrics)
        assert {r.facts.get("health") for r in targets.resources} == {"up", "down", None}
        assert targets.outcome is Outcome.COMPLETE
    finally:
        running.terminate()
        running.wait(20)
        target.shutdown()
        target.server_close()
