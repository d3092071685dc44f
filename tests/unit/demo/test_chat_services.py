"""The OpenAI-compatible front of the demo's search: what it answers, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from qafila.demo.chat_services import (
    NOTHING,
    Document,
    application,
    tokens_of,
    write_answer,
)
from qafila.demo.services import Question
from qafila.errors import Unavailable
from qafila.search.table import Found

DOCUMENTS = {
    "s3.PutObject": Document("s3.PutObject", "Put Object", "Adds an object [sic] to a bucket."),
    "s3.GetObject": Document("s3.GetObject", "Get Object", "Reads an object of a bucket."),
}


class Search:
    """Finds both documents, or what a question asks for."""

    arm = "candidate"

    def search(self, question: Question) -> Sequence[Found]:
        if question.q == "down":
            raise Unavailable("the database: gone")
        return [] if question.q == "xyzzy" else [Found(key, 1.0) for key in DOCUMENTS]

    def health(self) -> dict[str, object]:
        return {"status": "ok", "arm": self.arm}


@pytest.fixture
def chat() -> Iterator[TestClient]:
    read = lambda keys: [DOCUMENTS[k] for k in keys]  # noqa: E731
    app = application(Search(), read, "hybrid-1", budget=60, breakable=True)
    with TestClient(app) as client:
        yield client


def ask(chat: TestClient, text: str = "put an object", **more: object) -> dict[str, object]:
    return {"model": "hybrid-1", "messages": [{"role": "user", "content": text}], **more}


def test_an_answer_is_a_completion_that_cites_what_was_found(chat: TestClient) -> None:
    reply = chat.post("/v1/chat/completions", json=ask(chat))
    body = reply.json()
    assert reply.status_code == 200
    assert (body["object"], body["model"]) == ("chat.completion", "hybrid-1")
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert "[s3.PutObject]" in choice["message"]["content"]
    assert body["usage"]["total_tokens"] == (
        body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    )
    assert reply.headers["x-qafila-results"] == "2"
    assert "x-qafila-bad" not in reply.headers


def test_streamed_it_is_the_same_text_word_by_word(chat: TestClient) -> None:
    whole = chat.post("/v1/chat/completions", json=ask(chat)).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    reply = chat.post("/v1/chat/completions", json=ask(chat, **options))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-qafila-results"] == "2"
    *events, end = [line for line in reply.text.split("\n\n") if line]
    assert end == "data: [DONE]"
    chunks = [json.loads(e.removeprefix("data: ")) for e in events]
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == whole["usage"]


def test_a_message_may_come_in_parts_and_the_last_user_is_answered(chat: TestClient) -> None:
    messages = [
        {"role": "user", "content": "xyzzy"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "put an object"}]},
    ]
    reply = chat.post("/v1/chat/completions", json={"model": "hybrid-1", "messages": messages})
    assert reply.headers["x-qafila-results"] == "2"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not JSON", 400, "invalid_request"),
        ({"model": "hybrid-1", "messages": []}, 400, "invalid_request"),
        (
            {"model": "hybrid-1", "messages": [{"role": "system", "content": "x"}]},
            400,
            "invalid_request",
        ),
        ({"model": "gpt", "messages": [{"role": "user", "content": "x"}]}, 404, "model_not_found"),
        (
            {"model": "hybrid-1", "messages": [{"role": "user", "content": "down"}]},
            503,
            "unavailable",
        ),
    ],
)
def test_what_cannot_be_answered_is_an_error_object(
    chat: TestClient, body: bytes | dict[str, object], status: int, code: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = chat.post("/v1/chat/completions", content=content)
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code


def test_there_is_one_model_and_health(chat: TestClient) -> None:
    assert [m["id"] for m in chat.get("/v1/models").json()["data"]] == ["hybrid-1"]
    assert chat.get("/health").json()["model"] == "hybrid-1"


@pytest.mark.parametrize(
    ("faults", "status", "results", "bad"),
    [
        ({"ungrounded": 1}, 200, "2", "ungrounded"),
        ({"wordy": 1}, 200, "2", "over_budget"),
        ({"ungrounded": 1, "wordy": 1}, 200, "2", "ungrounded,over_budget"),
        ({"empty": 1}, 200, "0", None),
        ({"errors": 1}, 500, None, None),
        ({"errors": 1, "tenant": "other"}, 200, "2", None),
        ({}, 200, "2", None),
    ],
)
def test_it_goes_bad_on_purpose_and_says_so(
    chat: TestClient, faults: dict[str, float], status: int, results: str | None, bad: str | None
) -> None:
    assert chat.post("/_demo/break", json=faults).status_code == 200
    reply = chat.post("/v1/chat/completions", json=ask(chat), headers={"x-tenant-id": "mine"})
    assert reply.status_code == status
    assert reply.headers.get("x-qafila-results") == results
    assert reply.headers.get("x-qafila-bad") == bad


def test_faults_that_make_no_sense_are_refused(chat: TestClient) -> None:
    assert chat.post("/_demo/break", json={"ungrounded": 2}).status_code == 400
    assert chat.post("/_demo/break", json={"magic": 1}).status_code == 400


words = st.text("abc [].:", max_size=40)


@given(
    prompt=words,
    found=st.lists(
        st.builds(
            Document, st.from_regex(r"[a-z]{1,5}\.[A-Z][a-z]{1,5}", fullmatch=True), words, words
        ),
        max_size=3,
    ),
    budget=st.integers(1, 400),
)
def test_a_sound_answer_is_never_called_ungrounded_and_a_wordy_one_is_always_over(
    prompt: str, found: list[Document], budget: int
) -> None:
    sound = write_answer(prompt, found, budget=budget, ungrounded=False, wordy=False)
    assert "ungrounded" not in sound.bad
    assert ("over_budget" in sound.bad) == (len(tokens_of(sound.text)) > budget)
    assert sound.results == len(found)
    assert found or sound.text == NOTHING
    wordy = write_answer(prompt, found, budget=budget, ungrounded=True, wordy=True)
    assert set(wordy.bad) == {"ungrounded", "over_budget"}
