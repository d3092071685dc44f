"""A corpus whose parts do not fit together is refused, with what to change."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from qafila.workload.corpus import Corpus

ORIGIN = {"model": "other"}
EMBEDDER = {"kind": "wordllama"}
TARGET = {"kind": "pgvector", "block": "target"}
TABLE = {"kind": "pgvector", "block": "old", "table": "chunk", "vectors": ORIGIN}
COLLECTION = {"kind": "qdrant", "block": "old", "collection": "chunk", "vectors": ORIGIN}


def corpus(source: dict[str, Any], method: str) -> Corpus:
    parts = {"source": source, "embedder": EMBEDDER, "target": TARGET}
    return Corpus.model_validate({**parts, "chunking": {"method": method}})


@pytest.mark.parametrize("method", ["window", "tokens", "sentences", "headings"])
@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (TABLE, "name one column in corpus.source.key"),
        ({**TABLE, "key": ["document", "part"]}, "name one column in corpus.source.key"),
        (COLLECTION, "set corpus.source.number to null"),
        ({**COLLECTION, "key": "sku", "number": "part"}, "set corpus.source.number to null"),
    ],
)
def test_chunks_of_an_index_are_not_cut_anew(
    source: dict[str, Any], remedy: str, method: str
) -> None:
    with pytest.raises(ValidationError) as error:
        corpus(source, method)
    said = str(error.value)
    assert f"chunking by {method} would cut the numbered chunks of 'chunk' anew" in said
    assert "set corpus.chunking.method to whole" in said
    assert remedy in said


@pytest.mark.parametrize("method", ["whole", "sentences"])
@pytest.mark.parametrize(
    "source",
    [
        {**TABLE, "key": ["id"]},
        {**COLLECTION, "number": None},
        {**COLLECTION, "key": None, "number": None},
        {"kind": "objects", "location": "docs", "format": "markdown"},
        {"kind": "postgres", "block": "old", "table": "doc", "key": ["a", "b"], "text": ["t"]},
    ],
)
def test_documents_may_be_cut_as_one_likes(source: dict[str, Any], method: str) -> None:
    assert corpus(source, method).chunking.method == method


@pytest.mark.parametrize("source", [TABLE, COLLECTION])
def test_chunks_of_an_index_may_be_taken_whole(source: dict[str, Any]) -> None:
    assert corpus(source, "whole").chunking.method == "whole"
