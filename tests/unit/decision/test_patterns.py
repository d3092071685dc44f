"""Patterns and the choice: what fits, what serves, where data may be, what it costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.decision.choice import Choice, choose, what_would_change_our_mind, with_volumes
from qafila.decision.patterns import PATTERNS, Assessment, Need, Storage, assess_patterns
from qafila.decision.record import evidence_body, markdown, table
from qafila.workload.fingerprint import canonical_json
from tests.support.price_book import BOOK

SEARCH = Need(
    documents=17_422,
    text_bytes=8_700_000,
    dimensions=256,
    queries_per_month=2_000_000,
    growth_per_year=0.5,
    generated_tokens_per_query=0,
    hosting=("MA", "FR"),
    monthly_budget=Decimal(800),
)
WRITING = replace(SEARCH, generated_tokens_per_query=300)


def assess(need: Need, samples: int = 400) -> dict[str, Assessment]:
    return {a.pattern.name: a for a in assess_patterns(need, BOOK, seed=1, samples=samples)}


def decide(need: Need) -> Choice:
    return choose(list(assess(need).values()), need)


def assert_chooses(need: Need, name: str | None) -> Choice:
    choice = decide(need)
    assert (choice.chosen and choice.chosen.pattern.name) == name, choice
    return choice


def test_at_least_five_patterns_with_stay_among_them() -> None:
    assert len({p.name for p in PATTERNS}) >= 5
    assert "stay" in {p.name for p in PATTERNS}


def test_a_plain_search_stays_in_process_and_says_why_not_the_rest() -> None:
    choice = assert_chooses(SEARCH, "in-process-pgvector")
    reasons = dict(choice.rejected)
    assert set(reasons) == {p.name for p in PATTERNS} - {"in-process-pgvector"}
    assert "no vectors" in reasons["stay"]
    assert "no vectors" in choice.sentence
    assert "overpriced" in reasons["hyperscaler-gpu-pgvector"]
    assert "busy 0." in reasons["hyperscaler-gpu-pgvector"]
    assert "data would be in" in reasons["by-token-pgvector"]


@pytest.mark.parametrize(
    ("storage", "name", "other"),
    [("pgvector", "in-process-pgvector", "Qdrant"), ("Qdrant", "in-process-qdrant", "pgvector")],
)
def test_what_is_chosen_has_the_store_that_the_workload_fills(
    storage: Storage, name: str, other: str
) -> None:
    need = replace(SEARCH, storage=storage)
    choice = assert_chooses(need, name)
    reasons = dict(choice.rejected)
    told = reasons[f"in-process-{other.lower()}"]
    assert told.startswith(f"the workload's target is {storage}, this is {other}: ")
    assert "a month at the median" in told
    changes = what_would_change_our_mind(need, BOOK, choice, seed=1, samples=300)
    assert changes[0].startswith(f"Memory: {storage} ")
    body = evidence_body(
        need,
        BOOK,
        assess_patterns(need, BOOK, seed=1, samples=300),
        choice,
        changes,
        context={"measured": "counted", "audit": []},
        seed=1,
        samples=300,
    )
    assert f"- The index is in {storage} (corpus.target).\n" in markdown("docs", 1, body)
    writing = replace(need, generated_tokens_per_query=300, monthly_budget=Decimal(9000))
    found = decide(writing).chosen
    assert found is not None
    assert found.pattern.storage == storage


def test_staying_never_wins_however_cheap() -> None:
    assert_chooses(replace(SEARCH, monthly_budget=Decimal(0)), None)
    stay = assess(SEARCH)["stay"]
    choice = choose([stay], SEARCH)
    assert choice.chosen is None
    assert '"stay" ' in choice.sentence


def test_generated_answers_need_a_model_that_resides_within_the_budget() -> None:
    assert_chooses(WRITING, None)  # 800 a month is too little for a GPU in France
    assert_chooses(replace(WRITING, monthly_budget=Decimal(5000)), "specialist-gpu-qdrant")
    free = replace(WRITING, monthly_budget=Decimal(5000), hosting=("MA", "FR", "EU"))
    choice = decide(free)
    assert choice.chosen is not None
    assert choice.chosen.pattern.compute in ("inference by token", "hybrid")


def test_residency_alone_can_refuse_every_pattern() -> None:
    choice = assert_chooses(replace(SEARCH, hosting=("MA",)), None)
    assert "allowed: MA" in dict(choice.rejected)["in-process-pgvector"]


def test_a_corpus_that_no_machine_holds_does_not_fit() -> None:
    huge = with_volumes(SEARCH, documents=2_000_000_000)
    found = assess(huge)["in-process-pgvector"]
    assert not found.fits
    assert found.memory_bytes > found.memory_available_bytes


@settings(max_examples=25, deadline=None)
@given(
    factor=st.floats(1.0, 1_000.0),
    seed=st.integers(0, 1000),
    name=st.sampled_from([p.name for p in PATTERNS]),
)
def test_more_queries_never_cost_less(factor: float, seed: int, name: str) -> None:
    less = assess_patterns(SEARCH, BOOK, seed=seed, samples=50)
    busy = with_volumes(SEARCH, queries=SEARCH.queries_per_month * factor)
    more = assess_patterns(busy, BOOK, seed=seed, samples=50)
    before = next(a for a in less if a.pattern.name == name)
    after = next(a for a in more if a.pattern.name == name)
    assert after.monthly.p50 >= before.monthly.p50
    assert before.network.p50 <= before.monthly.p50 <= before.monthly.p90


def test_the_same_seed_gives_the_same_evidence_and_it_is_json() -> None:
    def body() -> dict[str, object]:
        assessed = assess_patterns(SEARCH, BOOK, seed=3, samples=300)
        choice = choose(assessed, SEARCH)
        changes = what_would_change_our_mind(SEARCH, BOOK, choice, seed=3, samples=300)
        return evidence_body(
            SEARCH,
            BOOK,
            assessed,
            choice,
            changes,
            context={"measured": "counted", "audit": ["Audit: fine."]},
            seed=3,
            samples=300,
        )

    first = body()
    assert canonical_json(first) == canonical_json(body())
    page = markdown("docs", 2, first)
    for heading in ("Context", "Patterns compared", "Lock-in", "What would change our mind"):
        assert f"## {heading}" in page
    assert "2026-07-20" in page or "2026-11-24" in page
    assert [r["verdict"] for r in table(first)].count("chosen") == 1


def test_what_would_change_our_mind_is_computed() -> None:
    choice = decide(SEARCH)
    sentences = " ".join(what_would_change_our_mind(SEARCH, BOOK, choice, seed=1, samples=300))
    for word in (
        "Qdrant becomes the cheaper store at about",
        "Memory:",
        "Load:",
        "Budget:",
        "Generated answers",
        "GPU against tokens",
        "Residency",
    ):
        assert word in sentences
    assert "no price in MA" in sentences


@pytest.mark.parametrize("hosting", [("MA",), ("FR",), ("US",)])
@pytest.mark.parametrize("tokens", [0, 300])
def test_thresholds_exist_for_every_kind_of_need(hosting: tuple[str, ...], tokens: int) -> None:
    need = replace(SEARCH, hosting=hosting, generated_tokens_per_query=tokens)
    changes = what_would_change_our_mind(need, BOOK, decide(need), seed=1, samples=200)
    assert len(changes) >= 5


def test_an_empty_corpus_and_no_query_are_costed_too() -> None:
    nothing = replace(SEARCH, documents=0, text_bytes=0, queries_per_month=0)
    assert_chooses(nothing, "in-process-pgvector")
    assert what_would_change_our_mind(nothing, BOOK, decide(nothing), seed=1, samples=200)
