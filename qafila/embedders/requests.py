"""Get a vector or a reason for each of some texts from a service: requests, retries, bisection.

One thread decides; each request under way has a thread that carries it. So a pause or a stop, which
comes through ``wait``, never waits for a slow service.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from decimal import Decimal

import httpx
import numpy as np

from qafila.embedders.governor import Governor, Outcome, Permit
from qafila.embedders.limit_arithmetic import backoff_seconds, pack
from qafila.embedders.port import Answer
from qafila.embedders.tokens import estimate_tokens, on_the_safe_side
from qafila.embedders.wire import Ask, Failure, Fault, Reply, post
from qafila.errors import BackfillHalted, Refused, SpendCapReached

MOST_FAILURES = 8  # of one request in a row
MOST_LIMITS = 100  # how often in a row one request may meet the service's limit
MOST_PAUSE_SECONDS = 86_400.0  # that a service may ask for; longer, and a person should know
MOST_SECONDS = 900.0  # from the first try of a request to its last, pauses asked for left out
GARBLED_TRIES = 3
_LOOK_SECONDS = 0.05
_PROBE = "a"
_KEPT = "every batch that was written before this one."


@dataclass
class Service:
    """What all questions of one worker to one service share, and what was learned of it."""

    client: httpx.Client
    governor: Governor
    ask: Ask
    wait: Callable[[float], None]
    chance: Callable[[], float]
    in_flight: int
    batch_texts: int
    text_tokens: int
    block: str
    secret: str = field(repr=False)
    encoding: str | None = "base64"  # what we ask for; both are understood
    proven: bool = False  # it answered once as we ask
    answered: bool = False  # it answered since it last refused a text
    at_limit: bool = False
    trouble: str = ""  # of the last request that came to nothing, until one is answered

    @property
    def name(self) -> str:
        return self.governor.service

    @property
    def waiting(self) -> str:
        """Return what holds the requests up, for a status line; empty when nothing does."""
        if self.at_limit:
            return f"the limit of {self.name}"
        return f"{self.name}: {self.trouble}" if self.trouble else ""

    @property
    def again(self) -> str:
        """Return the command that goes on after a stop."""
        return f"qafila run embedding-backfill {self.governor.purse.workload}"


@dataclass(frozen=True)
class Request:
    """Some of the texts, by their places; how often it was tried and since when."""

    places: tuple[int, ...]
    failures: int = 0
    garbled: int = 0
    limits: int = 0
    since: float | None = None
    not_before: float = 0.0


@dataclass(frozen=True)
class Running:
    """A request under way, with its permit and the encoding that it asked for."""

    request: Request
    permit: Permit
    encoding: str | None


class Asking:
    """One call of the engine: all its texts, until each has a vector or a reason."""

    def __init__(self, service: Service, texts: Sequence[str], *, probing: bool = False) -> None:
        self._service = service
        self._texts = texts
        self._probing = probing
        self._estimated = estimate_tokens(texts) if texts else []
        ratio = service.governor.token_ratio
        self._expected = [
            on_the_safe_side(n, ratio, len(t.encode()))
            for n, t in zip(self._estimated, texts, strict=True)
        ]
        self._vectors = np.zeros((len(texts), service.ask.dimensions), np.float32)
        self._rejected: dict[int, str] = {}
        self._tokens, self._cost = 0, Decimal(0)
        self._queue: deque[Request] = deque()
        self._running: dict[Future[Reply | Failure], Running] = {}

    def run(self) -> Answer:
        """Ask until nothing is left; what was answered is settled, also when this is stopped."""
        self._make_requests()
        try:
            while self._queue or self._running:
                self._service.wait(0)
                self._collect(0)
                request = self._due() if len(self._running) < self._service.in_flight else None
                if request is not None:
                    self._start(request)
                elif self._running:
                    self._collect(_LOOK_SECONDS)
                elif self._queue:
                    self._sleep(min(r.not_before for r in self._queue) - time.monotonic())
        finally:
            self._service.at_limit, self._service.trouble = False, ""
            self._settle_what_came()
        return Answer(self._vectors, self._rejected, self._tokens, self._cost)

    def _make_requests(self) -> None:
        """Queue the texts; reject what is surely too long, let go alone what may be."""
        ratio, most = self._service.governor.token_ratio, self._service.text_tokens
        surely = most * (4 if ratio is None else 2)
        together = []
        for place, estimated in enumerate(self._estimated):
            about = round(estimated * (ratio or 1.0))
            if about > surely:
                self._rejected[place] = (
                    f"the text has about {about} tokens, and the model reads {most} at most"
                )
            elif self._expected[place] > most:
                self._queue.append(Request((place,)))
            else:
                together.append(place)
        sizes = [self._expected[i] for i in together]
        largest = self._service.governor.limits.largest
        for batch in pack(sizes, self._service.batch_texts, largest):
            self._queue.append(Request(tuple(together[i] for i in batch)))

    def _due(self) -> Request | None:
        now = time.monotonic()
        for n, request in enumerate(self._queue):
            if request.not_before <= now:
                del self._queue[n]
                return request
        return None

    def _start(self, request: Request) -> None:
        """Reserve money, wait for a place, send; give the money back when it was not sent."""
        service = self._service
        permit = self._reserve(sum(self._expected[i] for i in request.places))
        sent = False
        try:
            self._await_place(permit)
            future: Future[Reply | Failure] = Future()
            texts, encoding = [self._texts[i] for i in request.places], service.encoding
            threading.Thread(
                target=_carry,
                args=(future, service.client, service.ask, texts, encoding),
                daemon=True,
            ).start()
            sent = True
            since = time.monotonic() if request.since is None else request.since
            self._running[future] = Running(replace(request, since=since), permit, encoding)
        finally:
            if not sent:
                service.governor.settle(permit, "not sent", tokens=0)

    def _reserve(self, tokens: int) -> Permit:
        """Reserve; when the cap is in the way, see first what our own open calls really cost."""
        while True:
            try:
                return self._service.governor.reserve(tokens)
            except SpendCapReached:
                under_way = len(self._running)
                if not under_way:
                    raise
            while len(self._running) == under_way:
                self._service.wait(0)
                self._collect(_LOOK_SECONDS)

    def _await_place(self, permit: Permit) -> None:
        governor = self._service.governor
        place = governor.take_place(permit)
        left: float | None = place.wait_seconds
        while left is None or left > 0:
            if left is None:
                place = governor.take_place(permit)
                left = place.wait_seconds
            else:
                self._service.at_limit = True
                self._sleep(left)
                left = governor.left_to_wait(place)
        self._service.at_limit = False

    def _sleep(self, seconds: float) -> None:
        """Wait, and look at answers that come meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._running:
                self._collect(min(left, _LOOK_SECONDS))
                self._service.wait(0)
            else:
                self._service.wait(left)

    def _collect(self, seconds: float) -> None:
        done, _ = wait_for(self._running, seconds, FIRST_COMPLETED) if self._running else ((), ())
        for future in done:
            running, came = self._running.pop(future), future.result()
            if isinstance(came, Reply):
                self._keep(running, came)
            else:
                self._cope(running, came)

    def _settle_what_came(self) -> None:
        """Settle answers that nobody will use any more; calls still under way count as expected."""
        for future, running in self._running.items():
            if future.done() and future.exception() is None:
                came = future.result()
                if isinstance(came, Reply):
                    self._settle(running, came.tokens, answered=True)

    def _settle(self, running: Running, tokens: int | None, *, answered: bool) -> None:
        estimated = sum(self._estimated[i] for i in running.request.places)
        outcome: Outcome = "answered" if answered else "not answered"
        self._cost += self._service.governor.settle(
            running.permit, outcome, tokens=tokens, estimated=estimated
        )

    def _keep(self, running: Running, reply: Reply) -> None:
        places = running.request.places
        self._settle(running, reply.tokens, answered=True)
        self._tokens += running.permit.tokens if reply.tokens is None else reply.tokens
        self._service.proven = self._service.answered = True
        self._service.trouble = ""
        if len(places) == 1 and (reply.tokens or 0) >= self._service.text_tokens:
            self._rejected[places[0]] = (
                f"the service read {reply.tokens} tokens of the text, and the model reads "
                f"{self._service.text_tokens} at most: it may have been cut"
            )
        else:
            self._vectors[list(places)] = reply.vectors

    def _cope(self, running: Running, failure: Failure) -> None:
        """Decide what a failure means: try again, divide, or stop."""
        request, fault = running.request, failure.fault
        self._settle(running, None if failure.sent else 0, answered=False)
        reason = failure.reason
        if self._service.secret:
            reason = reason.replace(self._service.secret, "…")
        if fault is Fault.LIMIT:
            self._again_after_limit(request, failure.pause_seconds)
        elif fault is Fault.BUSY:
            self._again(replace(request, failures=request.failures + 1), reason, failure)
        elif fault is Fault.GARBLED and request.garbled + 1 < GARBLED_TRIES:
            self._again(replace(request, garbled=request.garbled + 1), reason, failure)
        elif fault is Fault.GARBLED:
            self._divide(request, f"the service gave no usable answer for it: {reason}")
        elif fault is Fault.CONTENT and running.encoding and not self._service.proven:
            self._service.encoding = None  # it may know no base64; its own default then
            self._queue.appendleft(request)
        elif fault is Fault.CONTENT:
            self._divide(request, f"the service refused it: {reason}")
        else:
            raise self._stopped(fault, reason)

    def _again_after_limit(self, request: Request, hint: float | None) -> None:
        """Let nobody ask for as long as the service says, then go on in the same order."""
        service, limits = self._service, request.limits + 1
        if limits > MOST_LIMITS:
            raise self._given_up(f"it answered {limits} times in a row that its limit is reached")
        pause = backoff_seconds(limits, service.chance()) if hint is None else hint
        self._require_bearable(pause)
        service.governor.pause(pause)
        since = (request.since or time.monotonic()) + pause
        self._queue.appendleft(replace(request, limits=limits, since=since))

    def _again(self, request: Request, reason: str, failure: Failure) -> None:
        now, tries = time.monotonic(), request.failures + request.garbled
        if request.failures >= MOST_FAILURES or now - (request.since or now) > MOST_SECONDS:
            raise self._given_up(f"{tries} tries in a row failed, the last with: {reason}")
        self._service.trouble = reason
        pause = backoff_seconds(tries, self._service.chance())
        if failure.pause_seconds is not None:
            self._require_bearable(failure.pause_seconds)
            self._service.governor.pause(failure.pause_seconds)
        self._queue.appendleft(replace(request, not_before=now + pause))

    def _require_bearable(self, pause_seconds: float) -> None:
        if pause_seconds > MOST_PAUSE_SECONDS:
            hours = pause_seconds / 3600
            raise self._given_up(f"it asks us to stay away for {hours:.0f} hours")

    def _divide(self, request: Request, reason: str) -> None:
        """Look for the text that is to blame; alone, it is rejected with the reason."""
        places = request.places
        if len(places) > 1:
            half = len(places) // 2
            self._queue.appendleft(Request(places[half:]))
            self._queue.appendleft(Request(places[:half]))
            return
        if self._probing:
            raise self._stopped(Fault.CONTENT, reason)
        if not self._service.answered:  # perhaps it refuses everything: ask for something harmless
            probe = Asking(self._service, [_PROBE], probing=True).run()
            self._tokens, self._cost = self._tokens + probe.tokens, self._cost + probe.cost
        self._service.answered = False
        self._rejected[places[0]] = reason

    def _given_up(self, what: str) -> BackfillHalted:
        return BackfillHalted(
            f"{self._service.name}: {what}.",
            kept=_KEPT,
            remedy=f"look at the service, then: {self._service.again}",
        )

    def _stopped(self, fault: Fault, reason: str) -> BackfillHalted | Refused:
        """Return the error for what no second try and no division will mend."""
        service = self._service
        name, block, variable = service.name, service.block, service.block.upper()
        if fault is Fault.KEY:
            return Refused(
                f"{name} does not let us in ({reason}).",
                kept=_KEPT,
                remedy=f"set the key in the block {block!r} or in "
                f"QAFILA_SECRET_{variable.replace('-', '_')}, then: {service.again}",
            )
        if fault is Fault.UNKNOWN:
            return Refused(
                f"{name}: there is no such model or address ({reason}).",
                kept=_KEPT,
                remedy=f"correct corpus.embedder.model or the address in the block {block!r}",
            )
        if fault is Fault.DIMENSIONS:
            changed = (
                "changed the length of its vectors between calls"
                if service.proven
                else ("answers vectors of another length")
            )
            return BackfillHalted(
                f"{name} {changed}: {reason}.",
                kept=_KEPT,
                remedy="such vectors are another generation: set corpus.embedder.dimensions (and "
                "revision) to what the model is now, then: qafila apply FILE",
            )
        if fault is Fault.CONTENT:
            return BackfillHalted(
                f"{name} refuses even a harmless text: {reason}.",
                kept=_KEPT,
                remedy="correct model and dimensions of corpus.embedder, then: qafila apply FILE",
            )
        return BackfillHalted(
            f"{name}: {fault.value} ({reason}).",
            kept=_KEPT,
            remedy=f"look at the account, then: {service.again}",
        )


def _carry(
    future: Future[Reply | Failure],
    client: httpx.Client,
    ask: Ask,
    texts: list[str],
    encoding: str | None,
) -> None:
    try:
        future.set_result(post(client, ask, texts, encoding))
    except BaseException as error:  # noqa: BLE001  raised again in the thread that decides
        future.set_exception(error)
