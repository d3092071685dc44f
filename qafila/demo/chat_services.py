"""The demo's two services once more, behind an OpenAI-compatible endpoint.

    python -m qafila.demo.chat_services baseline --port 18091 --model keyword-1
    python -m qafila.demo.chat_services candidate --port 18092 --model hybrid-1

``POST /v1/chat/completions`` answers the last user message with the first documents that the
search finds, each cited by its key in brackets; whole or streamed. ``GET /v1/models`` names the
one model, and asking for another is a 404, as with a provider. No model writes here: what is on
trial is how an inference service is moved, and its answers have to be the same each time.

The service looks at each answer before it leaves. In ``x-qafila-results`` it says how many
documents stand in it, and in ``x-qafila-bad`` what is wrong with it: ``ungrounded`` when it cites
what was not found, ``over_budget`` when it is longer than ``--token-budget``. A token is a word or
a mark. With ``--breakable``, ``POST /_demo/break`` takes the shares of ``ChatFaults``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from qafila.demo.services import (
    RESULTS_HEADER,
    TENANT_HEADER,
    Connections,
    Faults,
    Question,
    Service,
    open_service,
    problems_of,
    serve,
    warmed_up,
)
from qafila.errors import Refused, Unavailable
from qafila.settings import stack_state
from qafila.sql import statement

BAD_HEADER = "x-qafila-bad"
DOCUMENTS = 3  # how many an answer cites
TOKEN_BUDGET = 300
NOTHING = "The documentation says nothing about that."
_EXCERPT = 25  # words of a document that are quoted
_NOT_FOUND = "nowhere.NeverWritten"  # what an ungrounded answer cites


class ChatFaults(Faults):
    """What a chat service does wrong on purpose, besides what a search does."""

    ungrounded: float = Field(
        0.0, ge=0, le=1, description="Share of answers that cite what was not found."
    )
    wordy: float = Field(0.0, ge=0, le=1, description="Share of answers over the token budget.")


class Part(BaseModel):
    """One part of a message; only text is read."""

    type: str
    text: str = ""


class Message(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """Whether a stream ends with its usage."""

    include_usage: bool = False


class Completion(BaseModel):
    """A request as it comes in; fields that we do not know are none of our business."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()


@dataclass(frozen=True)
class Document:
    """A document that was found."""

    key: str
    title: str
    body: str


@dataclass(frozen=True)
class Written:
    """An answer and what the service says about it."""

    text: str
    results: int
    bad: tuple[str, ...]
    tokens_in: int
    tokens_out: int

    @property
    def headers(self) -> dict[str, str]:
        bad = {BAD_HEADER: ",".join(self.bad)} if self.bad else {}
        return {RESULTS_HEADER: str(self.results), **bad}

    @property
    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
        }


def tokens_of(text: str) -> list[str]:
    """Return words and marks."""
    return re.findall(r"\w+|[^\w\s]", text)


