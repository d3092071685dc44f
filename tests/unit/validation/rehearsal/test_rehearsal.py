"""What a rehearsal makes of its trials, and that every plant breaks exactly what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.stores.port import Chunk, Vectors
from qafila.validation.model import Rung
from qafila.validation.rehearsal.judge_rehearsal import FAULTS, Fault, Trial, judge_rehearsal
from qafila.validation.rehearsal.plants import (
    ONE_MORE,
    OUTSIDERS,
    PLANTS,
    mojibake,
    other_type,
    trigram_vector,
)
from qafila.validation.rehearsal.scratch import Document
from qafila.workload.fingerprint import text_digest
from qafila.workload.verdict import Judgement, Verdict
from tests.support.corpus import demo_workload

CLEAN = Judgement(Verdict.PASS, "every rung holds.")
WORKLOAD = demo_workload()
WIDTH = WORKLOAD.corpus.embedder.dimensions


def trial(fault: Fault, caught_at: Rung | None, skipped: str = "") -> Trial:
    return Trial(fault, 1, caught_at, "said.", 0.1, skipped)


def test_all_caught_and_a_whole_copy_let_be_is_a_pass() -> None:
    judged = judge_rehearsal(CLEAN, [trial(f, f.rungs[0]) for f in FAULTS])
    assert judged.verdict is Verdict.PASS
    assert judged.numbers["faults"] == judged.numbers["caught"] == len(FAULTS) == 20
    assert judged.numbers["missed"] == judged.numbers["elsewhere"] == []


def test_one_missed_fault_fails_and_is_named() -> None:
    trials = [trial(f, None if f.name == "zero vectors" else f.rungs[0]) for f in FAULTS]
    judged = judge_rehearsal(CLEAN, trials)
    assert judged.verdict is Verdict.FAIL
    assert judged.sentence == "the ladder caught 19 of 20 planted faults; it missed: zero vectors."


def test_a_fault_caught_by_another_rung_is_caught_and_said() -> None:
    judged = judge_rehearsal(CLEAN, [trial(FAULTS[0], Rung.COST)])
    assert judged.verdict is Verdict.PASS
    assert judged.numbers["elsewhere"] == ["dropped shard"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_a_copy_that_fails_whole_proves_nothing(verdict: Verdict) -> None:
    judged = judge_rehearsal(
        Judgement(verdict, "3 rows missing."), [trial(f, f.rungs[0]) for f in FAULTS]
    )
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "3 rows missing" in judged.sentence


def test_nothing_planted_proves_nothing() -> None:
    skipped = [trial(f, None, skipped="no place here") for f in FAULTS]
    judged = judge_rehearsal(CLEAN, skipped)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert len(judged.numbers["skipped"]) == len(FAULTS)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from([*Rung, None]), min_size=1, max_size=len(FAULTS)))
def test_a_rehearsal_never_passes_with_a_fault_that_nothing_noticed(
    caught: list[Rung | None],
) -> None:
    judged = judge_rehearsal(CLEAN, [trial(f, c) for f, c in zip(FAULTS, caught, strict=False)])
    assert (judged.verdict is Verdict.PASS) == (None not in caught)


# --- plants ------------------------------------------------------------------------------------


def embed(texts: list[str]) -> Vectors:
    return np.stack([trigram_vector(f"model {t}", WIDTH) for t in texts])


def documents(
    count: int, text: str = "Deletes the given Bucket, and éverything in it"
) -> list[Document]:
    found = []
    for n in range(count):
        words = f"Deletes the given Bucket, and éverything in it {n}"
        chunk = Chunk(f"doc-{n}", 0, 0, len(words), "", words, text_digest(words), ["everyone"])
        found.append(Document(f"doc-{n}", (chunk,), embed([words])))
    return found


@pytest.mark.parametrize("name", list(PLANTS))
def test_every_plant_changes_every_document_and_nothing_else(name: str) -> None:
    before = documents(4)
    kept = [replace(d, vectors=d.vectors.copy()) for d in before]
    after = PLANTS[name](before, WORKLOAD, embed)  # type: ignore[arg-type]
    for old, still in zip(kept, before, strict=True):
        assert old.chunks == still.chunks  # what is put back is what was there
        assert (old.vectors == still.vectors).all()
    if name == "dropped shard":
        assert after == []
        return
    assert [d.key for d in after] == [d.key for d in before]
    for old, new in zip(before, after, strict=True):
        assert new.vectors.shape == (len(new.chunks), WIDTH)
        assert old.chunks != new.chunks or not np.allclose(old.vectors, new.vectors)


def test_what_is_planted_is_what_the_fault_says() -> None:
    (before,) = documents(1)

    def planted(name: str) -> Document:
        return PLANTS[name]([before], WORKLOAD, embed)[0]  # type: ignore[arg-type]

    assert [c.number for c in planted("duplicated chunk").chunks] == [0, ONE_MORE]
    assert planted("off-by-one chunk").chunks[0].text == before.chunks[0].text[1:]
    assert planted("stale row").chunks[0].digest == text_digest(planted("stale row").chunks[0].text)
    assert planted("truncated text").chunks == before.chunks
    assert np.linalg.norm(planted("unnormalised vectors").vectors) == pytest.approx(1.7, abs=1e-5)
    assert not planted("zero vectors").vectors.any()
    assert planted("lost ACL").chunks[0].acl == []
    assert planted("widened ACL").chunks[0].acl == ["everyone", OUTSIDERS]
    assert planted("lowercased text").chunks[0].digest == before.chunks[0].digest
    assert "Ã©" in planted("mojibake").chunks[0].text


def test_swapped_vectors_come_in_pairs_and_one_alone_keeps_its_own() -> None:
    before = documents(3)
    after = PLANTS["swapped vectors"](before, WORKLOAD, embed)  # type: ignore[arg-type]
    assert (after[0].vectors == before[1].vectors).all()
    assert (after[1].vectors == before[0].vectors).all()
    assert (after[2].vectors == before[2].vectors).all()


@given(st.text(max_size=60))
def test_another_model_has_a_vector_of_length_one_for_every_text(text: str) -> None:
    assert np.linalg.norm(trigram_vector(text, WIDTH)) == pytest.approx(1.0, abs=1e-5)


@given(st.text(min_size=1, max_size=60, alphabet=st.characters(exclude_categories=["Cs"])))
def test_mojibake_never_leaves_a_text_as_it_was(text: str) -> None:
    assert mojibake(text) != text


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.floats(allow_nan=False)),
        max_size=4,
    )
)
def test_other_metadata_differs_by_one_value_of_another_type(metadata: dict[str, object]) -> None:
    changed = other_type(metadata)
    different = [
        k for k in changed if k not in metadata or type(metadata[k]) is not type(changed[k])
    ]
    assert len(different) == 1
