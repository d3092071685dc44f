"""Ranking metrics agree with ir-measures (trec_eval), on a generated and on two real collections.

Rankings are TF-IDF's and those of wordllama's vectors, with scores rounded so that many tie, and
with documents missing: some queries find nothing at all, and lists end before the hundredth rank.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, P, R, nDCG
from scipy import sparse

from qafila.embedders.wordllama import WordLlamaEmbedder
from qafila.statistics.ranking_metrics import (
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
)

DATA = Path(__file__).parents[4] / "shared" / "data" / "retrieval"
DEPTH = 100

Run = dict[str, dict[str, float]]
Metric = Callable[[list[str], dict[str, float]], float | None]
METRICS: dict[ir_measures.Measure, Metric] = {
    nDCG @ 5: lambda ranking, grades: ndcg_at_k(ranking, grades, 5),
    nDCG @ 10: ndcg_at_k,
    nDCG @ 100: lambda ranking, grades: ndcg_at_k(ranking, grades, 100),
    RR: reciprocal_rank,
    R @ 10: recall_at_k,
    R @ 100: lambda ranking, grades: recall_at_k(ranking, grades, 100),
    P @ 10: precision_at_k,
}


@dataclass(frozen=True)
class Collection:
    documents: dict[str, str]
    queries: dict[str, str]
    grades: dict[str, dict[str, int]]


def generated() -> Collection:
    """Return 700 documents and 300 queries of a few common and rare words, with graded answers.

    Each query takes its words from one document, which is its best answer; documents that share
    its rare word are answers of a lower grade. So the oracle is asked on every machine.
    """
    random = np.random.default_rng(7)
    words = [f"w{n}" for n in range(500)]
    common = 1 / np.arange(1, len(words) + 1)
    texts = [
        list(random.choice(words, size=random.integers(8, 60), p=common / common.sum()))
        for _ in range(700)
    ]
    spread = Counter(word for text in texts for word in set(text))
    documents = {f"d{n}": " ".join(text) for n, text in enumerate(texts)}
    queries, grades = {}, {}
    for n in range(300):
        best = int(random.integers(len(texts)))
        asked = sorted(set(texts[best]), key=lambda word: (spread[word], word))[:4]
        queries[f"q{n}"] = " ".join(asked)
        grades[f"q{n}"] = {
            f"d{other}": 1 + (len(text) > 30)
            for other, text in enumerate(texts)
            if asked[0] in text
        } | {f"d{best}": 4}
    return Collection(documents, queries, grades)


@pytest.fixture(scope="module", params=["generated", "cranfield", "piaf-fr"])
def collection(request: pytest.FixtureRequest) -> Collection:
    if request.param == "generated":
        return generated()
    folder = DATA / request.param
    if not folder.exists():
        pytest.skip(f"no collection in {folder}")

    def texts(name: str) -> dict[str, str]:
        rows = map(json.loads, (folder / name).read_text(encoding="utf-8").splitlines())
        return {row["id"]: f"{row.get('title', '')} {row['text']}" for row in rows}

    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines():
        query, document, grade = line.split("\t")
        grades[query][document] = int(grade)
    return Collection(texts("docs.jsonl"), texts("queries.jsonl"), dict(grades))


def tf_idf(collection: Collection) -> np.ndarray:
    """Return (queries, documents) cosines of TF-IDF; 0 where no word is shared."""

    def words(text: str) -> Counter[str]:
        return Counter(re.findall(r"\w+", text.lower()))

    counted = [words(text) for text in collection.documents.values()]
    known = {word: n for n, word in enumerate(sorted(set().union(*counted)))}
    spread = Counter(word for one in counted for word in one)

    def matrix(texts: list[Counter[str]]) -> sparse.csr_matrix:
        cells = [
            (row, known[word], (1 + np.log(times)) * np.log(len(counted) / spread[word]))
            for row, one in enumerate(texts)
            for word, times in one.items()
            if word in known
        ]
        rows, columns, weights = zip(*cells, strict=True)
        found = sparse.csr_matrix((weights, (rows, columns)), shape=(len(texts), len(known)))
        lengths = np.sqrt(found.multiply(found).sum(axis=1)).A1
        return sparse.diags(1 / np.maximum(lengths, 1e-12)) @ found

    asked = [words(text) for text in collection.queries.values()]
    return (matrix(asked) @ matrix(counted).T).toarray()


def vectors(collection: Collection) -> np.ndarray:
    """Return (queries, documents) cosines of wordllama's vectors."""
    embedder = WordLlamaEmbedder()
    documents = embedder.embed(list(collection.documents.values()))
    return embedder.embed(list(collection.queries.values())) @ documents.T


