"""The proof of a way back, against a router whose log and state are as a test says."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from qafila.errors import BadInput, Disagreement, Inconclusive, Refused, Unavailable
from qafila.rollback import traffic as descent
from qafila.rollback.rollback import RolledBack, refuse_if_unproven
from qafila.rollback.traffic import Descent, _Probed, descend, reaches_candidate
from qafila.routers.envoy.access_log import tenant_digest
from qafila.routers.highest_weight import read_highest_weight
from qafila.routers.memory import MemoryRouter
from qafila.routers.port import Abilities, Request, RouterState
from qafila.workload.verdict import Verdict


class Scripted(MemoryRouter):
    """Logs what a test says, in parts, with times since its last write; ``alive`` or down."""

    def __init__(self, *parts: Sequence[tuple[float, str, str]], alive: bool = True) -> None:
        super().__init__()
        self.parts, self.alive, self.written_at = parts, alive, time.time()
        self.slowest_s, self.blind = 0.0, ("It keeps no log.",)

    @property
    def abilities(self) -> Abilities:
        return Abilities(slowest_s=self.slowest_s, blind=self.blind)

    def write(self, candidate_percent: int, **how: Any) -> str:
        self.written_at = time.time()
        return super().write(candidate_percent, **how)

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        if not self.alive:
            raise Unavailable("the router is down.")
        return 0.01

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        if cursor is None:
            return [], 0
        if cursor >= len(self.parts):
            return [], cursor
        part = [
            Request(self.written_at + at, arm, 200, 1.0, 1, 3, tenant)
            for at, arm, tenant in self.parts[cursor]
        ]
        return part, cursor + 1


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_LOG_DELAY_S", 0.0)


def down(router: Scripted, problem: str | None = None, **how: Any) -> Descent:
    return descend(
        router,
        "w",
        epoch=1,
        why="test",
        put_back=lambda: problem,
        beside=False,
        proof_seconds=how.pop("proof_seconds", 0.0),
        **how,
    )


def test_users_on_the_baseline_prove_the_way_back() -> None:
    router = Scripted([(-5, "candidate", "early"), (60, "baseline", "u1"), (61, "baseline", "u2")])
    found = down(router)
    assert found.verdict is Verdict.PASS, found.sentence
    assert (found.requests_after, found.canary_requests_after) == (2, 0)
    assert (found.final_weight, found.problem, found.acknowledged_s) == (0, None, 0.01)
    assert found.seconds_to_zero == 0.01
    assert found.last_canary_request_at is None
    assert found.sentence == (
        "w is on its baseline 10 ms after the decision, acknowledged in 10 ms; "
        "2 user requests since, none of them on the candidate."
    )


def test_requests_on_the_candidate_fail_it_with_count_and_time() -> None:
    router = Scripted([(61.5, "candidate", "u2"), (60, "candidate", "u1")])
    found = down(router)
    assert found.verdict is Verdict.FAIL
    assert (found.requests_after, found.canary_requests_after) == (2, 2)
    assert found.seconds_to_zero == pytest.approx(61.5, abs=0.5)
    said = re.fullmatch(
        r"w: 2 requests reached the candidate after weight 0 was taken, the last (\S+) s after it, "
        r"at (\S+)\.",
        found.sentence,
    )
    assert said is not None, found.sentence
    assert float(said[1]) == pytest.approx(61.5, abs=0.5)
    assert said[2] == found.last_canary_request_at


def test_one_request_on_a_candidate_whose_router_is_down_is_a_failure_too() -> None:
    found = down(Scripted([(60, "candidate", "u1")], alive=False))
    assert found.verdict is Verdict.FAIL
    assert found.sentence.startswith(
        "w: 1 request reached the candidate after weight 0 was written"
    )


def test_a_request_that_was_on_its_way_counts_for_the_time_and_not_against_it() -> None:
    router = Scripted([(0.1, "candidate", "u1")], [(60, "baseline", "u2")])
    router.slowest_s = 0.2
    found = down(router)
    assert found.verdict is Verdict.PASS, found.sentence
    assert found.canary_requests_after == 0
    assert 0.2 <= found.seconds_to_zero < 2
    assert ", of which clients may keep to it for 0.2 s" in found.sentence


def test_our_own_probes_are_no_users_and_count_once() -> None:
    probe = tenant_digest("rollback-probe-0")  # by the key of this test's home
    users = [(60.0, "candidate", "u1"), (60.0, "candidate", probe), (61.0, "candidate", probe)]
    found = down(Scripted(users))
    assert (found.requests_after, found.canary_requests_after) == (1, 3)
    seen = [Request(9.0, "candidate", 200, 1, 1, 3, probe)]
    assert descent._strays(seen, _Probed(told=5, strays=[7.0, 8.0]), 6.0) == [7.0, 8.0]
    assert descent._strays(seen, _Probed(), 9.0) == []
    assert descent._strays(seen, _Probed(), 8.9) == [9.0]


@pytest.mark.parametrize(
    ("router", "problem", "verdict", "words"),
    [
        (
            Scripted([]),
            None,
            Verdict.INCONCLUSIVE,
            "no traffic was seen to prove it. It keeps no log.",
        ),
        (
            Scripted([(60, "baseline", "u")], alive=False),
            None,
            Verdict.INCONCLUSIVE,
            "weight 0 is written; the router does not answer, and starts with it.",
        ),
        (
            Scripted([(60, "baseline", "u")]),
            " it is held. ",
            Verdict.ERROR,
            "the pointer row was not moved: it is held.",
        ),
        (Scripted([(60, "candidate", "u")]), "it is held", Verdict.FAIL, "reached the candidate"),
    ],
)
def test_what_is_not_proven_is_said(
    router: Scripted, problem: str | None, verdict: Verdict, words: str
) -> None:
    found = down(router, problem)
    assert found.verdict is verdict
    assert words in found.sentence
    assert found.problem == problem
    assert (found.acknowledged_s is None) == (not router.alive)


def test_clients_that_keep_to_the_old_weights_for_longer_than_is_watched_prove_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descent, "MOST_WATCHED_S", 0.1)
    router = Scripted([(0.05, "candidate", "u"), (60, "baseline", "u")])
    router.slowest_s = 300.0
    found = down(router)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "for 300 s more, and this watched only 0.1 s" in found.sentence
    assert 0.1 <= found.watched_s < 10
    assert found.seconds_to_zero == pytest.approx(300, abs=1)


def test_probes_alone_prove_it() -> None:
    verdict, sentence = descent._verdict("w", 0.1, 0.0, 0, [], 5.0, 3, None, 0.25, ())
    assert verdict is Verdict.PASS
    assert sentence == (
        "w is on its baseline 250 ms after the decision, acknowledged in 100 ms; no user request "
        "since, but 3 of our own, none of them on the candidate."
    )


def test_whether_the_candidate_is_reached_now() -> None:
    reached, not_reached = Scripted(), Scripted()
    reached.parts = ([(60, "candidate", "u1")],)
    not_reached.parts = ([(60, "baseline", "u1"), (-60, "candidate", "u2")],)
    assert reaches_candidate(reached, 0.0) is True
    assert reaches_candidate(not_reached, 0.0) is False


def test_the_pointer_goes_back_after_the_weights_or_beside_them() -> None:
    weights: list[int] = []
    router = Scripted()
    router.write(50, epoch=1, why="test")

    def put_back() -> str | None:
        weights.append(router.read().candidate_percent)
        return None

    descend(router, "w", epoch=2, why="test", put_back=put_back, beside=False, proof_seconds=0)
    descend(router, "w", epoch=3, why="test", put_back=put_back, beside=True, proof_seconds=0)
    assert weights == [0, 0]


class Fleet(MemoryRouter):
    def __init__(self, *states: RouterState | None) -> None:
        super().__init__()
        self.members = [Member(state) for state in states]

    def read(self) -> RouterState:
        raise Disagreement("the members differ.", {})


class Member(MemoryRouter):
    def __init__(self, state: RouterState | None) -> None:
        super().__init__()
        self.state = state

    def read(self) -> RouterState:
        if self.state is None:
            raise Unavailable("lost.")
        return self.state


def test_of_a_fleet_that_disagrees_the_highest_of_each_counts() -> None:
    low, high = RouterState(5, 9, "v9", 40, 1), RouterState(60, 3, "v3", 0, 20)
    for members in ((low, high, None), (None, high, low)):
        assert read_highest_weight(Fleet(*members)) == RouterState(60, 9, "v9", 40, 20)
    with pytest.raises(Disagreement):
        read_highest_weight(Fleet(None))


def outcome(verdict: Verdict, acknowledged_s: float | None) -> RolledBack:
    return RolledBack("w", (1,), False, 50, 0, 0.1, acknowledged_s, 0, 0, verdict, "Said.", "why")


@pytest.mark.parametrize(
    ("verdict", "acknowledged_s", "error"),
    [
        (Verdict.FAIL, 0.1, Refused),
        (Verdict.FAIL, None, Refused),
        (Verdict.INCONCLUSIVE, 0.1, Inconclusive),
        (Verdict.INCONCLUSIVE, None, Unavailable),
        (Verdict.ERROR, 0.1, Unavailable),
    ],
)
def test_what_is_not_proven_is_an_error(
    verdict: Verdict, acknowledged_s: float | None, error: type[Exception]
) -> None:
    with pytest.raises(error, match="Said"):
        refuse_if_unproven(outcome(verdict, acknowledged_s))
    refuse_if_unproven(outcome(Verdict.PASS, acknowledged_s))


def test_a_rollback_says_what_its_descent_saw() -> None:
    found = down(Scripted([(60, "candidate", "u1")]))
    made = RolledBack.by_descent(
        found, "w", [2, 1], from_weight=50, epoch=4, why="why", said=" More.", by="card"
    )
    assert (made.already, made.from_weight, made.final_weight, made.epoch) == (False, 50, 0, 4)
    assert made.body()["generations"] == [2, 1]
    assert made.body()["verdict"] == "FAIL"
    assert made.sentence == f"{found.sentence} More."
    assert made.canary_requests_after == 1


def test_a_target_that_cannot_be_reached_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_with(error: Exception) -> str | None:
        def opened(*_: object) -> None:
            raise error

        monkeypatch.setattr(descent, "open_postgres", opened)
        return descent.put_pointer_back(None, "b", "w", [1], 3)

    assert fail_with(BadInput("no such block.")) == "no such block."
    assert fail_with(psycopg.OperationalError(" gone\nmore")) == "the target says: gone"
    assert fail_with(psycopg.OperationalError("")) == "the target says: nothing"


def test_users_are_watched_for_as_long_as_a_proof_takes() -> None:
    assert down(Scripted([]), proof_seconds=0.3).watched_s >= 0.3
    begun = time.monotonic()
    reaches_candidate(Scripted(), 0.3)
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize(("known", "moved"), [(None, []), (2, [5]), (9, [9])])
def test_a_pointer_row_that_is_there_goes_back_above_its_own_epoch(
    known: int | None, moved: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    row = None if known is None else SimpleNamespace(epoch=known)
    monkeypatch.setattr(descent, "open_postgres", lambda *_: nullcontext())
    monkeypatch.setattr(descent, "read_alias", lambda *_: row)
    monkeypatch.setattr(
        descent, "return_alias", lambda _t, _w, _g, epoch, *, ledger: found.append(epoch)
    )
    assert descent.put_pointer_back(None, "b", "w", [1], 5) is None
    assert found == moved


class ProbedServer(ThreadingHTTPServer):
    """An address of a router on loopback that says which arm served, and keeps what was asked."""

    def __init__(self, arms: Sequence[str | None]) -> None:
        super().__init__(("127.0.0.1", 0), _ProbeHandler)
        self.arms, self.asked = arms, list[tuple[float, dict[str, str]]]()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _ProbeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ProbedServer

    def do_GET(self) -> None:
        number = len(self.server.asked)
        self.server.asked.append((time.time(), dict(self.headers.items())))
        arm = self.server.arms[min(number, len(self.server.arms) - 1)]
        self.send_response(200)
        if arm is not None:
            self.send_header("x-qafila-served", arm)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def probed(seconds: float, *urls: str) -> _Probed:
    router: Any = SimpleNamespace(listen_urls=urls, listen_url="http://127.0.0.1:9")
    return descent._probe(router, time.time() + seconds)


@pytest.fixture
def edges() -> Iterator[tuple[ProbedServer, ProbedServer]]:
    made = (ProbedServer(["baseline"]), ProbedServer(["baseline"]))
    yield made
    for edge in made:
        edge.shutdown()
        edge.server_close()


@pytest.mark.timing
def test_probes_share_their_time_among_the_addresses_and_ask_as_different_users(
    edges: tuple[ProbedServer, ProbedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a proxy does not stand in between
    monkeypatch.setattr(descent, "_MOST_PROBES", 100_000)
    begun = time.time()
    found = probed(1.0, "udp://127.0.0.1:1", edges[0].url, edges[1].url)
    first, second = ([at - begun for at, _ in edge.asked] for edge in edges)
    assert 0.3 < first[-1] < 0.8
    assert first[-1] < second[0] < 0.9 < second[-1] < 2
    assert (found.told, found.strays) == (len(first) + len(second), [])
    for edge in edges:
        asked = [headers for _, headers in edge.asked]
        users = [h["x-tenant-id"] for h in asked]
        assert len(set(users)) == len(users) > 20
        assert [h["cookie"] for h in asked] == [f"qafila-sid={user}" for user in users]
        wanted = [h.get(descent.ARM_HEADER) for h in asked]
        assert wanted == ["candidate", *[None] * (len(asked) - 1)]


def test_at_least_twenty_users_are_asked_and_at_most_four_hundred(
    edges: tuple[ProbedServer, ProbedServer],
) -> None:
    assert probed(-5.0, edges[0].url).told == 20
    assert probed(60.0, edges[1].url).told == 400


@pytest.mark.parametrize("served", ["candidate", descent.PROBE + "candidate"])
def test_a_probe_that_the_candidate_answers_is_a_stray_and_one_without_a_name_tells_nothing(
    edges: tuple[ProbedServer, ProbedServer], served: str
) -> None:
    edges[0].arms = ["baseline", served, None, descent.PROBE + "baseline", "baseline"]
    found = probed(-1.0, edges[0].url)
    assert found.told == 19
    assert found.strays == [pytest.approx(edges[0].asked[1][0], abs=0.5)]


def test_where_nobody_listens_the_other_addresses_are_asked(
    edges: tuple[ProbedServer, ProbedServer],
) -> None:
    begun = time.monotonic()
    assert probed(0.2, "http://127.0.0.1:9", edges[0].url).told >= 20
    assert time.monotonic() - begun < 5


def test_an_answer_that_breaks_off_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            with suppress(OSError):
                for _ in range(20):
                    listening.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert probed(-1.0, f"http://127.0.0.1:{listening.getsockname()[1]}").told == 0
        thread.join(10)
        assert not thread.is_alive()  # each of the twenty was tried
