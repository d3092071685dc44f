"""Rung 3 over a real generation and a real model: another vector than the text's is named."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blocks import EmbeddingEndpoint
from qafila.stack import postgres
from qafila.validation.checks.meaning import compare_meaning
from tests.integration.validation.filled import Change, Filled, embed, new_filled
from tests.support.embedding_provider import KEY as SECRET
from tests.support.embedding_provider import MODEL, Provider, serving

KEY, OTHER = "op-0007", "op-0020"
SURE = {"detect_confidence": 0.99999}  # of 300 rows that is all of them
ALL = [f"op-{n:04}" for n in range(300)]


@pytest.fixture(scope="module", params=["pgvector", "halfvec", "qdrant"])
def filled(
    request: pytest.FixtureRequest, pg_server: postgres.Postgres, tmp_path_factory: Any
) -> Filled:
    if request.param == "qdrant":
        folder: Path = tmp_path_factory.mktemp("points")
        return new_filled(pg_server, folder)
    kind = {
        "kind": "pgvector",
        "block": "demo-target",
        "full_text": "none",
        "vector_type": "vector" if request.param == "pgvector" else "halfvec",
    }
    return new_filled(pg_server, target=kind)


def of_text(change: Any, **settings: Any) -> Change:
    """Return a change that keeps the text and embeds another one, or by another setting."""
    return lambda c, v: (c, embed([change(c.text)], **settings)[0])


def of_a_model(c: Any, v: Any) -> Any:
    random = np.random.default_rng(len(c.text)).standard_normal(len(v))
    return c, random / np.linalg.norm(random)


FAULTS: dict[str, Change] = {
    "wrong model": of_a_model,
    "other revision": of_text(lambda t: t, lowercase=False),
    "truncated": of_text(lambda t: t[: len(t) * 4 // 5]),
    "first half": of_text(lambda t: t[: len(t) // 2]),
    "mojibake": of_text(lambda t: t.encode().decode("latin-1")),
    "not normalised": lambda c, v: (c, v * 3),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_row_with_another_vector_is_named_and_mended_it_passes(
    filled: Filled, fault: str
) -> None:
    with filled.spoilt([KEY], FAULTS[fault]):
        found = filled.assert_fails(compare_meaning, f"{KEY} (chunk 0)", "1 have another", **SURE)
        assert [row["document"] for row in found.details[0].rows] == [KEY]
    found = filled.assert_passes(compare_meaning, **SURE)
    assert found.figures["meaning"]["faulty"] == 0  # type: ignore[index]
    assert "it was every row" in found.judgement.sentence


def test_vectors_embedded_without_lower_case_are_found_where_the_case_matters(
    filled: Filled,
) -> None:
    """The workload lower-cases: a vector of the text as it is belongs to another revision."""
    with filled.spoilt(ALL, of_text(lambda t: t, lowercase=False)):
        filled.assert_fails(compare_meaning, "nearly all of them: another model", **SURE)
    filled.assert_passes(compare_meaning, **SURE)


def test_swapped_vectors_are_told_as_each_others(filled: Filled) -> None:
    with filled.store() as store:
        held = store.stored([KEY, OTHER])
    filled.put([KEY, OTHER], held.chunks, held.vectors[::-1])
    found = filled.find(compare_meaning, **SURE)
    filled.put([KEY, OTHER], held.chunks, held.vectors)
    assert found.judgement.verdict == "FAIL"
    assert f"{KEY} (chunk 0) has the vector of {OTHER} (chunk 0)" in found.judgement.sentence
    filled.assert_passes(compare_meaning, **SURE)


def test_one_percent_by_a_wrong_model_are_a_part(filled: Filled) -> None:
    keys = random.Random(3).sample(ALL, 3)
    with filled.spoilt(keys, of_a_model):
        found = filled.assert_fails(compare_meaning, "3 have another", "a part was made", **SURE)
        assert {r["document"] for r in found.details[0].rows} == set(keys)


def test_a_sample_says_what_may_still_be_faulty(filled: Filled) -> None:
    found = filled.assert_passes(compare_meaning, detect_share=0.1)
    figures: Any = found.figures["meaning"]
    assert figures["rows"] == 28  # of an endless population 29; C(270, 28) / C(300, 28) < 0.05
    assert found.on == "28 of 300 rows, at random"
    assert "may be faulty (95 %)" in found.judgement.sentence
    assert found.smallest_effect == "a fault of 10 % of all rows (95 %)"
    again = filled.assert_passes(compare_meaning, detect_share=0.1)
    assert again.figures == found.figures
    other: Any = filled.assert_passes(compare_meaning, detect_share=0.1, seed=8)
    assert other.figures["meaning"]["drawn"] != figures["drawn"]


def test_a_service_is_asked_for_the_sample_and_a_few_texts_twice(
    pg_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAFILA_SECRET_PROVIDER", SECRET)
    with serving(Provider()) as provider:
        endpoint = EmbeddingEndpoint(url=provider.url, api_key=SECRET)
        embedder = {
            "kind": "openai",
            "block": "provider",
            "model": MODEL,
            "dimensions": 64,
            "price_per_million_tokens": 1,
        }
        filled = new_filled(pg_server, rows=60, provider=endpoint, embedder=embedder)
        provider.asked.clear()
        found = filled.assert_passes(compare_meaning, detect_share=0.2)
        figures: Any = found.figures["meaning"]
        assert figures["texts_paid"] == figures["rows"] + min(16, figures["rows"])
        assert sum(len(a.texts) for a in provider.admitted) <= figures["texts_paid"] + 1  # a probe
        assert f"{figures['texts_paid']} texts sent to the embedder" in found.judgement.sentence
