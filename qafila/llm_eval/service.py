"""One language model behind a service: what it is asked, tried again, paid for, and answers.

The one layer that retries. One question at a time, so that times are those of a service without
other questions of ours.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx

from qafila.embedders.governor import Permit, service_name
from qafila.embedders.limit_arithmetic import Limits, backoff_seconds, price_of
from qafila.embedders.tokens import estimate_tokens, on_the_safe_side
from qafila.embedders.wire import Failure, Fault
from qafila.llm_eval.accounts import Account
from qafila.llm_eval.golden import Message
from qafila.llm_eval.wire import Reply, post
from qafila.workload.inference import LanguageModel

TRIES = 5  # of one question, whatever fails
MOST_LIMITS = 20  # how often in a row one question may meet the service's limit
TIMEOUT_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 900.0  # a service that asks for more is not measured now
_OVERHEAD = 8  # tokens that a chat template adds to a message, about
_FINAL = {
    Fault.KEY: "it does not let us in",
    Fault.UNKNOWN: "it does not know the model or the address",
    Fault.QUOTA: "the account has nothing left",
}

OpenAccount = Callable[[str, Limits], Account]


@dataclass(frozen=True)
class Said:
    """An answer with its price. ``estimated``: the service did not count its tokens, we did."""

    reply: Reply
    tokens_in: int
    tokens_out: int
    estimated: bool
    cost: Decimal | None
    tries: int


@dataclass(frozen=True)
class Unsaid:
    """No answer; ``final`` when asking anything else would fail likewise."""

    reason: str
    tries: int
    final: bool = False


class LanguageModelService:
    """Asks one model; not thread-safe. A context manager."""

    def __init__(
        self,
        settings: LanguageModel,
        connection: Mapping[str, Any],
        open_account: OpenAccount,
        wait: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``connection`` holds url and, where they are needed, api_key and timeout_seconds."""
        url, self._secret = str(connection["url"]), str(connection.get("api_key") or "")
        self.settings = settings
        self.name = service_name(url, settings.model)
        self._timeout = float(connection.get("timeout_seconds") or TIMEOUT_SECONDS)
        self._wait = wait
        self._chance = chance
        self._usage = True  # we ask for it, until the service refuses to hear of it
        self._answered = False
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {self._secret}"} if self._secret else {},
            timeout=httpx.Timeout(self._timeout, connect=min(10.0, self._timeout)),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=60),
        )
        limits = Limits(
            settings.requests_per_minute, settings.tokens_per_minute, settings.max_tokens + 2000
        )
        self._account = open_account(self.name, limits)

    def __enter__(self) -> LanguageModelService:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._account.close()

    def connect(self) -> None:
        """Open the connection by a question that costs nothing, so that it times no answer."""
        try:
            self._client.get("models", timeout=5.0)
        except httpx.HTTPError:
            return  # the first answer says what is wrong

    def ask(self, messages: Sequence[Message], *, most_tokens: int | None = None) -> Said | Unsaid:
        """Return the answer to a conversation, or why there is none.

        Raises:
            SpendCapReached: the next call could cross the cap, so it was not made.
        """
        body = self._body(messages, most_tokens or self.settings.max_tokens)
        text = "\n".join([self.settings.system, *(m.content for m in messages)])
        counted = estimate_tokens([text])[0] + _OVERHEAD * (len(messages) + 1)
        safe = on_the_safe_side(counted, None, len(text.encode()) + _OVERHEAD * len(messages) + 8)
        failures = limits = tries = 0
        while True:
            tries += 1
            came = self._once(body, counted, safe, tries)
            if isinstance(came, Said):
                self._answered = True
                return came
            if came.fault in _FINAL:
                reason = f"{_FINAL[came.fault]} ({self._clean(came.reason)})"
                return Unsaid(reason, tries, final=True)
            if came.fault is Fault.CONTENT and self._usage and not self._answered:
                self._usage = False  # it may know no stream_options; nothing else is changed
                body = self._body(messages, most_tokens or self.settings.max_tokens)
                continue
            if came.fault is Fault.CONTENT and not self._answered:
                self._usage = True  # it was not that
            if came.fault not in (Fault.LIMIT, Fault.BUSY, Fault.GARBLED):
                return Unsaid(self._clean(came.reason), tries)
            limits, failures = (
                (limits + 1, failures) if came.fault is Fault.LIMIT else (limits, failures + 1)
            )
            if failures >= TRIES or limits > MOST_LIMITS:
                return Unsaid(
                    f"{tries} tries failed, the last with: {self._clean(came.reason)}", tries
                )
            pause = backoff_seconds(max(failures, limits), self._chance())
            pause = pause if came.pause_seconds is None else came.pause_seconds
            if pause > LONGEST_PAUSE_SECONDS:
                return Unsaid(f"it asks us to wait {pause:.0f} s", tries, final=True)
            self._account.pause(pause)

    def _body(self, messages: Sequence[Message], most: int) -> dict[str, Any]:
        settings = self.settings
        body: dict[str, Any] = {"model": settings.model, "stream": True, settings.limit_field: most}
        if self._usage:
            body["stream_options"] = {"include_usage": True}
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.seed is not None:
            body["seed"] = settings.seed
        turns = [{"role": m.role, "content": m.content} for m in messages]
        if settings.system:
            turns.insert(0, {"role": "system", "content": settings.system})
        if settings.interface == "chat":
            return {**body, "messages": turns}
        return {**body, "prompt": "\n\n".join(turn["content"] for turn in turns)}

    def _once(self, body: Mapping[str, Any], counted: int, safe: int, tries: int) -> Said | Failure:
        settings = self.settings
        most = int(body[settings.limit_field])
        expected = self._price(safe, most) or Decimal(0)
        permit = self._account.reserve(safe + most, expected)
        settled = False
        try:
            self._await_place(permit)
            path = "chat/completions" if settings.interface == "chat" else "completions"
            came = post(self._client, path, body, self._timeout)
            if isinstance(came, Failure):
                self._account.settle(
                    permit,
                    "not answered",
                    tokens=None if came.sent else 0,
                    actual=expected if came.sent else Decimal(0),
                )
                settled = True
                return came
            estimated = came.tokens_in is None or came.tokens_out is None
            read = counted if came.tokens_in is None else came.tokens_in
            written = came.tokens_out
            if written is None:
                written = estimate_tokens([came.text])[0] if came.text else 0
            cost = self._price(read, written)
            self._account.settle(
                permit, "answered", tokens=read + written, actual=cost or Decimal(0)
            )
            settled = True
            return Said(came, read, written, estimated, cost, tries)
        finally:
            if not settled:
                self._account.settle(permit, "not sent", tokens=0, actual=Decimal(0))

    def _await_place(self, permit: Permit) -> None:
        place = self._account.take_place(permit)
        left: float | None = place.wait_seconds
        while left is None or left > 0:
            if left is None:
                place = self._account.take_place(permit)
                left = place.wait_seconds
            else:
                self._wait(left)
                left = self._account.left_to_wait(place)

    def _price(self, read: int, written: int) -> Decimal | None:
        prices = self.settings.input_price_per_million, self.settings.output_price_per_million
        if prices[0] is None or prices[1] is None:
            return None
        return price_of(read, Decimal(repr(prices[0]))) + price_of(
            written, Decimal(repr(prices[1]))
        )

    def _clean(self, reason: str) -> str:
        return reason.replace(self._secret, "…") if self._secret else reason
