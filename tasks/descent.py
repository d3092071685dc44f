"""The way down itself: weight 0, acknowledged, seen by the traffic. Needs a router, no ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass

import httpx
import psycopg

from qafila.core.verdict import Verdict
from qafila.errors import Disagreement, QafilaError, Refused, Unavailable
from tasks.alias import read_alias, return_alias
from tasks.recorded import Recorded, open_postgres
from tasks.routers.port import Request, Router, RouterState

PROOF_SECONDS = 1.0
MOST_WATCHED_S = 120.0
_LOG_DELAY_S = 0.35  # Envoy flushes its access log a few times a second
_PROBES = 20


@dataclass(frozen=True)
class Descent:
    """What going down did and saw.

    ``acknowledged_s`` is None when the router does not run. ``seconds_to_zero`` is from the
    decision to the acknowledgement, to the start of the last user request on the candidate, or to
    the end of ``holds_after_s``, whichever is latest: so long a client may keep to what it knew
    (a DNS record's time to live). ``probes`` counts those that say who answered.
    """

    final_weight: int
    seconds_to_zero: float
    acknowledged_s: float | None
    holds_after_s: float
    watched_s: float
    requests_after: int
    canary_requests_after: int
    probes: int
    not_shown: tuple[str, ...]
    problem: str | None
    verdict: Verdict
    sentence: str


def read_whatever_it_says(router: Router) -> RouterState:
    """Return the router's state; of a fleet that disagrees, the highest weight and epoch.

    Raises:
        Unavailable: it has no state at all.
    """
    try:
        return router.read()
    except Disagreement:
        states = []
        for member in getattr(router, "members", ()):
            with suppress(Unavailable):  # a member that is lost; writing it will say so
                states.append(member.read())
        if not states:
            raise
        newest = max(states, key=lambda s: s.epoch)
        return RouterState(
            max(s.candidate_percent for s in states), newest.epoch, newest.version,
            max(s.twin_percent for s in states), max(s.mirror_percent for s in states),
        )  # fmt: skip


def descend(
    router: Router,
    name: str,
    *,
    epoch: int,
    why: str,
    put_back: Callable[[], str | None],
    beside: bool,
    proof_seconds: float = PROOF_SECONDS,
) -> Descent:
    """Give the baseline all traffic and prove it; the weights fall before anything else.

    ``put_back`` returns the target's pointer and says what went wrong, if anything. It starts with
    ``beside`` at the same time, since users then meet the pointer without the router; else when the
    weights are acknowledged, since a candidate that is still asked must find its table.

    Raises:
        StaleEpoch: somebody newer has written; their weights stay.
        Unavailable: the router's configuration cannot be written.
    """
    _, cursor = router.observed(None)
    decided_at, begun = time.time(), time.monotonic()
    version = router.write(0, epoch=epoch, why=why)
    with ThreadPoolExecutor(1) as pool:  # the table may be held for long, the router be down
        returning = pool.submit(copy_context().run, put_back) if beside else None
        acknowledged_s = _acknowledged(router, version)
        taken_s = time.monotonic() - begun
        if returning is None:
            returning = pool.submit(copy_context().run, put_back)
        holds_after_s = router.abilities.slowest_s
        _rest(min(holds_after_s, MOST_WATCHED_S))
        settled_at = time.time()
        probes, strays = _probe(router) if acknowledged_s is not None else (0, 0)
        _rest(settled_at + proof_seconds + _LOG_DELAY_S - time.time())
        seen = _seen(router, cursor)
        problem = returning.result()
    if holds_after_s > MOST_WATCHED_S:  # clients may still hold to the old weights: not strays
        probes = strays = 0
        settled_at = time.time()
    after = [r for r in seen if r.started_at > settled_at]
    late = [r.started_at for r in seen if r.arm == "candidate" and r.started_at > decided_at]
    canary_after = sum(r.arm == "candidate" for r in after) + strays
    waited = 0.0 if not holds_after_s else taken_s + holds_after_s
    seconds = max([acknowledged_s or 0.0, waited, *(at - decided_at for at in late)])
    verdict, sentence = _verdict(
        name, acknowledged_s, holds_after_s, len(after), canary_after, probes, problem, seconds,
        router.abilities.blind,
    )  # fmt: skip
    return Descent(
        final_weight=read_whatever_it_says(router).candidate_percent,
        seconds_to_zero=round(seconds, 4),
        acknowledged_s=None if acknowledged_s is None else round(acknowledged_s, 4),
        holds_after_s=holds_after_s,
        watched_s=round(time.monotonic() - begun, 3),
        requests_after=len(after),
        canary_requests_after=canary_after,
        probes=probes,
        not_shown=tuple(router.abilities.blind),
        problem=problem,
        verdict=verdict,
        sentence=sentence,
    )


def put_pointer_back(
    found: Recorded | None,
    block: str,
    workload: str,
    generations: Sequence[int],
    epoch: int,
    *,
    ledger: str | None = None,
) -> str | None:
    """Let what served before serve again; return what went wrong, if anything.

    ``ledger`` is the identity of the ledger that asks; None by a card, which has none.
    """
    try:
        with open_postgres(found, block) as target:
            now = read_alias(target, workload)
            if now is not None:
                return_alias(target, workload, generations, max(epoch, now.epoch), ledger=ledger)
    except QafilaError as error:
        return error.what
    except psycopg.Error as error:
        return f"the target says: {(str(error).strip().splitlines() or ['nothing'])[0]}"
    return None


def _acknowledged(router: Router, version: str) -> float | None:
    try:
        return router.acknowledged(version, timeout_s=3.0)
    except Unavailable:
        return None


def _seen(router: Router, cursor: int) -> Sequence[Request]:
    """Return what the router logged since; nothing where its log cannot be read: it is down."""
    try:
        return router.observed(cursor)[0]
    except (Unavailable, Refused):
        return []


def _probe(router: Router) -> tuple[int, int]:
    """Ask as that many different users; return how many replies name an arm, and the candidate."""
    told = strays = 0
    if not router.listen_url.startswith(("http://", "https://")):
        return 0, 0
    with httpx.Client(base_url=router.listen_url, timeout=2.0, trust_env=False) as client:
        for n in range(_PROBES):
            try:
                reply = client.get("/health", headers={"x-tenant-id": f"rollback-probe-{n}"})
            except httpx.ConnectError:
                break  # nobody is there: the others would not be answered either
            except httpx.HTTPError:
                continue
            served = reply.headers.get("x-qafila-served")
            told += served is not None
            strays += served == "candidate"
    return told, strays


def _rest(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)


def _verdict(
    name: str,
    acknowledged_s: float | None,
    holds_after_s: float,
    requests_after: int,
    canary_after: int,
    probes: int,
    problem: str | None,
    seconds_to_zero: float,
    blind: Sequence[str],
) -> tuple[Verdict, str]:
    if canary_after:
        return Verdict.FAIL, (
            f"{name}: {canary_after} requests reached the candidate after weight 0 was taken."
        )
    if problem is not None:
        return Verdict.ERROR, (
            f"{name}: all traffic is on the baseline, but the pointer row was not moved: "
            f"{problem.strip().removesuffix('.')}."
        )
    if acknowledged_s is None:
        return Verdict.INCONCLUSIVE, (
            f"{name}: weight 0 is written; the router does not answer, and starts with it."
        )
    taken = f"acknowledged in {acknowledged_s * 1000:.0f} ms"
    if holds_after_s > MOST_WATCHED_S:
        return Verdict.INCONCLUSIVE, (
            f"{name}: weight 0 is {taken}, but clients may keep to the candidate for "
            f"{holds_after_s:g} s more, and this watched only {MOST_WATCHED_S:g} s."
        )
    if not requests_after and not probes:
        because = "".join(f" {sentence}" for sentence in blind)
        return Verdict.INCONCLUSIVE, (
            f"{name}: weight 0 is {taken}, but no traffic was seen to prove it.{because}"
        )
    seen = f"{requests_after} user requests since, none of them on the candidate"
    if not requests_after:
        seen = f"no user request since, but {probes} of our own, none of them on the candidate"
    held = f", of which clients may keep to it for {holds_after_s:g} s" if holds_after_s else ""
    return Verdict.PASS, (
        f"{name} is on its baseline {seconds_to_zero * 1000:.0f} ms after the decision{held}, "
        f"{taken}; {seen}."
    )
