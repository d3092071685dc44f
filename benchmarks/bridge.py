"""Measure what a bridge keeps: nDCG@10 of the old model, the new one, and old vectors mapped.

    python -m benchmarks.bridge --calibration 2000

Judged collections: Cranfield and PIAF when ../shared/data is there, and the AWS documentation of
botocore. The new model is wordllama at 256 dimensions; the old ones are variants of it, and one
of another kind: TF-IDF weights, projected at random to 256 dimensions. Exact search throughout, so
that the index is not what is measured. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import show
from qafila.demo.corpus import read_corpus
from qafila.embedders.linear_map import fit
from qafila.embedders.wordllama import WordLlamaEmbedder
from qafila.statistics.ranking_metrics import mean, ndcg_at_k

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
DATA = Path(__file__).parents[2] / "shared" / "data" / "retrieval"
SEED = 7


@dataclass(frozen=True)
class Collection:
    """Documents and judged queries."""

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    grades: dict[str, dict[str, float]]


def main() -> None:
    """Measure every old model on every collection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calibration", type=int, default=2000, help="texts; half at the most")
    given = parser.parse_args()
    new = WordLlamaEmbedder(256)
    results, raw = [], {"fit": [], "map": [], "embed": []}  # type: ignore[var-annotated]
    for collection in collections():
        texts, asked = list(collection.documents.values()), list(collection.queries.values())
        begun = time.perf_counter()
        new_texts = new.embed(texts)
        raw["embed"].append(time.perf_counter() - begun)
        new_score = ndcg(collection, new_texts, new.embed(asked))
        order = np.random.default_rng(SEED).permutation(len(texts))
        sample = order[: min(given.calibration, len(texts) // 2)]
        for name, old in old_models(texts).items():
            old_texts = old(texts)
            begun = time.perf_counter()
            linear, quality = fit(old_texts[sample], new_texts[sample], seed=SEED)
            fitted = time.perf_counter()
            mapped = linear.apply(old_texts)
            raw["fit"].append(fitted - begun)
            raw["map"].append(time.perf_counter() - fitted)
            bridge = ndcg(collection, mapped, new.embed(asked))
            results.append(
                {
                    "collection": collection.name,
                    "documents": len(texts),
                    "queries": len(asked),
                    "old_model": name,
                    "ndcg_old": round(ndcg(collection, old_texts, old(asked)), 4),
                    "ndcg_bridge": round(bridge, 4),
                    "ndcg_new": round(new_score, 4),
                    "kept_of_new": round(bridge / new_score, 3),
                    "held_out": {
                        k: round(v, 3) if isinstance(v, float) else v
                        for k, v in asdict(quality).items()
                    },
                }
            )
    show("bridge", {"results": results}, seed=SEED, raw_seconds=raw)


def collections() -> Iterator[Collection]:
    """Yield the collections that this machine has."""
    for name in ("cranfield", "piaf-fr"):
        if (DATA / name).is_dir():
            documents = {
                d["id"]: f"{d.get('title') or ''}\n{d.get('text') or ''}".strip()
                for d in _lines(DATA / name / "docs.jsonl")
            }
            queries = {q["id"]: q["text"] for q in _lines(DATA / name / "queries.jsonl")}
            grades: dict[str, dict[str, float]] = {}
            for line in (DATA / name / "qrels.tsv").read_text().splitlines():
                query, document, grade = line.split("\t")[:3]
                if query in queries:
                    grades.setdefault(query, {})[document] = float(grade)
            yield Collection(name, documents, queries, grades)
    operations, items = read_corpus()
    yield Collection(
        "aws-docs",
        {o.operation_id: f"{o.title}\n{o.body}" for o in operations},
        {q.query_id: q.text for q in items},
        {q.query_id: {q.relevant: 1.0} for q in items},
    )


def _lines(file: Path) -> Iterator[dict[str, str]]:
    return (json.loads(line) for line in file.read_text().splitlines())


def old_models(texts: Sequence[str]) -> dict[str, Embed]:
    """Return what may have filled the old index."""
    return {
        "wordllama 256, case kept": WordLlamaEmbedder(256, lowercase=False).embed,
        "wordllama 64": WordLlamaEmbedder(64).embed,
        "wordllama 64, case kept": WordLlamaEmbedder(64, lowercase=False).embed,
        "TF-IDF projected to 256": _projected(texts),
    }


def _projected(texts: Sequence[str]) -> Embed:
    seen = Counter(w for t in texts for w in set(_words(t)))
    weight = {w: float(np.log(len(texts) / n)) for w, n in seen.items()}
    found: dict[str, NDArray[np.float64]] = {}

    def direction(word: str) -> NDArray[np.float64]:
        if word not in found:
            found[word] = np.random.default_rng(zlib.crc32(word.encode())).normal(size=256)
        return found[word]

    def embed(asked: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(asked), 256))
        for row, text in enumerate(asked):
            for word, times in Counter(_words(text)).items():
                if weight.get(word, 0) > 0:
                    vectors[row] += (1 + np.log(times)) * weight[word] * direction(word)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    return embed


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def ndcg(collection: Collection, documents: Vectors, queries: Vectors) -> float:
    """Return the mean nDCG@10 of exact search."""
    ids, scores = list(collection.documents), []
    for start in range(0, len(queries), 200):
        near = queries[start : start + 200] @ documents.T
        best = np.argsort(-near, axis=1, kind="stable")[:, :10]
        for query, row in zip(list(collection.queries)[start : start + 200], best, strict=True):
            scores.append(ndcg_at_k([ids[i] for i in row], collection.grades.get(query, {}), 10))
    value = mean(scores)
    assert value is not None
    return value


if __name__ == "__main__":
    main()
