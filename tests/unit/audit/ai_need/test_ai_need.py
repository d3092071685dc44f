"""Who will need AI: when a score is withheld, what a signal may do to it, what a need takes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.ai_need.assessment import CorpusVolume, assess_estate, assess_workload
from qafila.audit.ai_need.demand import BYTES_PER_TOKEN, Texts, serving_of, takes_of
from qafila.audit.ai_need.evidence import ModelUse, model_uses_in
from qafila.audit.ai_need.names import (
    is_model_host,
    keeps_vectors,
    meaning_of_table,
    means_assistant,
    means_search,
    model_variables,
    serves_a_model,
)
from qafila.audit.ai_need.signal import LEAST_COVERAGE, Candidate, Need, Signal
from qafila.audit.estate import Resource
from qafila.workload.model import ProductPlan, Workload
from tests.support.price_book import BOOK

MINIMAL: dict[str, Any] = {
    "name": "docs-search",
    "owner": "search@example.org",
    "criticality": "low",
    "corpus": {
        "source": {
            "kind": "postgres",
            "block": "source",
            "table": "doc",
            "key": ["id"],
            "text": ["body"],
        },
        "embedder": {"kind": "wordllama", "dimensions": 256},
        "target": {"kind": "pgvector", "block": "target"},
    },
    "service": {
        "baseline": {"url": "http://127.0.0.1:18081"},
        "candidate": {"url": "http://127.0.0.1:18082"},
        "router": {"kind": "envoy-file", "block": "edge"},
    },
    "projection": {"queries_per_month": 10_000},
    "compliance": {"personal_data": "none", "hosting": ["FR"], "purpose": "search in the docs"},
}
RETRIEVAL = Path("../shared/data/retrieval")
signals = st.builds(
    Signal,
    st.sampled_from("abcdef"),
    st.integers(1, 5),
    st.none() | st.booleans(),
    st.just(""),
    st.just("?"),
    st.none() | st.sampled_from([n for n in Need if n is not Need.NONE]),
    st.none() | st.integers(0, 24),
)
several = st.lists(signals, max_size=8)


def candidate(found: list[Signal]) -> Candidate:
    return Candidate("app", "owner@example.org", tuple(found))


@given(several)
def test_a_score_is_withheld_whenever_too_little_was_answered(found: list[Signal]) -> None:
    judged = candidate(found)
    withheld = judged.coverage < LEAST_COVERAGE
    assert (judged.score is None) == withheld
    assert (judged.need is None) == withheld
    if withheld:
        assert judged.horizon_months is None
        assert judged.as_row()["score"] is None
    assert len(judged.questions) == sum(s.found is None for s in found)


@given(several, signals)
def test_an_answered_yes_never_lowers_the_score(found: list[Signal], more: Signal) -> None:
    yes = Signal(more.name, more.weight, True, "", "", more.speaks_for, more.within_months)
    before, after = candidate(found), candidate([*found, yes])
    if before.score is not None:
        assert after.score is not None
        assert after.score >= before.score
    assert after.coverage >= before.coverage


@given(several, st.data())
def test_answering_an_open_question_with_yes_never_lowers_the_score(
    found: list[Signal], data: st.DataObject
) -> None:
    open_ = [i for i, s in enumerate(found) if s.found is None]
    if not open_:
        return
    at, before = data.draw(st.sampled_from(open_)), candidate(found)
    s = found[at]
    yes = Signal(s.name, s.weight, True, "", "", s.speaks_for, s.within_months)
    after = candidate([*found[:at], yes, *found[at + 1 :]])
    if before.score is not None:
        assert after.score is not None
        assert after.score >= before.score
    assert after.coverage > before.coverage


@given(several, st.randoms(use_true_random=False))
def test_the_order_of_signals_does_not_matter(found: list[Signal], order: random.Random) -> None:
    mixed = list(found)
    order.shuffle(mixed)
    one, other = candidate(found), candidate(mixed)
    assert (one.score, one.coverage, one.need, one.points_to, one.horizon_months) == (
        other.score,
        other.coverage,
        other.need,
        other.points_to,
        other.horizon_months,
    )
    assert sorted(one.questions) == sorted(other.questions)


def workload(**audit: Any) -> Workload:
    return Workload.model_validate({**MINIMAL, **({"audit": audit} if audit else {})})


def test_a_workload_file_alone_is_just_enough_for_a_score() -> None:
    judged = assess_workload(workload(), CorpusVolume(1000, 500_000))
    assert judged.coverage == pytest.approx(0.8)
    assert judged.score is not None
    assert judged.need is Need.SEARCH
    assert any("audit.plans" in question for question in judged.questions)
    assert any("call a model today" in question for question in judged.questions)


def test_a_corpus_that_could_not_be_measured_leaves_the_score_withheld() -> None:
    judged = assess_workload(workload(), None)
    assert (judged.score, judged.need) == (None, None)
    assert any("how much text" in question for question in judged.questions)


def test_a_plan_decides_need_and_horizon() -> None:
    plans = [
        {"what": "answer tickets", "kind": "assistant", "within_months": 6},
        {"what": "write offers", "kind": "generation", "within_months": 18},
    ]
    judged = assess_workload(workload(plans=plans), CorpusVolume(1000, 500_000), model_uses=())
    by_name = {s.name: s for s in judged.signals}
    planned = by_name["planned within 12 months"]
    assert (planned.found, planned.evidence) == (True, "answer tickets (assistant, 6 months)")
    assert planned.speaks_for is Need.ASSISTANT
    assert judged.horizon_months == 6
    assert judged.coverage == 1
    late = assess_workload(workload(plans=plans[1:]), CorpusVolume(1, 1))
    signal = next(s for s in late.signals if s.name == "planned within 12 months")
    assert (signal.found, signal.evidence) == (
        False,
        "the next one in 18 months, from the workload file",
    )


def test_models_that_are_called_today_count_for_their_own_workload() -> None:
    name = MINIMAL["name"]
    uses = [ModelUse(name, "app/answer.py:12", "code"), ModelUse("other", "x.py:1", "code")]
    judged = assess_workload(workload(), CorpusVolume(1000, 500_000), model_uses=uses)
    calls = next(s for s in judged.signals if s.name == "calls a model today")
    assert (calls.found, calls.evidence) == (True, "app/answer.py:12 (code)")
    assert judged.horizon_months == 0
    none = assess_workload(workload(), CorpusVolume(1000, 500_000), model_uses=())
    assert next(s for s in none.signals if s.name == "calls a model today").found is False


def text(name: str = "shop", meaning: str | None = "tickets", rows: int = 1000) -> Resource:
    return Resource(
        f"postgres:main/{name}/public.t.body",
        "postgres:text",
        "public.t.body",
        "main",
        rows * 400,
        {},
        {
            "database": name,
            "table": "public.t",
            "rows": rows,
            "text_bytes": rows * 400,
            "languages": {"english": 1.0},
            "meaning": meaning,
        },
    )


def served(name: str, app: str, **facts: Any) -> Resource:
    return Resource(
        f"kubernetes:c/shop/Deployment/{name}",
        "kubernetes:deployment",
        name,
        "c",
        None,
        {"app": app, "owner": "team@example.org"},
        facts,
    )


COMPLETE = dict.fromkeys(
    ["kubernetes-workloads", "postgres-databases", "postgres-texts"], "complete"
)


def test_an_estate_without_aws_gives_candidates_with_what_to_ask() -> None:
    assistant = served("support-assistant", "support", gpus=1, hosts={"URL": "api.openai.com"})
    found = assess_estate([text(), assistant], COMPLETE)
    assert [c.subject for c in found] == ["database shop on main", "support"]
    database, app = found
    signals = {s.name: s.found for s in database.signals}
    assert signals["text corpus"]
    assert signals["tickets, chats or mails"]
    assert signals["GPU in use"] is False
    assert signals["people search it"] is None
    assert (database.score, database.points_to) == (None, Need.ASSISTANT)
    assert database.owner == "whoever runs database shop on main (no owner tag)"
    signals = {s.name: s.found for s in app.signals}
    assert signals["calls a model today"]
    assert signals["GPU in use"]
    assert app.questions[0].startswith("team@example.org: ")


def test_plans_of_an_app_lift_it_above_the_coverage() -> None:
    plan = ProductPlan(what="answer tickets", kind="assistant", within_months=3)
    found = assess_estate(
        [text("support"), served("support-api", "support")], COMPLETE, plans={"support": [plan]}
    )
    (only,) = found
    assert only.coverage >= LEAST_COVERAGE
    assert (only.need, only.horizon_months) == (Need.ASSISTANT, 3)
    assert only.takes is not None
    assert only.takes.texts == 1000


def test_a_closed_collector_leaves_its_questions_open_and_says_so() -> None:
    gpu = served("train", "support", gpus=2)
    (found,) = assess_estate([gpu], COMPLETE | {"postgres-texts": "denied"})
    corpus = next(s for s in found.signals if s.name == "text corpus")
    assert (corpus.found, corpus.evidence) == (None, "postgres-texts is denied")
    assert "postgres-texts is denied" in corpus.ask
    (found,) = assess_estate([gpu], {"kubernetes-workloads": "complete"})
    corpus = next(s for s in found.signals if s.name == "text corpus")
    assert (corpus.found, corpus.evidence) == (None, "no collector looked")


def test_code_that_calls_no_model_is_no_answer_while_a_collector_is_closed() -> None:
    gpu = served("train", "support", gpus=2)

    def calls(outcome: str) -> bool | None:
        (found,) = assess_estate([gpu], {"kubernetes-workloads": outcome}, model_uses=())
        return next(s.found for s in found.signals if s.name == "calls a model today")

    assert calls("complete") is False
    assert calls("denied") is None


def test_a_model_that_nobody_tagged_is_a_candidate_of_its_own() -> None:
    use = Resource("arn:x", "bedrock:model-use", "claude", "eu-west-3")
    (found,) = assess_estate([use], {"bedrock": "complete"})
    assert found.subject == "(without an app tag)"
    assert "claude" in next(s.evidence for s in found.signals if s.name == "calls a model today")


def test_what_its_own_file_assesses_is_not_assessed_twice() -> None:
    resources = [served("search", "docs", gpus=1)]
    assert assess_estate(resources, COMPLETE, besides=frozenset({"docs"})) == ()


def test_nothing_that_speaks_for_ai_is_no_candidate() -> None:
    assert assess_estate([served("billing", "billing")], COMPLETE) == ()


estate = st.lists(
    st.one_of(
        st.builds(
            text,
            st.sampled_from(["shop", "crm"]),
            st.sampled_from([None, "chats"]),
            st.integers(1, 10**6),
        ),
        st.builds(
            served,
            st.sampled_from(["search", "chat", "api"]),
            st.sampled_from(["shop", "ml"]),
            gpus=st.integers(0, 4),
        ),
    ),
    max_size=6,
    unique_by=lambda r: r.id,
)


@given(estate, st.randoms(use_true_random=False))
def test_the_order_of_resources_does_not_matter(
    resources: list[Resource], order: random.Random
) -> None:
    mixed = list(resources)
    order.shuffle(mixed)
    rows = [c.as_row() for c in assess_estate(resources, COMPLETE)]
    assert rows == [c.as_row() for c in assess_estate(mixed, COMPLETE)]
    json.dumps(rows)


@given(estate)
def test_no_candidate_below_the_coverage_ever_has_a_score(resources: list[Resource]) -> None:
    for outcomes in (COMPLETE, {}, COMPLETE | {"postgres-texts": "denied"}):
        for found in assess_estate(resources, outcomes):
            assert (found.score is None) == (found.coverage < LEAST_COVERAGE)


def test_what_a_search_takes_is_counted_from_its_volume() -> None:
    takes = takes_of([Texts(10_000, 10_000 * 4700, {"english": 1.0})], dimensions=256)
    assert takes is not None
    assert takes.tokens == 10_000_000  # 4.7 bytes a token
    assert takes.vectors == 40_000  # 1 000 tokens a text, 256 a chunk
    # a page holds 5 pairs: 76 + 8 + 4*256 + 4 + 6*35 + 8 = 1 330 bytes, 8 160 // 1 330 = 6
    assert takes.index_bytes == -(-40_000 // 6) * 8192
    assert (takes.model_bytes, takes.by_token) == (None, None)
    assert "about 10,000,000 tokens, 40,000 vectors of 256" in takes.sentence


def test_what_an_assistant_takes_names_the_smallest_gpu_or_tokens() -> None:
    serving = serving_of(BOOK)
    few = takes_of(
        [Texts(100, 40_000)], writes=True, serving=serving, generated_tokens_per_month=10**6
    )
    much = takes_of(
        [Texts(100, 40_000)], writes=True, serving=serving, generated_tokens_per_month=10**10
    )
    assert few is not None
    assert much is not None
    # 16.06 GB of weights and 131 072 bytes a token of cache, 16 contexts of 4 096 tokens
    assert few.model_bytes == 16_060_000_000 + 131_072 * 4096 * 16
    assert (few.by_token, much.by_token) == (True, False)
    assert few.gpu is not None
    unknown = takes_of([], writes=True)
    assert unknown is not None
    assert unknown.sentence == "by the token"
    assert takes_of([]) is None


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**9),
    st.dictionaries(
        st.sampled_from(["english", "french", "arabic", "not told"]), st.floats(0, 1), max_size=4
    ),
)
def test_more_text_is_never_fewer_tokens(count: int, size: int, mix: dict[str, float]) -> None:
    less, more = Texts(count, size, mix), Texts(count, size + 1000, mix)
    assert less.tokens <= more.tokens
    assert less.chunks <= more.chunks
    assert less.chunks >= count


@pytest.mark.skipif(not RETRIEVAL.is_dir(), reason="the public collections are not here")
@pytest.mark.parametrize(
    ("collection", "language"), [("cranfield", "english"), ("piaf-fr", "french")]
)
def test_bytes_of_a_token_are_as_measured(collection: str, language: str) -> None:
    import wordllama
    from tokenizers import Tokenizer

    folder = Path(wordllama.__file__).parent / "tokenizers"
    tokenizer = Tokenizer.from_file(str(folder / "l2_supercat_tokenizer_config.json"))
    lines = (RETRIEVAL / collection / "docs.jsonl").read_text().splitlines()
    texts = [f"{d.get('title') or ''} {d['text']}" for d in map(json.loads, lines)]
    tokens = sum(len(e.ids) for e in tokenizer.encode_batch(texts))
    measured = sum(len(t.encode()) for t in texts) / tokens
    assert measured == pytest.approx(BYTES_PER_TOKEN[language], rel=0.02)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("support_tickets", "tickets"),
        ("SupportTicket", "tickets"),
        ("chat_messages", "chats"),
        ("articles", "knowledge"),
        ("product_reviews", "feedback"),
        ("emails", "mail"),
        ("orders", None),
        ("ticketing", None),
        ("t", None),
    ],
)
def test_a_table_means_what_its_words_say(name: str, meaning: str | None) -> None:
    assert meaning_of_table(name) == meaning


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("api.openai.com", True),
        ("acme.openai.azure.com", True),
        ("api.anthropic.com", True),
        ("bedrock-runtime.eu-west-3.amazonaws.com", True),
        ("runtime.sagemaker.us-east-1.amazonaws.com", True),
        ("vpce-0a.bedrock-runtime.eu-west-3.vpce.amazonaws.com", True),
        ("api.sagemaker.us-east-1.amazonaws.com", False),
        ("europe-west1-aiplatform.googleapis.com", True),
        ("generativelanguage.googleapis.com", True),
        ("notapi.openai.com.example.org", False),
        ("s3.eu-west-3.amazonaws.com", False),
        ("db.example.org", False),
    ],
)
def test_a_model_is_known_by_its_vendors_host(host: str, is_one: bool) -> None:
    assert is_model_host(host) is is_one


def test_names_of_endpoints_variables_and_images() -> None:
    assert means_search("aws-docs-search")
    assert means_search("OpenSearch")
    assert not means_search("research-lab-api".replace("research", "billing"))
    assert means_assistant("support-assistant")
    assert means_assistant("chat")
    assert not means_assistant("purchase")
    assert model_variables(["OPENAI_API_KEY", "HOME", "LLM_URL"]) == ["LLM_URL", "OPENAI_API_KEY"]
    assert serves_a_model("docker.io/vllm/vllm-openai:v0.9")
    assert not serves_a_model("registry.example.org/minimal:1")
    assert keeps_vectors("qdrant/qdrant:v1.16")


def test_uses_come_with_their_evidence_and_no_value() -> None:
    found = model_uses_in(
        [
            served(
                "a",
                "support",
                hosts={"URL": "api.openai.com"},
                variables=["OPENAI_API_KEY"],
                images=["vllm/vllm-openai:v0.9"],
            )
        ]
    )
    assert {u.what for u in found} == {
        "a calls api.openai.com",
        "a has OPENAI_API_KEY",
        "a runs vllm/vllm-openai:v0.9",
    }
    assert {u.subject for u in found} == {"support"}
