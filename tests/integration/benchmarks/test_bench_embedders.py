"""qafila bench embedders: two real collections, a paid service over HTTP, a workload's evidence."""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks import embedders
from benchmarks.embedders_table import table
from benchmarks.machine import NotMeasured
from blocks import EmbeddingEndpoint
from qafila.compare.embedders.candidates import IN_PROCESS
from qafila.compare.embedders.vector_cache import FILE
from qafila.compare.embedders.vectors import Purchase
from qafila.decision.embedder_comparison import latest_comparison, record_comparison
from qafila.decision.record import markdown
from qafila.errors import BadInput, Refused
from qafila.ledger.connections import record_connection
from qafila.ledger.evidence import check_chain
from qafila.settings import home
from qafila.validation.known_item_rules import LABEL
from qafila.workload.model import Workload
from tasks import target_architecture as steps
from tests.support.applied import apply_demo, audit, fill_source
from tests.support.corpus import demo_workload, make_source, ready_generation
from tests.support.embedding_provider import KEY, MODEL, Provider, serving

DATA = Path(__file__).parents[4] / "shared" / "data" / "retrieval"
TOPICS = ("bucket", "queue", "table", "cluster", "network", "key", "role", "alarm", "image", "log")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("SMALL_KEY", KEY)


@pytest.fixture
def database(target_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider(64)) as provider:
        yield provider


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A judged collection of 40 documents and 20 questions, half of them in French."""
    found = tmp_path / "mine"
    found.mkdir()
    docs, queries, qrels = [], [], []
    for n in range(40):
        topic = TOPICS[n % 10]
        text = f"How to make {topic} number {n} and list what is in it, with examples for {topic}s"
        docs.append({"id": f"d{n}", "title": f"Make {topic} {n}", "text": text})
        if n < 20:
            asked = f"how to make the {topic} {n}" if n % 2 else f"comment faire le {topic} {n}"
            queries.append({"id": f"q{n}", "text": asked})
            qrels.append(f"q{n}\td{n}\t1")
    found.joinpath("docs.jsonl").write_text("\n".join(map(json.dumps, docs)))
    found.joinpath("queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    found.joinpath("qrels.tsv").write_text("\n".join(qrels))
    return found


def given(*arguments: str) -> Namespace:
    return embedders.options().parse_args(arguments)


def endpoint(provider: Provider, name: str = "small", **more: Any) -> str:
    parts = {
        "model": MODEL,
        "dimensions": 64,
        "price_per_million_tokens": 2,
        "key_env": "SMALL_KEY",
        **more,
    }
    return f"{name}={provider.url}," + ",".join(f"{k}={v}" for k, v in parts.items())


def run(
    options: Namespace,
    database: psycopg.Connection[Any],
    ledger_url: str,
    ledger: psycopg.Connection[Any] | None = None,
) -> tuple[dict[str, Any], list[Purchase]]:
    """Do what the command does, on the test's own servers; return figures and what was planned."""
    prepared = embedders.prepare(options, ledger)
    caches = partial(embedders.cache_of, prepared)
    plan = embedders.plan(prepared, ledger, caches)
    embedders.agree(options, plan, prepared)
    compared = embedders.measure(options, prepared, database, ledger_url, caches)
    left = "SELECT count(*) FROM pg_tables WHERE schemaname = 'qafila' AND tablename ~ 'embedders'"
    assert database.execute(left).fetchone() == (0,)
    return compared.figures, plan


@pytest.mark.parametrize(("name", "language"), [("cranfield", "english"), ("piaf-fr", "french")])
def test_a_wider_model_is_better_on_a_real_collection(
    database: psycopg.Connection[Any], ledger_url: str, name: str, language: str
) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no collection in {DATA / name}")
    options = given(
        "--collection",
        str(DATA / name),
        "--in-process",
        "wordllama-64,wordllama-256",
        "--sample-documents",
        "500",
        "--max-queries",
        "60",
    )
    found, plan = run(options, database, ledger_url)
    assert plan == []
    sample = found["sample"]
    assert sample["documents"] >= max(500, sample["relevant"])
    assert sample["relevant"] + sample["others"] == sample["documents"] < sample["of_documents"]
    best, other = found["candidates"]
    assert (best["name"], best["place"], other["place"]) == ("wordllama-256", 1, 2)
    assert (found["current"], other["reference"]) == ("wordllama-64", True)
    low, high = best["difference_ci"]
    assert 0 < low < best["difference"] < high
    assert best["p_holm"] < 0.05
    assert best["ci"][0] < best["ndcg_at_10"] < best["ci"][1]
    assert best["hybrid"]["ndcg_at_10"] > best["ndcg_at_10"]
    assert best["by_language"][language]["queries"] > 20
    assert best["storage_bytes"] == sample["of_documents"] * 1032
    assert best["query_ms_p50"] <= best["query_ms_p95"]
    assert best["texts_per_s"] > 10
    assert float(best["per_million_chunks"]) > 0
    assert "a sample of" in table({**found, "evidence": 7}, 7)[0]