def write_answer(
    prompt: str, found: Sequence[Document], *, budget: int, ungrounded: bool, wordy: bool
) -> Written:
    """Return the answer from what was found, looked at as the service looks at its own."""
    lines = [
        f"{d.title}: {' '.join(d.body.split()[: None if wordy else _EXCERPT])} [{d.key}]"
        for d in found
    ]
    if ungrounded:
        lines.append(f"See also [{_NOT_FOUND}]")
    text = "\n".join(lines) or NOTHING
    if wordy:
        text = "\n".join([text] * (1 + budget // max(1, len(tokens_of(text)))))
    tokens = len(tokens_of(text))
    cited = set(re.findall(r"\[([\w.-]+)\]$", text, re.MULTILINE))
    bad = {
        "ungrounded": not cited <= {d.key for d in found},
        "over_budget": tokens > budget,
    }
    return Written(
        text,
        len(found),
        tuple(name for name, true in bad.items() if true),
        len(tokens_of(prompt)),
        tokens,
    )


Read = Callable[[Sequence[str]], Sequence[Document]]


def reader(url: str) -> Read:
    """Return what reads documents by their keys, in the order asked for."""
    connections = Connections(lambda: psycopg.connect(url, autocommit=True, connect_timeout=5))

    def read(keys: Sequence[str]) -> Sequence[Document]:
        rows = connections.ask(
            lambda c: c.execute(statement("demo", "documents_of"), {"keys": list(keys)}).fetchall()
        )
        known = {row[0]: Document(*row) for row in rows}
        return [known[key] for key in keys if key in known]

    return read


def application(
    service: Service, read: Read, model: str, *, budget: int = TOKEN_BUDGET, breakable: bool = False
) -> Starlette:
    """Return the HTTP application around a search service; ``model`` is what it is called."""
    faults = ChatFaults()
    made = int(time.time())

    def answer(prompt: str, wrong: ChatFaults) -> Written:
        if random.random() < wrong.empty:
            found: Sequence[Document] = []
        else:
            question = Question(q=prompt, k=DOCUMENTS)
            found = read([f.source_key for f in service.search(question)])
        return write_answer(
            prompt,
            found,
            budget=budget,
            ungrounded=random.random() < wrong.ungrounded,
            wordy=random.random() < wrong.wordy,
        )

    def complete(body: bytes, tenant: str | None) -> Response:
        try:
            asked = Completion.model_validate_json(body)
        except ValidationError as error:
            return _error(400, "; ".join(problems_of(error)), "invalid_request")
        if asked.model != model:
            return _error(
                404, f"there is no model {asked.model!r}, only {model}", "model_not_found"
            )
        prompt = next((m.text for m in reversed(asked.messages) if m.role == "user"), "")
        wrong = faults if faults.tenant in (None, tenant) else ChatFaults()
        time.sleep(wrong.slow_ms / 1000)
        if random.random() < wrong.errors:
            return _error(500, "broken on purpose", "server_error")
        try:
            written = answer(prompt, wrong)
        except ValidationError as error:
            return _error(400, "; ".join(problems_of(error)), "invalid_request")
        except Unavailable as error:
            return _error(503, error.what, "unavailable")
        except Refused as error:
            return _error(400, error.what, "invalid_request")
        head = {"id": f"chatcmpl-{random.getrandbits(64):016x}", "created": made, "model": model}
        if asked.stream:
            return StreamingResponse(
                _events(written, head, asked.stream_options.include_usage),
                media_type="text/event-stream",
                headers=written.headers,
            )
        message = {"role": "assistant", "content": written.text}
        return JSONResponse(
            {
                **head,
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": written.usage,
            },
            headers=written.headers,
        )

    async def chat(request: Request) -> Response:
        return await run_in_threadpool(
            complete, await request.body(), request.headers.get(TENANT_HEADER)
        )

    def models(_: Request) -> Response:
        one = {"id": model, "object": "model", "created": made, "owned_by": "qafila-demo"}
        return JSONResponse({"object": "list", "data": [one]})

    def health(_: Request) -> Response:
        try:
            return JSONResponse({**service.health(), "model": model})
        except Unavailable as error:
            return JSONResponse({"status": "unavailable", "error": error.what}, 503)

    async def break_it(request: Request) -> Response:
        nonlocal faults
        try:
            faults = ChatFaults.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": problems_of(error)}, 400)
        return JSONResponse(faults.model_dump())

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
    ]
    if breakable:
        routes.append(Route("/_demo/break", break_it, methods=["POST"]))
    return Starlette(routes=routes, lifespan=warmed_up(service))


def _events(written: Written, head: dict[str, Any], usage: bool) -> Iterator[bytes]:
    """Yield the answer as server-sent events, a word at a time."""

    def event(**more: Any) -> bytes:
        value = {**head, "object": "chat.completion.chunk", **more}
        return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"

    def choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": finish}]

    yield event(choices=choice({"role": "assistant", "content": ""}))
    for word in re.findall(r"\s*\S+", written.text):
        yield event(choices=choice({"content": word}))
    yield event(choices=choice({}, "stop"))
    if usage:
        yield event(choices=[], usage=written.usage)
    yield b"data: [DONE]\n\n"


def _error(status: int, message: str, code: str) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": code}}, status)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one arm on loopback until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m qafila.demo.chat_services", description=__doc__
    )
    parser.add_argument("arm", choices=["baseline", "candidate"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="what this arm's model is called")
    parser.add_argument("--database", help="address; default: the embedded stack's")
    parser.add_argument("--documents", help="where the texts are; default: the stack's source")
    parser.add_argument("--workload", default="aws-docs-search", help="only candidate")
    parser.add_argument("--token-budget", type=int, default=TOKEN_BUDGET)
    parser.add_argument("--breakable", action="store_true", help="serve POST /_demo/break")
    given = parser.parse_args(arguments)
    known = stack_state().get("postgres", {})
    url = given.database or known.get("source_url" if given.arm == "baseline" else "target_url")
    documents = given.documents or known.get("source_url")
    if not url or not documents:
        parser.error("no database: start the embedded stack with qafila up, or give both addresses")
    service = open_service(given.arm, url, given.workload)
    app = application(
        service,
        reader(documents),
        given.model,
        budget=given.token_budget,
        breakable=given.breakable,
    )
    serve(app, given.port)


if __name__ == "__main__":
    main()
