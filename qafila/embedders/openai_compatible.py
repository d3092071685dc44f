"""Embed over HTTP, by any service that answers /v1/embeddings as OpenAI's does.

The one layer that retries. Requests are packed by tokens, several are under way at once, each has
a permit and a place from the governor, and each reply is looked at before it counts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from qafila.embedders.careful import embed_carefully
from qafila.embedders.governor import Governor, Purse, service_name
from qafila.embedders.limit_arithmetic import Limits, request_tokens
from qafila.embedders.port import Answer
from qafila.embedders.requests import Asking, Service
from qafila.embedders.tokens import estimate_tokens
from qafila.embedders.wire import Ask
from qafila.workload.corpus import OpenAIEmbedder as Settings

IN_FLIGHT = 4  # requests of one worker at once: the governor paces them, not their latency


class OpenAIEmbedder:
    """An embedder of one worker; not thread-safe. Close it, or use ``qafila.endpoints``."""

    def __init__(
        self,
        settings: Settings,
        connection: Mapping[str, Any],
        ledger_address: str | None,
        purse: Purse,
        wait: Callable[[float], None] = time.sleep,
        *,
        in_flight: int = IN_FLIGHT,
        window_seconds: float = 60.0,
        burst_seconds: float = 1.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``connection`` holds url, api_key and timeout_seconds; a window is shorter in tests."""
        self.model = settings.model
        self.dimensions = settings.dimensions
        self.revision = settings.revision
        url, secret = str(connection["url"]), str(connection.get("api_key") or "")
        timeout = float(connection.get("timeout_seconds") or 30)
        largest = request_tokens(
            settings.batch_tokens, settings.requests_per_minute, settings.tokens_per_minute
        )
        limits = Limits(
            settings.requests_per_minute,
            settings.tokens_per_minute,
            largest,
            window_seconds,
            burst_seconds,
        )
        name = service_name(url, settings.model)
        client = httpx.Client(
            base_url=url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
            limits=httpx.Limits(
                max_connections=in_flight, max_keepalive_connections=in_flight, keepalive_expiry=60
            ),
        )
        self.service = Service(
            client=client,
            governor=Governor(ledger_address, name, limits, purse, wait),
            ask=Ask(settings.model, settings.dimensions, settings.ask_dimensions, timeout),
            wait=wait,
            chance=chance,
            in_flight=in_flight,
            batch_texts=settings.batch_texts,
            text_tokens=min(settings.text_tokens, settings.tokens_per_minute or 2**31),
            block=settings.block,
            secret=secret,
        )

    @property
    def waiting(self) -> str:
        """Return what it waits for right now, for a status line; empty when it does not."""
        return self.service.waiting

    def close(self) -> None:
        """Close the connections to service and ledger."""
        self.service.client.close()
        self.service.governor.close()

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return an estimate of how many tokens the service will read in these texts."""
        ratio = self.service.governor.token_ratio or 1.0
        return round(sum(estimate_tokens(texts)) * ratio)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array of shape (texts, dimensions): rows of length 1, or all zero."""
        return embed_carefully(self, texts).vectors

    def ask(self, texts: Sequence[str]) -> Answer:
        """Return a vector or a reason for every text.

        Raises:
            SpendCapReached: the next call could cross the cap, so it was not made.
            BackfillHalted: no usable answer for longer than we try, or another dimension.
            Refused: the service does not let us in, or does not know the model.
        """
        return Asking(self.service, texts).run()
