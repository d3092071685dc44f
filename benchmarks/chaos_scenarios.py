"""What may break in a rollout, one function each: break it, and measure what users met.

Every scenario returns an ``Outcome``. ``bound`` is what the figure may be at most; None where only
``ok`` says whether it held.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos_world import World
from benchmarks.open_load import CANDIDATE, TWIN, Rows, failed
from qafila.errors import Refused, StaleEpoch, Unavailable
from qafila.ledger.leases import TTL_SECONDS, held_lease, take_lease
from qafila.ledger.ledger import require_generation
from qafila.rollback.card import write_card

BACK_S = TTL_SECONDS + 2.0
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Outcome:
    """How a scenario went; ``said`` is what somebody would read about it."""

    ok: bool
    figure: float | None
    unit: str
    bound: float | None
    said: str = ""


Scenario = Callable[[World], Outcome]


# -- what is killed ----------------------------------------------------------------------------


def candidate_killed_at_50(world: World) -> Outcome:
    """SIGKILL the candidate at 50 %: idempotent requests are asked again of the baseline."""
    router = world.edge.router
    with world.users(300) as users:
        router.acknowledged(router.write(50, epoch=router.read().epoch, why="chaos: 50 %"))
        time.sleep(1.0 + world.chance.random())
        world.edge.candidate.kill()
        time.sleep(3.0)
        rows = users.stop()
    met = int((rows["served"] == CANDIDATE).sum())
    lost = failed(rows)
    return Outcome(
        lost == 0 and met > 100,
        lost,
        "failed user requests",
        0,
        f"{lost} of {len(rows)} failed, {met} of them sent to the candidate",
    )


def controller_killed(world: World, stage: str) -> Outcome:
    """SIGKILL the rollout in a stage: the watchdog takes everything back to the baseline."""
    waits = stage == "waiting for approval"
    with world.watchdog(), world.users() as users, world.controller(answer=not waits) as canary:
        locked = None
        try:
            if waits:
                canary.wait_for("asked")
            elif stage == "between alias and phase":
                canary.wait_for("step bake")
                locked = world.here.ledger()
                locked.execute("BEGIN")
                locked.execute("SELECT number FROM qafila.generation FOR NO KEY UPDATE")
                canary.wait_for("step cut-over")
                world.wait_until(lambda: getattr(world.alias(), "generation", None) == 1, 15)
            else:
                canary.wait_for(f"step {stage}")
                time.sleep(0.5 + 0.5 * world.chance.random())
            killed_at = canary.kill()
        finally:
            if locked is not None:
                locked.close()
        world.wait_until(world.on_baseline, BACK_S + 10)
        back_at = time.time()
        # The rest of the way back: proof by traffic, pointer row, phase, lease.
        world.wait_until(lambda: world.phase() != "canary", 10)
        rows = users.stop()
    away = (rows["served"] == CANDIDATE) | (rows["served"] == TWIN)
    last = float(rows["ended"][away].max(initial=killed_at))
    seconds = max(back_at, last) - killed_at
    alias = world.alias()
    ok = (
        seconds <= BACK_S
        and failed(rows) == 0
        and world.on_baseline()
        and world.phase() in ("rolled_back", "drilled")
        and (alias is None or alias.generation is None)
    )
    return Outcome(
        ok,
        round(seconds, 2),
        "seconds to the baseline",
        BACK_S,
        f"{failed(rows)} of {len(rows)} failed, phase {world.phase()}",
    )


def controller_frozen(world: World) -> Outcome:
    """Freeze the rollout at 25 %, and wake it after the watchdog went back: it writes nothing."""
    router = world.edge.router
    with world.watchdog(), world.users() as users, world.controller() as canary:
        canary.wait_for("step 25 %")
        world.wait_until(lambda: router.read().candidate_percent == 25, 10)
        canary.process.send_signal(signal.SIGSTOP)
        frozen_at = time.time()
        seconds = world.wait_until(world.on_baseline, BACK_S + 10)
        newest = router.read().epoch
        canary.process.send_signal(signal.SIGCONT)
        ended = canary.result(30)
        rows = users.stop()
    last = float(rows["ended"][rows["served"] == CANDIDATE].max(initial=frozen_at))
    seconds = max(seconds, last - frozen_at)
    now = router.read()
    ok = (
        seconds <= BACK_S
        and ended["end"] == "aborted"
        and (now.candidate_percent, failed(rows)) == (0, 0)
        and now.epoch >= newest
    )
    return Outcome(
        ok, round(seconds, 2), "seconds to the baseline", BACK_S, f"woken: {ended.get('why')}"
    )


def envoy_killed(world: World) -> Outcome:
    """SIGKILL Envoy under a judged rollout and start it again: it comes back as its file says."""
    router = world.edge.router
    with world.users() as users, world.controller() as canary:
        canary.wait_for("step 25 %")
        time.sleep(0.5 * world.chance.random())
        written = router.read()
        world.edge.kill()
        world.edge.start()
        after = router.reported()
        same = after is not None and after.candidate_percent == router.read().candidate_percent
        ended = canary.result()
        users.stop()
    now = router.read().candidate_percent
    whole = now == (100 if ended["end"] == "promoted" else 0)
    shown = None if after is None else after.candidate_percent
    return Outcome(
        same and whole,
        float(abs((shown or 0) - written.candidate_percent)) if shown is not None else None,
        "per cent off the file",
        0,
        f"back with {shown} %; the rollout ended {ended['end']} at {now} %",
    )


# -- the ledger --------------------------------------------------------------------------------


def ledger_down_under_a_rollout(world: World) -> Outcome:
    """Stop PostgreSQL under a rollout: without its lease it goes back by itself."""
    router = world.edge.router
    with world.users() as users, world.controller() as canary:
        canary.wait_for("step 25 %")
        world.wait_until(lambda: router.read().candidate_percent == 25, 10)
        stopped_at = _stop_postgres(world)
        try:
            seconds = world.wait_until(world.on_baseline, BACK_S + 10)
            ended = canary.result(30)
        finally:
            world.here.restart()
        rows = users.stop()
    last = float(rows["ended"][rows["served"] == CANDIDATE].max(initial=stopped_at))
    seconds = max(seconds, last - stopped_at)
    ok = seconds <= BACK_S and ended["end"] == "aborted" and failed(rows) == 0
    return Outcome(ok, round(seconds, 2), "seconds to the baseline", BACK_S, str(ended.get("why")))


def rollback_without_ledger(world: World) -> Outcome:
    """Cut the ledger off while the candidate has weight: ``qafila rollback`` goes by the card."""
    router = world.edge.router
    with world.here.ledger() as ledger:
        generation = require_generation(ledger, world.name)
        epoch = take_lease(ledger, world.name, "chaos", generation=1)
        write_card(ledger, world.spec, generation, router, epoch)
    router.acknowledged(router.write(25, epoch=epoch, why="chaos: 25 %"))
    with world.users() as users:
        with _ledger_cut_off(world):
            begun = time.time()
            told = world.cli("rollback", world.name, "--why", "the ledger is down")
            down = world.on_baseline()
        rows = users.stop()
    last = float(rows["ended"][rows["served"] == CANDIDATE].max(initial=begun))
    said = (told.stdout + told.stderr).strip().splitlines()
    ok = told.returncode == 0 and down and failed(rows) == 0
    return Outcome(
        ok,
        round(last - begun, 2),
        "seconds from the command to the last candidate request",
        10,
        f"exit {told.returncode}: {said[0] if said else ''}",
    )


# -- who may write -----------------------------------------------------------------------------


def two_controllers(world: World) -> Outcome:
    """Start a second rollout, then take the lease from the first: only the newest may write."""
    router = world.edge.router
    accepted = 0
    with world.users() as users, world.controller(answer=False) as first:
        first.wait_for("asked")
        with world.controller() as second:
            refused = second.result()
        old = router.read().epoch
        with world.here.ledger() as ledger:
            newer = take_lease(ledger, world.name, "an operator", force=True)
            router.acknowledged(router.write(0, epoch=newer, why="chaos: an operator"))
            try:
                router.write(25, epoch=old, why="chaos: stale")
                accepted += 1
            except StaleEpoch:
                pass
            try:  # nor may anybody who asks politely
                with held_lease(ledger, world.name, "a third"):
                    accepted += 1
            except Refused:
                pass
            ended = first.result()
        users.stop()
    ok = (
        accepted == 0
        and refused["end"] == "refused"
        and ended["end"] == "aborted"
        and router.read().candidate_percent == 0
        and router.read().epoch == newer
    )
    return Outcome(
        ok,
        accepted,
        "writes taken from a stale controller",
        0,
        f"the second: {refused.get('why')} · the first: {ended.get('why')}",
    )


# -- clocks ------------------------------------------------------------------------------------


def clock_jumps(world: World, seconds: float) -> Outcome:
    """Move the controller's wall clock by an hour: no step passes on less than it must see."""
    rules = world.spec.rollout
    marks: list[tuple[str, float]] = []
    with world.users() as users, world.controller() as canary:
        while True:
            line = canary.wait_for("")
            if line.startswith("step "):
                marks.append((line.removeprefix("step "), time.time()))
            if line == "step 5 %":
                canary.tell(f"jump {seconds}")
            if line.startswith(("step cut-over", "aborts")):
                break
        ended = canary.result()
        rows = users.stop()
    early = [
        step
        for (step, begun), (_, done) in itertools.pairwise(marks)
        if _met(rows, begun, done) < rules.minimum_requests
        or ("bake" in step and done - begun < rules.bake_seconds)
    ]
    through = [step for step, _ in marks]
    return Outcome(
        not early,
        len(early),
        "steps that passed too early",
        0,
        f"ended {ended['end']} after {', '.join(through)}"
        + (f": {ended['why']}" if "why" in ended else ""),
    )


