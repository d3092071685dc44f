"""Phases, verdicts, chunks, digests, plans: the small pure parts."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.backfill.plan import Sample, plan_backfill
from qafila.chunking.chunks import split
from qafila.errors import Refused
from qafila.ledger.chain import GENESIS, Link, link_digest, verify_chain
from qafila.workload.corpus import Chunking
from qafila.workload.fingerprint import chunk_id, key_text, text_digest
from qafila.workload.phases import (
    ENDED,
    STEP_FROM,
    TRANSITIONS,
    Event,
    Phase,
    next_phase,
    next_step,
)
from qafila.workload.verdict import Verdict, worst


@given(st.lists(st.sampled_from(Verdict)))
def test_the_worst_verdict_wins_and_nothing_is_never_a_pass(verdicts: list[Verdict]) -> None:
    together = worst(verdicts)
    if together is Verdict.PASS:
        assert verdicts
        assert set(verdicts) == {Verdict.PASS}
    if Verdict.FAIL in verdicts:
        assert together is Verdict.FAIL


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
def test_only_the_table_moves_a_phase(phase: Phase, event: Event) -> None:
    if (phase, event) in TRANSITIONS:
        assert next_phase(phase, event) is TRANSITIONS[phase, event]
    else:
        with pytest.raises(Refused, match="cannot take the event"):
            next_phase(phase, event)


def test_every_phase_that_has_not_ended_has_a_next_step_or_is_on_trial() -> None:
    for phase in Phase:
        if phase in ENDED or phase is Phase.CANARY:
            assert next_step(phase, preflight_passed=True) is None
        else:
            assert next_step(phase, preflight_passed=True) == STEP_FROM[phase]
    assert next_step(Phase.DESIGNED, preflight_passed=False) == "preflight"


def test_a_promotion_can_always_be_taken_back() -> None:
    for phase in (Phase.CANARY, Phase.PROMOTED):
        assert next_phase(phase, Event.ROLLBACK) is Phase.ROLLED_BACK


TEXTS = st.text(
    alphabet=st.sampled_from("ab é\u0301\u0651\u064b\u0645\u0627 \n\u200d\U0001f469\U0001f4bb"),
    max_size=900,
)


@given(TEXTS, st.integers(100, 300), st.integers(0, 50))
def test_windows_cover_the_text_and_never_split_a_letter(text: str, size: int, lap: int) -> None:
    chunking = Chunking(method="window", max_characters=size, overlap_characters=lap)
    spans = split(text, chunking)
    covered = set(itertools.chain.from_iterable(range(s.start, s.end) for s in spans))
    assert covered == set(range(len(text)))
    assert [s.number for s in spans] == list(range(len(spans)))
    for before, after in itertools.pairwise(spans):
        assert before.start < after.start <= before.end < after.end
    for span in spans[1:]:
        assert text[span.start] not in "\u0301\u0651\u064b\u200d"


def test_a_whole_document_is_one_chunk_and_an_empty_one_none() -> None:
    assert [(s.start, s.end) for s in split("مرحبا", Chunking())] == [(0, 5)]
    assert split("", Chunking()) == []


def test_ids_are_derived_and_keys_are_unambiguous() -> None:
    assert chunk_id("a", 0) == chunk_id("a", 0) != chunk_id("a", 1)
    assert key_text(["a", "b"]) != key_text(["a,b"])
    assert key_text([7]) == "7"


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.integers()), min_size=1, max_size=6), st.data()
)
def test_any_change_to_the_chain_shows(bodies: list[dict[str, int]], data: st.DataObject) -> None:
    links: list[Link] = []
    previous = GENESIS
    for number, body in enumerate(bodies, 1):
        digest = link_digest(previous, number, body)
        links.append(Link(number, body, previous, digest))
        previous = digest
    head = (len(links), previous)
    assert verify_chain(links, head=head).intact
    at = data.draw(st.integers(0, len(links) - 1))
    changed = Link(
        links[at].number, {**links[at].body, "x": "y"}, links[at].previous, links[at].digest
    )
    assert not verify_chain([*links[:at], changed, *links[at + 1 :]], head=head).intact
    assert not verify_chain([*links[:at], *links[at + 1 :]], head=head).intact


def test_a_plan_extrapolates_its_sample_and_names_its_risks() -> None:
    # 10 000 rows from 100: x100. 3 000 tokens -> 300 000; at 2.00 a million = 0.60.
    # 10 000 / 50 rows a batch / 2 workers = 100 batches; median 0.1 s, slowest 0.3 s.
    plan = plan_backfill(
        rows=10_000,
        shards=10,
        rows_per_shard=1000,
        workers=2,
        sample=Sample(100, 120, 3000, 9000, 50, (0.1, 0.1, 0.3)),
        price_per_million_tokens=2.0,
        currency="USD",
        spend_cap=0.5,
    )
    assert (plan.tokens_estimated, plan.chunks_estimated) == (300_000, 12_000)
    assert plan.cost_estimated == pytest.approx(0.60)
    assert (plan.seconds_p50, plan.seconds_p95) == (pytest.approx(10.0), pytest.approx(30.0))
    assert plan.risks == ("0.60 USD of embeddings is over the cap of 0.50 USD",)


def test_half_a_surrogate_pair_has_a_digest_so_that_it_can_be_set_aside() -> None:
    assert text_digest("été") == hashlib.sha256("été".encode()).digest()
    assert len(text_digest("half \ud83d a pair")) == 32