def test_a_second_run_pays_nothing_and_says_the_same(
    provider: Provider, folder: Path, database: psycopg.Connection[Any], ledger_url: str
) -> None:
    options = given(
        "--collection",
        str(folder),
        "--in-process",
        "wordllama-64",
        "--yes",
        "--endpoint",
        endpoint(provider),
    )
    first, plan = run(options, database, ledger_url)
    asked = len(provider.asked)
    texts = [t for a in provider.admitted for t in a.texts]
    assert len(texts) == len(set(texts)) == 60 == plan[0].texts
    mine, paid = sorted(first["candidates"], key=lambda c: c["name"], reverse=True)
    assert mine["ndcg_at_10"] == paid["ndcg_at_10"]  # the provider serves the same model
    assert {c["place"] for c in first["candidates"]} == {1}  # so it is a tie, the cheaper first
    assert first["candidates"][0] is mine
    tokens = sum(a.tokens for a in provider.admitted)
    assert float(first["spent"]) == pytest.approx(tokens * 2 / 1e6)
    assert plan[0].cost <= plan[0].cost_p95
    assert plan[0].cost_p95 >= float(first["spent"])
    assert paid["queries_timed"] == 20
    assert float(paid["per_million_chunks"]) == pytest.approx(
        2 * paid["tokens_per_chunk"], rel=0.01
    )

    again, plan = run(options, database, ledger_url)
    assert len(provider.asked) == asked
    assert (plan[0].texts, plan[0].cost_p95) == (0, 0)
    assert again["spent"] == "0"
    for key in ("ndcg_at_10", "query_ms_p95", "tokens_per_chunk", "per_million_chunks"):
        rows = [next(c for c in f["candidates"] if c["name"] == "small") for f in (first, again)]
        assert rows[0][key] == rows[1][key]