def _met(rows: Rows, begun: float, done: float) -> int:
    return int(((rows["ended"] >= begun) & (rows["sent"] <= done)).sum())


# -- candidates that are wrong -----------------------------------------------------------------


def bad_candidate(world: World, words: tuple[str, ...], **faults: Any) -> Outcome:
    """Let the candidate go wrong at its first weight: it is caught, and for the right reason."""
    if faults.get("bad_tenants") == "one":
        faults["bad_tenants"] = [world.tenant_on_the_canary()]
    with world.users() as users, world.controller() as canary:
        canary.wait_for("step 5 %")
        world.edge.candidate.go_wrong(**faults)
        ended = canary.result(240)
        rows = users.stop()
    why = str(ended.get("why", ""))
    met = int((rows["served"] == CANDIDATE).sum())
    ok = (
        ended["end"] == "aborted"
        and ended.get("verdict") == "FAIL"
        and any(word in why for word in words)
        and world.edge.router.read().candidate_percent == 0
    )
    return Outcome(ok, met, "candidate answers until it was caught", None, f"{ended['end']}: {why}")


# -- a router that refuses ---------------------------------------------------------------------


def envoy_refuses_routes(world: World) -> Outcome:
    """Put routes to an unknown cluster in place: the old weights stay, and it is said."""
    router = world.edge.router
    router.acknowledged(router.write(5, epoch=router.read().epoch, why="chaos: 5 %"))
    before = router.reported()
    path = world.edge.folder / "rds.json"
    good = path.read_text()
    version = router.read().version
    epoch, sequence, _ = version.split("/")
    broken = f"{epoch}/{int(sequence) + 1}/30pct"
    content = good.replace("candidate_safe", "nowhere").replace(version, broken)
    with world.users() as users:
        _put(path, content)
        said = "nothing"
        try:
            router.acknowledged(broken, timeout_s=3.0)
        except Unavailable as error:
            said = error.what
        after = router.reported()
        time.sleep(1.0)
        rows = users.stop()
    _put(path, good)
    kept = before is not None and after is not None and before.version == after.version
    lost = failed(rows)
    share = float((rows["served"] == CANDIDATE).mean())
    return Outcome(
        kept and said != "nothing" and lost == 0 and share < 0.2,
        lost,
        "failed user requests",
        0,
        f"{said} It went on with {after.version if after else None}.",
    )


