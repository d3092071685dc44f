"""The way down itself: weight 0, acknowledged, seen by the traffic. Needs a router, no ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import psycopg

from qafila.errors import QafilaError, Refused, Unavailable
from qafila.ledger.connections import Recorded, open_postgres
from qafila.routers.envoy.access_log import tenant_digest
from qafila.routers.envoy.config import ARM_HEADER, PROBE
from qafila.routers.highest_weight import read_highest_weight
from qafila.routers.port import Request, Router
from qafila.stores.pointer_row import read_alias, return_alias
from qafila.workload.verdict import Verdict

PROOF_SECONDS = 1.0
MOST_WATCHED_S = 120.0
_LOG_DELAY_S = 0.35  # Envoy flushes its access log a few times a second
_LEAST_PROBES, _MOST_PROBES = 20, 400  # as so many different users, at each address
_MOST_CALLS = 100  # of a router's log: each gives some megabytes
_CANDIDATE = frozenset({"candidate", PROBE + "candidate"})


@dataclass(frozen=True)
class Descent:
    """What going down did and saw.

    ``acknowledged_s`` is None when the router does not run. ``seconds_to_zero`` is from the
    decision to the acknowledgement, to the start of the last user request on the candidate, or to
    the end of ``holds_after_s``, whichever is latest: so long a client may keep to what it knew
    (a DNS record's time to live). ``probes`` counts those that say who answered, and
    ``requests_after`` users' requests without them. ``canary_requests_after`` counts users and
    probes that the candidate got after weight 0 was taken; ``last_canary_request_at`` is when the
    last of them started, an ISO time in UTC.
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
    last_canary_request_at: str | None = None


@dataclass
class _Probed:
    """What probes were told: how many replies name an arm, and when those on the candidate went."""

    told: int = 0
    strays: list[float] = field(default_factory=list)


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
        probed = _probe(router, settled_at + proof_seconds)
        _rest(settled_at + proof_seconds - time.time())
        _rest(_LOG_DELAY_S)
        seen = _seen(router, cursor)
        problem = returning.result()
    if holds_after_s > MOST_WATCHED_S:  # clients may still hold to the old weights: not strays
        probed = _Probed()
        settled_at = time.time()
    own = _own_users()
    users_after = [r for r in seen if r.started_at > settled_at and r.tenant not in own]
    late = [r.started_at for r in seen if r.arm == "candidate" and r.started_at > decided_at]
    strays = _strays(seen, probed, settled_at)
    waited = 0.0 if not holds_after_s else taken_s + holds_after_s
    seconds = max([acknowledged_s or 0.0, waited, *(at - decided_at for at in late + strays)])
    verdict, sentence = _verdict(
        name,
        acknowledged_s,
        holds_after_s,
        len(users_after),
        strays,
        settled_at,
        probed.told,
        problem,
        seconds,
        router.abilities.blind,
    )
    return Descent(
        final_weight=read_highest_weight(router).candidate_percent,
        seconds_to_zero=round(seconds, 4),
        acknowledged_s=None if acknowledged_s is None else round(acknowledged_s, 4),
        holds_after_s=holds_after_s,
        watched_s=round(time.monotonic() - begun, 3),
        requests_after=len(users_after),
        canary_requests_after=len(strays),
        probes=probed.told,
        not_shown=tuple(router.abilities.blind),
        problem=problem,
        verdict=verdict,
        sentence=sentence,
        last_canary_request_at=_utc(strays[-1]) if strays else None,
    )


def reaches_candidate(router: Router, seconds: float = PROOF_SECONDS) -> bool:
    """Say whether a user, or a probe of ours, gets to the candidate now; writes nothing.

    A router may acknowledge a weight and go on as before: only traffic shows it.
    """
    cursor = None
    with suppress(Unavailable, Refused):  # then probes alone tell
        cursor = router.observed(None)[1]
    begun_at = time.time()
    probed = _probe(router, begun_at + seconds)
    _rest(begun_at + seconds - time.time())
    _rest(_LOG_DELAY_S)
    seen = [] if cursor is None else _seen(router, cursor)
    return bool(_strays(seen, probed, begun_at))


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

    ``ledger`` is the identity of the ledger that asks, or that wrote the card; None by a card of
    an earlier version, which has none: then nobody asks who owns the generations.
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


def log_since(router: Router, cursor: int) -> Iterator[Sequence[Request]]:
    """Yield what the router logged from ``cursor`` until now: one call may give only a part.

    Raises:
        Unavailable, Refused: its log cannot be read.
    """
    called_at = time.time()
    for _ in range(_MOST_CALLS):
        more, following = router.observed(cursor)
        yield more
        if following == cursor or any(r.started_at >= called_at for r in more):
            return
        cursor = following


def _seen(router: Router, cursor: int) -> Sequence[Request]:
    """Return what the router logged since; less where its log cannot be read: it is down."""
    seen: list[Request] = []
    with suppress(Unavailable, Refused):
        for part in log_since(router, cursor):
            seen.extend(part)
    return seen


def _strays(seen: Sequence[Request], probed: _Probed, settled_at: float) -> list[float]:
    """Return when each request that the candidate got after weight 0 was taken had started.

    Probes may be in the router's log as well: they count once.
    """
    own = _own_users()
    users: list[float] = []
    logged_probes: list[float] = []
    for request in seen:
        if request.arm == "candidate" and request.started_at > settled_at:
            (logged_probes if request.tenant in own else users).append(request.started_at)
    return sorted([*users, *max(probed.strays, logged_probes, key=len)])


def _probe(router: Router, until: float) -> _Probed:
    """Ask as many different users at every address of the router, until then (Unix time)."""
    probed = _Probed()
    addresses = [
        url
        for url in getattr(router, "listen_urls", (router.listen_url,))
        if url.startswith(("http://", "https://"))
    ]
    for n, url in enumerate(addresses):
        share = max(0.0, until - time.time()) / (len(addresses) - n)
        _probe_address(url, time.time() + share, probed)
    return probed


def _probe_address(url: str, until: float, probed: _Probed) -> None:
    with httpx.Client(base_url=url, timeout=2.0, trust_env=False) as client:
        for n in range(_MOST_PROBES):
            if n >= _LEAST_PROBES and time.time() > until:
                return
            # The cookie tells users apart where requests have another tenant header, or none.
            headers = {"x-tenant-id": _user(n), "cookie": f"qafila-sid={_user(n)}"}
            if n == 0:
                headers[ARM_HEADER] = "candidate"  # nobody may choose an arm any more
            started_at = time.time()
            try:
                reply = client.get("/health", headers=headers)
            except httpx.ConnectError:
                return  # nobody is there: the others would not be answered either
            except httpx.HTTPError:
                continue
            served = reply.headers.get("x-qafila-served")
            probed.told += served is not None
            if served in _CANDIDATE:
                probed.strays.append(started_at)


def _user(n: int) -> str:
    return f"rollback-probe-{n}"


def _own_users() -> frozenset[str | None]:
    """Return what stands in a router's log for our own probes."""
    return frozenset(tenant_digest(_user(n)) for n in range(_MOST_PROBES))


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _rest(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)


def _verdict(
    name: str,
    acknowledged_s: float | None,
    holds_after_s: float,
    requests_after: int,
    strays: Sequence[float],
    settled_at: float,
    probes: int,
    problem: str | None,
    seconds_to_zero: float,
    blind: Sequence[str],
) -> tuple[Verdict, str]:
    if strays:
        requests = "1 request" if len(strays) == 1 else f"{len(strays)} requests"
        return Verdict.FAIL, (
            f"{name}: {requests} reached the candidate after weight 0 was "
            f"{'written' if acknowledged_s is None else 'taken'}, the last "
            f"{strays[-1] - settled_at:.2f} s after it, at {_utc(strays[-1])}."
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