def test_nothing_is_paid_unasked_and_no_more_than_the_cap(
    provider: Provider,
    folder: Path,
    database: psycopg.Connection[Any],
    ledger_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y"))  # not a terminal: its yes does not count
    base = [
        "--collection",
        str(folder),
        "--in-process",
        "wordllama-64",
        "--endpoint",
        endpoint(provider),
    ]
    with pytest.raises(Refused, match="add --yes"):
        run(given(*base), database, ledger_url)
    assert "small: 60 texts go to http://127.0.0.1" in capsys.readouterr().err
    with pytest.raises(Refused, match="left under the cap"):
        run(given(*base, "--yes", "--spend-cap", "0.0001"), database, ledger_url)
    assert provider.asked == []
    free = [*base[:-1], endpoint(provider, price_per_million_tokens=0)]
    run(given(*free), database, ledger_url)  # free: it is shown, not asked
    assert provider.asked


def test_who_cannot_be_measured_is_named_and_the_others_are(
    provider: Provider,
    folder: Path,
    database: psycopg.Connection[Any],
    ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SMALL_KEY", "sk-wrong-9876543210")
    options = given(
        "--collection",
        str(folder),
        "--in-process",
        "wordllama-64,wordllama-128",
        "--yes",
        "--endpoint",
        endpoint(provider),
        "--current",
        "small",
    )
    found, _ = run(options, database, ledger_url)
    assert "does not let us in" in found["not_measured"]["small"]
    assert "the variable SMALL_KEY" in found["not_measured"]["small"]
    assert "sk-wrong" not in json.dumps(found)
    assert len(found["candidates"]) == 2
    assert found["current"] == "wordllama-64"


def test_without_judgements_questions_are_generated_and_called_so(
    folder: Path, database: psycopg.Connection[Any], ledger_url: str
) -> None:
    (folder / "qrels.tsv").unlink()
    options = given(
        "--collection",
        str(folder),
        "--in-process",
        "wordllama-64,wordllama-64-cased",
        "--max-queries",
        "25",
    )
    with pytest.raises(BadInput, match=r"qrels\.tsv is not there"):
        embedders.prepare(options, None)
    (folder / "queries.jsonl").unlink()
    found, _ = run(options, database, ledger_url)
    assert found["judged_by"] == LABEL
    assert found["queries"] == 25
    assert LABEL in found["sentence"]


def test_where_no_keywords_are_served_there_is_no_hybrid(
    folder: Path, database: psycopg.Connection[Any], ledger_url: str
) -> None:
    options = given(
        "--collection",
        str(folder),
        "--in-process",
        "wordllama-64,wordllama-128",
        "--rank-by",
        "hybrid",
    )
    prepared = embedders.prepare(options, None)
    prepared = replace(prepared, sample=replace(prepared.sample, full_text="none"))
    caches = partial(embedders.cache_of, prepared)
    found = embedders.measure(options, prepared, database, ledger_url, caches).figures
    assert found["ranked_by"] == "vector"
    assert {c["hybrid"] for c in found["candidates"]} == {None}
    assert "not served" in table(found, 7)[1]


def test_one_error_names_every_problem(folder: Path, provider: Provider) -> None:
    (folder / "qrels.tsv").write_text("q1\td99\t1\n")
    options = given(
        "--collection",
        str(folder),
        "--in-process",
        "wordllama-512",
        "--endpoint",
        "Bad Name=nowhere,model=m,dimensions=0,colour=red",
        "--endpoint",
        endpoint(provider, "two", key_env="NOT_SET"),
        "--endpoint",
        "three=block:vendor,model=m,dimensions=4,price_per_million_tokens=1",
        "--sample-documents",
        "3",
        "--current",
        "nobody",
    )
    with pytest.raises(BadInput) as caught:
        embedders.prepare(options, None)
    said = caught.value.render()
    for part in (
        "--in-process wordllama-512",
        "'nowhere' is no address",
        "dimensions=0",
        "'colour=red' is none of",
        "price_per_million_tokens= is missing",
        "lower-case letters, digits and hyphens",
        "NOT_SET (key_env) is not set",
        "so it needs --workload",
        "--sample-documents must be at least 10",
        "document 'd99' is not in docs.jsonl",
    ):
        assert part in said
    with pytest.raises(BadInput, match="at least two embedders"):
        embedders.prepare(given("--collection", str(folder), "--in-process", "wordllama-64"), None)


def test_a_workload_against_a_block_of_the_ledger(
    provider: Provider,
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    target_url: str,
    database: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_source(target_url, 60)
    database.execute(
        "CREATE TABLE known_item_query (query_id text, text text, relevant text, grade int)"
    )
    database.execute(
        "INSERT INTO known_item_query SELECT 'q-' || n, 'put the thing ' || n, 'op-' ||"
        " lpad(n::text, 6, '0'), 1 FROM generate_series(1, 30) AS n"
    )
    workload = demo_workload(
        chunking={"method": "window", "max_characters": 100, "overlap_characters": 20}
    )
    ready_generation(ledger, workload, target_url, target_url)
    monkeypatch.setenv("QAFILA_SECRET_VENDOR", KEY)
    record_connection(ledger, "vendor", EmbeddingEndpoint(url=provider.url, api_key=KEY))
    options = given(
        "--workload",
        workload.name,
        "--in-process",
        "none",
        "--sample-documents",
        "40",
        "--yes",
        "--endpoint",
        f"other=block:vendor,model={MODEL},dimensions=64,price_per_million_tokens=1",
        "--rank-by",
        "hybrid",
    )
    found, _ = run(options, database, ledger_url, ledger)
    used = next(n for n, s in IN_PROCESS.items() if s == workload.corpus.embedder)
    assert found["current"] == used
    assert {c["name"] for c in found["candidates"]} == {used, "other"}
    assert found["sample"]["documents"] == 40
    assert (found["sample"]["relevant"], found["sample"]["of_documents"]) == (30, 60)
    spent = "SELECT settled > 0, workload FROM qafila.spending"
    assert ledger.execute(spent).fetchone() == (True, workload.name)
    assert latest_comparison(ledger, workload.name) is None
    number = record_comparison(ledger, workload.name, found)
    kept = latest_comparison(ledger, workload.name)
    assert kept is not None
    assert (kept["evidence"], kept["winner"]) == (number, found["candidates"][0]["name"])
    assert kept["candidates"][0]["ci"] == found["candidates"][0]["hybrid"]["ci"]


@pytest.mark.slow
def test_the_command_keeps_evidence_and_what_it_paid_for_beside_the_target(
    provider: Provider,
    ledger: psycopg.Connection[Any],
    target_url: str,
    database: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_source(target_url, 30)
    embedder = {
        "kind": "openai",
        "block": "vendor",
        "model": MODEL,
        "dimensions": 64,
        "price_per_million_tokens": 1,
    }
    workload = demo_workload(embedder=embedder, cache=True)
    workload = Workload.model_validate(
        {**workload.model_dump(), "queries": {"judged": {"kind": "generated", "queries": 30}}}
    )
    monkeypatch.setenv("QAFILA_SECRET_VENDOR", KEY)
    record_connection(ledger, "vendor", EmbeddingEndpoint(url=provider.url, api_key=KEY))
    ready_generation(ledger, workload, target_url, target_url)
    base = ["bench", "--workload", workload.name, "--in-process", "wordllama-64", "--yes"]
    address = provider.url.replace("127.0.0.1", "localhost")  # another service, for all we know
    other = f"other={address},model={MODEL},dimensions=64,price_per_million_tokens=3"
    monkeypatch.setattr(sys, "argv", [*base, "--endpoint", f"{other},key_env=SMALL_KEY"])
    embedders.main()
    said = capsys.readouterr().out
    kept = latest_comparison(ledger, workload.name)
    assert kept is not None
    assert f"kept as evidence {kept['evidence']}" in said
    assert kept["current"] == "vendor"
    assert kept["judged_by"] == LABEL
    assert [c["name"] for c in kept["candidates"]] == ["wordllama-64", "vendor", "other"]
    # the other service calls its model by the same name, and asks for every text itself
    rows = database.execute("SELECT count(*) FROM qafila.embedding_cache").fetchone()
    texts = [t for a in provider.admitted for t in a.texts]
    assert rows == (len(texts) // 2,) == (len(set(texts)),)
    asked = len(provider.asked)
    (home() / FILE).unlink()  # what is beside the target is enough for the vectors
    monkeypatch.setattr(sys, "argv", base)
    embedders.main()
    assert len(provider.asked) == asked
    assert check_chain(ledger).intact


def test_the_decision_record_shows_what_was_compared_on_this_corpus(
    ledger: psycopg.Connection[Any],
    target_url: str,
    database: psycopg.Connection[Any],
    ledger_url: str,
    folder: Path,
) -> None:
    fill_source(target_url)
    workload, generation = apply_demo(ledger, target_url)
    name = workload.name
    generation = audit(ledger, generation)
    need, how = steps.measure_need.fn(name)

    def page() -> str:
        body = steps.compare_patterns.fn(
            name, need, how, steps.read_audit.fn(name), 1, 400, steps.read_embedders.fn(name)
        )
        json.dumps(body)
        return markdown(name, generation.number, body)

    assert "Embedders compared" not in page()
    options = given("--collection", str(folder), "--in-process", "wordllama-256,wordllama-64")
    found, _ = run(options, database, ledger_url)
    number = record_comparison(ledger, name, found)
    shown = page()
    assert "## Embedders compared on this corpus" in shown
    assert f"(evidence {number}, 20" in shown
    winner = found["candidates"][0]
    low, high = winner["ci"]
    assert f"{winner['name']}" in shown
    assert f"{winner['ndcg_at_10']:.3f} ({low:.3f}…{high:.3f})" in shown
    assert "over a sample of 40 of 40 documents: this is the whole." in shown


@pytest.mark.slow
def test_the_command_prints_one_json_object_and_fails_when_somebody_was_not_measured(
    folder: Path,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["bench", "--collection", str(folder), "--in-process", "wordllama-64,wordllama-128"]
    monkeypatch.setattr(sys, "argv", [*base, "--json"])
    embedders.main()
    found = json.loads(capsys.readouterr().out)
    assert {c["name"] for c in found["candidates"]} == {"wordllama-64", "wordllama-128"}
    assert found["seed"] == 7
    assert found["machine"]["cores"] >= 1
    assert len(found["raw_seconds"]["wordllama-64"]) == 20
    monkeypatch.setattr(
        sys, "argv", [*base, "--yes", "--endpoint", endpoint(provider, dimensions=63)]
    )
    with pytest.raises(NotMeasured, match="63"):
        embedders.main()
    assert "wordllama-128" in capsys.readouterr().out
