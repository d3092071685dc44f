"""Compare keyword, vector and hybrid search on a judged collection: yours, or a public one.

    qafila bench retrieval --collection DIR --target pgvector --json

DIR holds docs.jsonl (id, text, optional title), queries.jsonl (id, text) and qrels.tsv (query, doc,
grade). All of it is checked before anything is started. Loads it into a scratch generation of a
PostgreSQL of its own (and, with ``--target qdrant``, of Qdrant's local mode or of the server that
QAFILA_TEST_QDRANT_URL names), asks every question of all three systems in turn, and deletes
everything again. Vectors are made in this process (wordllama, 256 dimensions, lower-cased): nothing
leaves the machine and nothing is paid.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import show, surroundings
from benchmarks.retrieval_systems import SYSTEMS, Searches, loaded
from benchmarks.setting import setting
from qafila.compare.collection import Collection, read_collection
from qafila.embedders.wordllama import WordLlamaEmbedder
from qafila.statistics.intervals import mean_share
from qafila.statistics.multiplicity import holm
from qafila.statistics.paired import compare_paired
from qafila.statistics.rank_fusion import VECTOR_WEIGHT
from qafila.statistics.ranking_metrics import mean, percentile
from qafila.validation.judged import DEEP_METRICS as METRICS
from qafila.validation.judged import DEPTH, JudgedQuery, deep_scores
from qafila.validation.language import Language, common_language

PAIRS = (("vector", "keyword"), ("hybrid", "keyword"))
LANGUAGES = ("auto", *get_args(Language), "simple")


def main() -> None:
    """Check the folder, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--collection", type=Path, required=True, metavar="DIR")
    parser.add_argument("--target", choices=["pgvector", "qdrant"], default="pgvector")
    parser.add_argument(
        "--language",
        choices=LANGUAGES,
        default="auto",
        help="of the lexemes; auto: that of most documents",
    )
    parser.add_argument("--max-queries", type=int, help="a random sample of so many")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object, not a table")
    given = parser.parse_args()
    collection = read_collection(given.collection)
    with setting() as here, here.target() as database:
        figures, raw = measure(
            collection,
            database,
            target=given.target,
            language=given.language,
            max_queries=given.max_queries,
            seed=given.seed,
        )
    if given.json:
        show("retrieval", figures, seed=given.seed, raw_seconds=raw)
    else:
        print("\n".join(table(figures, given.seed)))


