"""A provider of embeddings on loopback: OpenAI's shape, real vectors, a real limiter, real faults.

In a thread (``serving``), so that a test can switch faults and read what was asked; or as a process
of its own (``python -m tests.support.embedding_provider --help``).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qafila.embedders.tokens import estimate_tokens
from qafila.embedders.wordllama import WordLlamaEmbedder
from tests.support.openai_service import KEY, OpenAiService, error, in_a_thread, server_of

__all__ = ["KEY", "MODEL", "Limiter", "Provider", "serving"]

MODEL = "small-1"


@dataclass
class Limiter:
    """Requests and tokens a window: a bucket that refills evenly, or windows that start anew."""

    kind: Literal["bucket", "fixed"]
    requests: int
    tokens: int
    window_seconds: float = 60.0
    hint: Literal["seconds", "date", "none"] = "seconds"
    capacity_share: float = 1.0  # of a window's worth that a bucket holds
    _left: list[float] = field(default_factory=list)
    _at: float = field(default_factory=time.monotonic)

    def admit(self, tokens: int) -> float | None:
        """Take them, or return for how many seconds they do not fit."""
        now, most = time.monotonic(), (float(self.requests), float(self.tokens))
        wanted = (1.0, float(tokens))
        if self.kind == "fixed":
            if not self._left or now >= self._at + self.window_seconds:
                self._left = list(most)
                self._at = now - (now - self._at) % self.window_seconds
            wait = self._at + self.window_seconds - now
        else:
            room = [max(m * self.capacity_share, w) for m, w in zip(most, wanted, strict=True)]
            passed, self._at = now - self._at, now
            left = self._left or room
            self._left = [
                min(r, x + m * passed / self.window_seconds)
                for r, x, m in zip(room, left, most, strict=True)
            ]
            lacks = [
                max(0.0, w - x) * self.window_seconds / m
                for w, x, m in zip(wanted, self._left, most, strict=True)
            ]
            wait = max(lacks)
        if any(w > x for w, x in zip(wanted, self._left, strict=True)):
            return wait
        self._left = [x - w for x, w in zip(self._left, wanted, strict=True)]
        return None


@dataclass
class Asked:
    """One request as the provider saw it."""

    at: float
    texts: list[str]
    tokens: int
    status: int
    encoding: str | None
    port: int


class Provider(OpenAiService):
    """Settings that a test may change at any time, and what was asked.

    Its own faults: ``garbled``, ``fewer``, ``duplicate``, ``shuffled``, ``nan``, ``zero``,
    ``long``, ``unnormalised``, ``dimension``, ``no usage``, ``slow 2.5``.
    """

    def __init__(self, dimensions: int = 64, limiter: Limiter | None = None) -> None:
        super().__init__()
        self.model = WordLlamaEmbedder(dimensions)
        self.dimensions = dimensions
        self.limiter = limiter
        self.poison = "POISON"
        self.most_tokens = 8192
        self.cuts = False  # cuts a text that is too long instead of refusing it
        self.base64 = True
        self.latency_seconds = 0.0
        self.asked: list[Asked] = []

    @property
    def admitted(self) -> list[Asked]:
        return [a for a in self.asked if a.status == 200]

    def count(self, texts: list[str]) -> list[int]:
        """Count tokens in a way of its own: a tenth more, and one for the end of each text."""
        return [math.ceil(n * 1.1) + 1 for n in estimate_tokens(texts)]

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        texts, encoding = body["input"], body.get("encoding_format")
        texts = [texts] if isinstance(texts, str) else texts
        counts = self.count(texts)
        response = await self._answer(request, body, texts, counts)
        port = request.client.port if request.client else 0
        self.asked.append(
            Asked(time.monotonic(), texts, sum(counts), response.status_code, encoding, port)
        )
        return response

    async def _answer(
        self, request: Request, body: dict[str, Any], texts: list[str], counts: list[int]
    ) -> Response:
        fault = self.next_fault()
        if fault.startswith("slow"):
            await asyncio.sleep(float(fault.split()[1]))
        refusal = self.refusal(request, body, fault, MODEL)
        if refusal is not None:
            return refusal
        if not self.base64 and "encoding_format" in body:
            return error(400, "unknown field encoding_format", "unknown_parameter")
        for place, (text, count) in enumerate(zip(texts, counts, strict=True)):
            if not text or self.poison in text:
                return error(400, f"input[{place}] is not acceptable", "invalid_input")
            if count > self.most_tokens and not self.cuts:
                return error(400, f"{count} tokens, the most is {self.most_tokens}", "too_long")
        counts = [min(c, self.most_tokens) for c in counts]
        if self.limiter is not None:
            wait = self.limiter.admit(sum(counts))
            if wait is not None:
                return error(429, "slow down", "rate_limit_exceeded", _hint(self.limiter, wait))
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        return self._vectors(body, texts, sum(counts), fault)

    def _vectors(self, body: dict[str, Any], texts: list[str], tokens: int, fault: str) -> Response:
        vectors = self.model.embed(texts)
        if fault == "dimension":
            vectors = vectors[:, :-1]
        elif fault == "nan":
            vectors[-1, 0] = np.nan
        elif fault == "zero":
            vectors[-1] = 0
        elif fault == "unnormalised":
            vectors = vectors * 3
        as_text = self.base64 and body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": i,
                "embedding": base64.b64encode(v.tobytes()).decode() if as_text else v.tolist(),
            }
            for i, v in enumerate(vectors)
        ]
        if fault == "fewer":
            data = data[:-1]
        elif fault == "duplicate":
            data[-1]["index"] = 0
        elif fault == "shuffled":
            data.reverse()
        answer = {
            "object": "list",
            "model": body["model"],
            "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        if fault == "no usage":
            del answer["usage"]
        content = json.dumps(answer).encode()
        return Response(
            content[: len(content) // 2] if fault == "garbled" else content,
            media_type="application/json",
        )


def _hint(limiter: Limiter, wait: float) -> dict[str, str]:
    if limiter.hint == "none":
        return {}
    seconds = max(1, math.ceil(wait))
    if limiter.hint == "date":
        return {"Retry-After": formatdate(time.time() + seconds, usegmt=True)}
    return {"Retry-After": str(seconds)}


def _application(provider: Provider) -> Starlette:
    return Starlette(routes=[Route("/v1/embeddings", provider.answer, methods=["POST"])])


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """Serve in a thread for the block; ``provider.url`` is its address."""
    with in_a_thread(_application(provider), log_level="warning") as provider.url:
        yield provider


def main() -> None:
    """Serve with a limiter until stopped; print what was asked as JSON lines at the end."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--kind", choices=["bucket", "fixed"], default="bucket")
    options.add_argument("--requests", type=int, default=10**9)
    options.add_argument("--tokens", type=int, default=10**12)
    options.add_argument("--window", type=float, default=60.0)
    options.add_argument("--capacity", type=float, default=1.0)
    options.add_argument("--latency", type=float, default=0.0)
    options.add_argument("--log", help="file for one line a request: time, tokens, status, texts")
    given = options.parse_args()
    limiter = Limiter(
        given.kind, given.requests, given.tokens, given.window, capacity_share=given.capacity
    )
    provider = Provider(64, limiter)
    provider.latency_seconds = given.latency
    with suppress(KeyboardInterrupt):  # uvicorn raises it again when it is done
        server_of(_application(provider), given.port, log_level="warning").run()
    if given.log:
        lines = [f"{a.at} {a.tokens} {a.status} {len(a.texts)}\n" for a in provider.asked]
        with open(given.log, "w") as file:
            file.writelines(lines)


if __name__ == "__main__":
    main()
