"""The demo's two services and its load, as processes over real databases."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from qafila.demo.corpus import load_corpus, split_words, strip_html
from qafila.demo.load import read_texts, run_load
from qafila.errors import Unavailable
from qafila.search.table import generation_table, stored_generation
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.pointer_row import move_alias, return_alias, set_trial
from qafila.stores.port import Place
from qafila.workload.corpus import PgvectorTarget
from tests.support.demo_services import Demo
from tests.support.edges import free_port


@pytest.fixture
def demo(search_demo: Demo) -> Demo:
    return search_demo


@pytest.fixture
def on_trial(demo: Demo) -> Iterator[Demo]:
    """Generation 1 on trial; afterwards nothing serves."""
    with demo.target() as target:
        set_trial(target, demo.workload.name, 1, 0)
    time.sleep(0.25)  # what a service knows of the pointer row may be 0.2 s old
    yield demo
    with demo.target() as target:
        target.execute("DELETE FROM qafila.alias")


def ask(url: str, **values: str | int) -> httpx.Response:
    return httpx.get(f"{url}/search", params=values, timeout=10)


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    found = [r["id"] for r in response.json()["results"]]
    assert response.headers["x-qafila-results"] == str(len(found))
    return found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CreateDBInstance", "Create DB Instance"),
        ("ListEC2Instances", "List EC2 Instances"),
        ("ListAPIsByName", "List APIs By Name"),
        ("UpdateIPSets", "Update IP Sets"),
        ("GetObject", "Get Object"),
    ],
)
def test_names_become_words(name: str, words: str) -> None:
    assert split_words(name) == words


def test_html_becomes_text() -> None:
    assert strip_html("<p>Puts&nbsp;an <a href='x'>object</a>.</p>\n") == "Puts an object ."


def test_the_corpus_is_loaded_once(demo: Demo) -> None:
    assert 2_000 < demo.corpus.documents <= 2_500
    assert demo.corpus.queries > 500
    with psycopg.connect(demo.source_url, autocommit=True) as source:
        again = load_corpus(source, scale="small")
        assert (again.documents, again.queries) == (demo.corpus.documents, demo.corpus.queries)
        assert not again.loaded
        orphans = source.execute(
            "SELECT count(*) FROM known_item_query LEFT JOIN operation"
            " ON operation_id = relevant WHERE operation_id IS NULL"
        ).fetchone()
        assert orphans == (0,)


def test_the_baseline_finds_by_words(demo: Demo) -> None:
    assert "dynamodb.CreateTable" in ids(ask(demo.baseline_url, q="create a table in dynamodb"))
    assert ids(ask(demo.baseline_url, q="xyzzyplugh")) == []
    assert len(ids(ask(demo.baseline_url, q="delete a table", k=3))) == 3
    assert httpx.get(f"{demo.baseline_url}/health").json()["arm"] == "baseline"


@pytest.mark.parametrize("text", ["it's \\ 'quoted' | & ! :*", "%s %(x)s {table}", "ünïcode ✓ 表"])
def test_any_text_is_a_question(on_trial: Demo, text: str) -> None:
    ids(ask(on_trial.baseline_url, q=text))
    ids(ask(on_trial.candidate_url, q=text))


def test_a_restarted_database_is_not_noticed(on_trial: Demo) -> None:
    with ThreadPoolExecutor(8) as pool:  # so that each service holds several idle connections
        for url in (on_trial.baseline_url, on_trial.candidate_url):
            list(pool.map(lambda _, url=url: ids(ask(url, q="create a table")), range(16)))
    with on_trial.target() as server:
        names = [conninfo_to_dict(u)["dbname"] for u in (on_trial.source_url, on_trial.target_url)]
        cut = server.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = any(%s) AND pid <> pg_backend_pid()",
            [names],
        ).fetchone()
    assert cut
    assert cut[0] >= 2
    for _ in range(16):
        ids(ask(on_trial.baseline_url, q="create a table"))
        ids(ask(on_trial.candidate_url, q="create a table"))


@pytest.mark.parametrize(
    "values", [{}, {"q": ""}, {"q": "a", "k": 0}, {"q": "a\x00"}, {"q": "a", "mode": "magic"}]
)
def test_a_bad_request_is_told_why(demo: Demo, values: dict[str, str | int]) -> None:
    response = ask(demo.baseline_url, **values)
    assert response.status_code == 400
    assert response.json()["error"]


def test_without_a_generation_the_candidate_says_503(demo: Demo) -> None:
    time.sleep(0.25)
    for path in ("/health", "/search?q=a+table"):
        response = httpx.get(demo.candidate_url + path)
        assert response.status_code == 503
        assert "no generation" in response.json()["error"]


def test_the_candidate_follows_the_pointer_row(on_trial: Demo) -> None:
    name = on_trial.workload.name
    assert httpx.get(f"{on_trial.candidate_url}/health").json()["generation"] == 1
    with on_trial.target() as target:
        move_alias(target, name, 1, 1)
        time.sleep(0.25)
        assert ids(ask(on_trial.candidate_url, q="create a table"))
        return_alias(target, name, [1], 2)
        time.sleep(0.25)
        assert ask(on_trial.candidate_url, q="create a table").status_code == 503


@pytest.mark.parametrize(
    ("full_text", "vector_type"), [("french", "halfvec"), ("arabic", "vector"), ("none", "vector")]
)
def test_how_a_generation_is_searched_is_read_from_its_table(
    demo: Demo, full_text: str, vector_type: str
) -> None:
    settings = PgvectorTarget.model_validate(
        {"kind": "pgvector", "block": "t", "full_text": full_text, "vector_type": vector_type}
    )
    place = Place("described", 1, "f" * 16, 4)
    with demo.target() as target:
        with pytest.raises(Unavailable, match="no table"):
            stored_generation(target, place.name)
        store = PgvectorStore(target, place, settings)
        store.prepare()
        try:
            told = generation_table(place.name, full_text=full_text, vector_type=vector_type)
            assert stored_generation(target, place.name) == told
        finally:
            store.drop()


def test_the_modes_differ(on_trial: Demo) -> None:
    answers = {
        mode: ids(ask(on_trial.candidate_url, q="create a table in dynamodb", mode=mode))
        for mode in ("keyword", "vector", "hybrid")
    }
    assert all(len(found) == 10 for found in answers.values())
    assert answers["keyword"] != answers["vector"]
    assert answers["hybrid"] == ids(ask(on_trial.candidate_url, q="create a table in dynamodb"))


def test_it_breaks_and_mends_on_purpose(on_trial: Demo) -> None:
    def break_it(**faults: float) -> int:
        return httpx.post(f"{on_trial.candidate_url}/_demo/break", json=faults).status_code

    assert break_it(errors=1.0) == 200
    assert ask(on_trial.candidate_url, q="a table").status_code == 500
    assert break_it(empty=1.0) == 200
    assert ids(ask(on_trial.candidate_url, q="a table")) == []
    assert break_it(errors=2.0) == break_it(magic=1.0) == 400
    assert break_it() == 200
    assert ids(ask(on_trial.candidate_url, q="a table"))
    assert httpx.post(f"{on_trial.baseline_url}/_demo/break", json={}).status_code == 404


def test_the_load_is_bounded_counted_and_logged(demo: Demo, tmp_path: Path) -> None:
    log = tmp_path / "load.jsonl"
    texts = read_texts(demo.source_url)
    assert len(texts) == demo.corpus.queries
    statistics = run_load(
        demo.baseline_url, texts, rate=60, seconds=2, log=log, stop=threading.Event()
    )
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == statistics["requests"]
    assert 70 < statistics["requests"] < 180  # Poisson, mean 120
    assert statistics["failed"] == 0
    assert not statistics["running"]
    assert {line["status"] for line in lines} == {200}
    assert json.loads((tmp_path / "load.jsonl.stats.json").read_text()) == statistics
    with pytest.raises(ValueError, match="3600"):
        run_load(demo.baseline_url, texts, rate=1, seconds=4000, log=log, stop=threading.Event())


def test_no_answer_is_a_failed_request(tmp_path: Path) -> None:
    statistics = run_load(
        f"http://127.0.0.1:{free_port()}",
        ["x"],
        rate=50,
        seconds=0.5,
        log=tmp_path / "load.jsonl",
        stop=threading.Event(),
    )
    assert statistics["requests"] == statistics["failed"] > 0
    assert statistics["by_arm"]["nobody"]["requests"] == statistics["requests"]


def test_the_load_stops_on_sigterm(demo: Demo, tmp_path: Path) -> None:
    log = tmp_path / "load.jsonl"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "qafila.demo.load",
            "--url",
            demo.baseline_url,
            "--rate",
            "20",
            "--seconds",
            "60",
            "--queries-from",
            demo.source_url,
            "--log",
            str(log),
        ]
    )
    deadline = time.monotonic() + 20
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    statistics = json.loads((tmp_path / "load.jsonl.stats.json").read_text())
    assert statistics["requests"] == len(log.read_text().splitlines()) > 0
    assert not statistics["running"]