def measure(
    collection: Collection,
    database: psycopg.Connection[Any],
    *,
    target: str,
    language: str = "auto",
    max_queries: int | None = None,
    seed: int = 7,
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Return the figures and every query's seconds by system."""
    full_text = language
    if language == "auto":
        full_text = common_language(d.whole for d in collection.documents) or "simple"
    queries = list(collection.queries)
    if max_queries is not None and max_queries < len(queries):
        queries = random.Random(seed).sample(queries, max_queries)
    embedder = WordLlamaEmbedder(256, lowercase=True)
    with loaded(collection, database, embedder, target=target, full_text=full_text) as searches:
        rankings, raw = _ask(searches, queries, embedder)
    scores = {s: deep_scores(queries, rankings[s]) for s in SYSTEMS}
    figures = {
        "collection": collection.name,
        "target": target,
        "documents": len(collection.documents),
        "queries": len(queries),
        "queries_without_judgement": list(collection.unjudged),
        "documents_without_text": list(collection.empty),
        "documents_without_vector": list(searches.without_vector),
        "language": "given" if language != "auto" else "that of most documents",
        "full_text": full_text,
        "keyword_by": searches.keyword_by,
        "vector_by": searches.vector_by,
        "hybrid_by": f"both lists, fused by score, vectors with a weight of {VECTOR_WEIGHT:g}",
        "embedder": f"{embedder.model}, {embedder.dimensions} dimensions, lower-cased",
        "systems": {s: _figures(scores[s], raw[s], seed) for s in SYSTEMS},
        "paired": _paired(scores, seed),
        "seconds": {
            k: round(v, 2)
            for k, v in {**searches.seconds, **{s: sum(raw[s]) for s in SYSTEMS}}.items()
        },
    }
    return figures, raw


def _ask(
    searches: Searches, queries: Sequence[JudgedQuery], embedder: WordLlamaEmbedder
) -> tuple[dict[str, list[list[str]]], dict[str, list[float]]]:
    """Ask each question of all systems in rotating order, so that all meet the same caches.

    The seconds of vector and hybrid search include making the question's vector.
    """
    rankings: dict[str, list[list[str]]] = {s: [] for s in SYSTEMS}
    raw: dict[str, list[float]] = {s: [] for s in SYSTEMS}
    for number, query in enumerate(queries):
        begun = time.perf_counter()
        vector = embedder.embed([query.text])[0]
        embedding = time.perf_counter() - begun
        turn = number % len(SYSTEMS)
        for system in SYSTEMS[turn:] + SYSTEMS[:turn]:
            begun = time.perf_counter()
            found = searches.systems[system](query.text, vector, DEPTH)
            took = time.perf_counter() - begun
            rankings[system].append(found)
            raw[system].append(took + (0.0 if system == "keyword" else embedding))
    return rankings, raw


def _figures(
    scores: Mapping[str, list[float]], seconds: Sequence[float], seed: int
) -> dict[str, Any]:
    ends = {m: [round(e, 4) for e in mean_share(scores[m], seed=seed)] for m in METRICS}
    p50, p95 = percentile(seconds, 0.5), percentile(seconds, 0.95)
    return {
        **{m: round(mean(scores[m]) or 0.0, 4) for m in METRICS},
        "ci": ends["ndcg_at_10"],
        "mrr_ci": ends["mrr"],
        "recall_at_100_ci": ends["recall_at_100"],
        "p50_ms": None if p50 is None else round(p50 * 1000, 2),
        "p95_ms": None if p95 is None else round(p95 * 1000, 2),
    }


def _paired(scores: Mapping[str, Mapping[str, list[float]]], seed: int) -> dict[str, Any]:
    """Compare nDCG@10 query by query; the two p-values are adjusted together (Holm)."""
    if len(scores["keyword"]["ndcg_at_10"]) < 2:
        return {}
    found = {
        f"{new}-{old}": compare_paired(
            scores[new]["ndcg_at_10"], scores[old]["ndcg_at_10"], seed=seed
        )
        for new, old in PAIRS
    }
    adjusted = holm([c.p_value for c in found.values()])
    paired = {}
    for (name, c), p, (new, old) in zip(found.items(), adjusted, PAIRS, strict=True):
        verdict = "better" if c.ci_low > 0 else "worse" if c.ci_high < 0 else "undecided"
        said = "not told from" if verdict == "undecided" else f"{verdict} than"
        paired[name] = {
            **{k: round(v, 4) for k, v in asdict(c).items()},
            "adjusted_p_value": round(p, 4),
            "verdict": verdict,
            "sentence": f"{new} is {said} {old}: nDCG@10 {c.delta:+.3f} "
            f"({c.ci_low:+.3f}…{c.ci_high:+.3f} at 95 %, p {_p(p)}); with {c.pairs} queries a "
            f"difference of {c.smallest_effect:.3f} shows (80 % power).",
        }
    return paired


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def table(figures: Mapping[str, Any], seed: int) -> list[str]:
    """Return the lines that a person reads."""
    lines = [
        f"{figures['collection']}: {figures['documents']} documents, {figures['queries']} judged "
        f"queries, into {figures['vector_by']}",
        f"keyword: {figures['keyword_by']}",
        f"vector:  {figures['embedder']}",
        f"hybrid:  {figures['hybrid_by']}",
        "",
        f"{'':8}  {'nDCG@10':22} {'MRR':22} {'recall@100':22} {'p50 ms':>7}",
    ]
    for name, system in figures["systems"].items():
        cells = [
            f"{system[m]:.3f} ({low:.3f}…{high:.3f})"
            for m, (low, high) in zip(
                METRICS, (system["ci"], system["mrr_ci"], system["recall_at_100_ci"]), strict=True
            )
        ]
        lines.append(f"{name:8}  " + " ".join(f"{c:22}" for c in cells) + f" {system['p50_ms']:7}")
    lines += ["", *(pair["sentence"] for pair in figures["paired"].values())]
    for what, plural in (
        ("queries_without_judgement", "queries without a relevant document were left out"),
        ("documents_without_text", "documents without a text cannot be found"),
        ("documents_without_vector", "documents hold no word that the model knows"),
    ):
        if named := figures[what]:
            more = "" if len(named) <= 10 else f" and {len(named) - 10} more"
            lines.append(f"{len(named)} {plural}: {', '.join(named[:10])}{more}")
    about = surroundings()
    seconds = ", ".join(f"{k} {v:.1f}" for k, v in figures["seconds"].items())
    return [
        *lines,
        "",
        f"seconds: {seconds}; seed {seed}; {about['machine']['cores']} cores, "
        f"{about['machine']['processor']}",
        "versions: " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
    ]


if __name__ == "__main__":
    main()