def run_of(scores: np.ndarray, collection: Collection) -> Run:
    """Return at most 100 hits a query with rounded scores; each ninth query loses hits or all."""
    documents = list(collection.documents)
    found: Run = {}
    for n, (query, row) in enumerate(zip(collection.queries, np.round(scores, 2), strict=True)):
        best = np.argsort(-row, kind="stable")[:DEPTH]
        hits = {documents[d]: float(row[d]) for d in best if row[d] > 0}
        if n % 9 == 0:
            hits = dict(list(hits.items())[n % 5 :: 3])
        if n % 27 == 0:
            hits = {}
        found[query] = hits
    return found


def in_trec_order(hits: dict[str, float]) -> list[str]:
    """Return keys by falling score, equal scores by falling key: trec_eval's rule for ties."""
    return sorted(hits, key=lambda key: (hits[key], key), reverse=True)


def assert_agrees(collection: Collection, run: Run, rankings: dict[str, list[str]]) -> None:
    answered = {query: hits for query, hits in run.items() if hits}
    theirs = {
        (one.measure, one.query_id): one.value
        for one in ir_measures.iter_calc(list(METRICS), collection.grades, answered)
    }
    compared = 0
    for query, grades in collection.grades.items():
        for measure, ours in METRICS.items():
            value = ours(rankings[query], {d: float(g) for d, g in grades.items()})
            # a query that found nothing counts 0 for both
            assert value == pytest.approx(theirs.get((measure, query), 0.0), abs=1e-9)
            compared += 1
    assert compared >= 7 * 225


@pytest.mark.parametrize("scorer", [tf_idf, vectors])
def test_metrics_agree_with_ir_measures(
    collection: Collection, scorer: Callable[[Collection], np.ndarray]
) -> None:
    run = run_of(scorer(collection), collection)
    tied = sum(len(set(hits.values())) < len(hits) for hits in run.values())
    assert tied > len(run) / 2
    assert sum(not hits for hits in run.values()) >= len(run) // 27
    assert_agrees(collection, run, {query: in_trec_order(hits) for query, hits in run.items()})


def test_our_own_order_of_ties_agrees_when_ranks_are_the_scores(collection: Collection) -> None:
    run = run_of(tf_idf(collection), collection)
    rankings = {query: sorted(hits, key=lambda k: (-hits[k], k)) for query, hits in run.items()}
    by_rank = {
        query: {key: float(len(ranking) - n) for n, key in enumerate(ranking)}
        for query, ranking in rankings.items()
    }
    assert_agrees(collection, by_rank, rankings)


def test_means_agree_with_ir_measures(collection: Collection) -> None:
    run = run_of(tf_idf(collection), collection)
    theirs = ir_measures.calc_aggregate(list(METRICS), collection.grades, run)
    for measure, ours in METRICS.items():
        values = [
            ours(in_trec_order(run[query]), {d: float(g) for d, g in grades.items()})
            for query, grades in collection.grades.items()
        ]
        mean = sum(v for v in values if v is not None) / len(values)
        assert mean == pytest.approx(theirs[measure], abs=1e-9)