def _put(path: Any, content: str) -> None:
    json.loads(content)
    ready = path.with_name(".chaos")
    ready.write_text(content)
    ready.rename(path)


@contextmanager
def _ledger_cut_off(world: World) -> Iterator[None]:
    """Let the server refuse the ledger's database, and end who is connected; the target stays."""
    with world.here.target() as server, world.here.ledger() as ledger:
        name = ledger.info.dbname
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[arg-type]
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        try:
            yield
        finally:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")  # type: ignore[arg-type]


def _stop_postgres(world: World) -> float:
    """Stop the server at once; return the Unix time when it was told."""
    at = time.time()
    os.kill(world.here.server.pid, signal.SIGQUIT)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            world.here.ledger().close()
        except Exception:  # noqa: BLE001 - however it says no, it is down
            return at
        time.sleep(0.02)
    raise AssertionError("PostgreSQL does not stop")


STAGES = (
    "A/A",
    "shadow",
    "5 %",
    "25 %",
    "waiting for approval",
    "50 %",
    "bake",
    "between alias and phase",
)

SCENARIOS: dict[str, Scenario] = {
    "candidate killed at 50 %": candidate_killed_at_50,
    **{
        f"controller killed: {stage}": (lambda world, stage=stage: controller_killed(world, stage))
        for stage in STAGES
    },
    "controller frozen and woken": controller_frozen,
    "envoy killed and restarted": envoy_killed,
    "ledger down under a rollout": ledger_down_under_a_rollout,
    "rollback without a ledger": rollback_without_ledger,
    "two controllers": two_controllers,
    "clock one hour on": lambda world: clock_jumps(world, _HOUR_S),
    "clock one hour back": lambda world: clock_jumps(world, -_HOUR_S),
    "candidate 300 ms slower": lambda world: bad_candidate(world, ("latency",), delay_s=0.3),
    "candidate fast and empty": lambda world: bad_candidate(world, ("empty",), empties=1.0),
    "candidate wrong for one tenant": lambda world: bad_candidate(
        world, ("empty", "tenant"), bad_tenants="one"
    ),
    "envoy refuses routes": envoy_refuses_routes,
}
