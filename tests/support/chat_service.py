"""A language model service on loopback: OpenAI's shape, real streams, real faults, answers by rule.

In a thread (``serving``), so that a test can switch faults and read what was asked. The same
contract is run against a real model (``tests/contract/llm_eval/test_language_models.py``).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support.openai_service import KEY, OpenAiService, error, in_a_thread

__all__ = ["KEY", "MODEL", "ChatService", "last_words", "serving"]

MODEL = "parrot-1"

Answer = Callable[[str], str]


@dataclass
class Asked:
    """One request as the service saw it."""

    body: dict[str, Any]
    at: float
    port: int


def last_words(text: str) -> str:
    """Answer with what stands after the last ``=>`` of the prompt."""
    return text.rpartition("=>")[2].strip() or "nothing"


class ChatService(OpenAiService):
    """Settings that a test may change at any time, and what was asked.

    Its own faults: ``cut stream``, ``no end``, ``half event``, ``error event``, ``garbled``,
    ``no usage``, ``length``, ``slow 2``, ``empty``.
    """

    def __init__(self, answer: Answer = last_words) -> None:
        super().__init__()
        self.answer = answer
        self.streams = True
        self.knows_stream_options = True
        self.first_token_s = 0.0
        self.per_token_s = 0.0
        self.asked: list[Asked] = []

    async def chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        text = "\n".join(m["content"] for m in body["messages"])
        return await self._respond(request, body, text)

    async def complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        return await self._respond(request, body, body["prompt"])

    async def _respond(self, request: Request, body: dict[str, Any], text: str) -> Response:
        port = request.client.port if request.client else 0
        self.asked.append(Asked(body, time.monotonic(), port))
        fault = self.next_fault()
        refusal = self.refusal(request, body, fault, MODEL, f" for {self.key}")
        if refusal is not None:
            return refusal
        if not self.knows_stream_options and "stream_options" in body:
            return error(400, "Unrecognized request argument: stream_options", "unknown_parameter")
        words = "" if fault == "empty" else self.answer(text)
        pieces = [w if n == 0 else f" {w}" for n, w in enumerate(words.split(" "))] if words else []
        most = body.get("max_tokens", body.get("max_completion_tokens", 10**6))
        finish = "length" if len(pieces) > most or fault == "length" else "stop"
        pieces = pieces[:most]
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": len(pieces)}
        wants_usage = (body.get("stream_options") or {}).get("include_usage") and (
            fault != "no usage"
        )
        if fault.startswith("slow"):
            await asyncio.sleep(float(fault.split()[1]))
        if not (self.streams and body.get("stream")):
            return self._whole(request, "".join(pieces), finish, usage, fault)
        events = self._events(request, pieces, finish, usage if wants_usage else None, fault)
        return StreamingResponse(events, media_type="text/event-stream; charset=utf-8")

    def _whole(
        self, request: Request, text: str, finish: str, usage: dict[str, int], fault: str
    ) -> Response:
        chat = request.url.path.endswith("chat/completions")
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        whole = {"choices": [{"index": 0, **said, "finish_reason": finish}], "usage": usage}
        if fault == "no usage":
            del whole["usage"]
        content = json.dumps(whole).encode()
        content = content[: len(content) // 2] if fault == "garbled" else content
        return Response(content, media_type="application/json")

    async def _events(
        self,
        request: Request,
        pieces: list[str],
        finish: str,
        usage: dict[str, int] | None,
        fault: str,
    ) -> AsyncIterator[bytes]:
        chat = request.url.path.endswith("chat/completions")
        yield b": a comment keeps the connection open\r\n\r\n"
        await asyncio.sleep(self.first_token_s)
        if chat:
            yield _event({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(self.per_token_s)
            if fault == "cut stream" and number == 1:
                raise ConnectionResetError("on purpose")  # the last chunk never comes
            if fault == "half event" and number == 1:
                yield b'data: {"choices": [{"delta": {"cont\n\n'
            if fault == "error event" and number == 1:
                yield _event({"error": {"message": "the model fell over", "code": 500}})
            said = {"delta": {"content": piece}} if chat else {"text": piece}
            event = _event({"choices": [{"index": 0, **said, "finish_reason": None}]})
            yield event[:9]  # a part of a network need not end where an event does
            yield event[9:]
        if fault == "no end":
            return
        said = {"delta": {}} if chat else {"text": ""}
        yield _event({"choices": [{"index": 0, **said, "finish_reason": finish}]})
        if usage is not None:
            yield _event({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


@contextmanager
def serving(service: ChatService) -> Iterator[ChatService]:
    """Serve in a thread for the block; ``service.url`` is its address."""
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", service.chat, methods=["POST"]),
            Route("/v1/completions", service.complete, methods=["POST"]),
        ]
    )
    with in_a_thread(app) as service.url:
        yield service
