"""The whole product on the demo's corpus: it crosses, comes back, and survives kill -9.

The tests of this file tell one story on one stack, in order.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from qafila.backfill.claims import list_shards
from qafila.ledger.approvals import Question, ask
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.leases import TTL_SECONDS, read_lease
from qafila.ledger.ledger import newest_generation
from qafila.workload.phases import Event
from tests.acceptance.conftest import ROOT, Stack
from tests.acceptance.crossing import (
    WORKLOAD,
    access_log,
    last_weight,
    move,
    open_ledger,
    phase_of,
    run_demo,
    set_scene,
    wait_for,
)

pytestmark = pytest.mark.slow


def candidate_share_since(stack: Stack, since: float) -> float:
    """Return the candidate's share of the user requests that Envoy logged after ``since``."""
    arms = [
        row["served"]
        for line in access_log(stack).read_text().splitlines()
        if float((row := json.loads(line))["ts"]) > since and row["served"] != "-"
    ]
    assert arms, "no user request was logged"
    return arms.count("candidate") / len(arms)


def test_the_demo_crosses_although_its_backfill_is_killed(stack: Stack) -> None:
    result, said = run_demo(stack)
    assert result["outcome"] == "promoted", said
    filled = result["backfill"]
    assert filled["killed_and_resumed"]
    assert (filled["missing"], filled["duplicates"]) == (0, 0)
    assert filled["rows_source"] == filled["rows_target"] > 15_000
    assert result["validation"]["verdict"] == {"vector_only": "FAIL", "candidate": "PASS"}
    assert result["drill"]["failed_requests"] == 0
    assert result["drill"]["seconds_to_zero"] <= 1
    canary = result["canary"]
    assert (canary["failed_requests"], canary["final_weight"]) == (0, 100)
    assert canary["weights"] == [1, 5, 25, 50, 100]
    assert result["evidence"]["chain_ok"]
    assert {p["verdict"] for p in result["phases"]} == {"PASS"}
    assert len(result["architecture"]["patterns"]) >= 4
    assert result["audit"]["collectors"]["iam"] == "denied"
    assert said.rstrip().endswith("qafila down")


def test_with_the_prefect_server_killed_rollback_still_works(stack: Stack) -> None:
    os.kill(stack.state["prefect"]["pid"], signal.SIGKILL)
    decided = time.time()
    done = stack.json("rollback", WORKLOAD, "--why", "the server was killed")
    assert done["verdict"] == "PASS"
    assert done["final_weight"] == 0
    assert done["seconds_to_zero"] <= 1
    again = stack.cli("rollback", WORKLOAD)
    assert "already" in again.stdout
    status = stack.json("status", WORKLOAD)
    assert status["generation"]["phase"] == "rolled_back"
    assert status["candidate_percent"] == 0
    assert time.time() - decided < 30
    stack.cli("up")


def test_a_worker_killed_in_the_middle_costs_nothing(stack: Stack) -> None:
    set_scene(stack)
    with open_ledger(stack) as ledger:
        move(ledger, Event.CAUSE_RECORDED)
        begun = time.time()

        def living_loaders() -> set[int]:
            """Return the processes of this load that own a shard, once rows have arrived."""
            generation = newest_generation(ledger, WORKLOAD)
            assert generation is not None
            shards = list_shards(ledger, generation)
            if not 0 < sum(s.rows_loaded for s in shards) < sum(s.rows_planned for s in shards):
                return set()
            owners = {s.owner_pid for s in shards if s.state == "claimed" and s.owner_pid}
            return {pid for pid in owners if began_after(pid, begun)}

        before = latest_evidence(ledger, WORKLOAD, "backfill")
        assert before is not None
        stack.cli("run", "embedding-backfill", WORKLOAD, "--set", "reload=true", "--no-watch")
        loaders = wait_for("the load", living_loaders, within_s=60, every_s=0.01)
        for pid in loaders:
            os.kill(pid, signal.SIGSTOP)  # what is stopped can be looked at
        assert loaders & living_loaders(), "the loaders were not met in the middle of their rows"
        for pid in (*loaders, stack.state["worker"]["pid"]):
            os.kill(pid, signal.SIGKILL)
        wait_for("their end", lambda: not any(map(began_at, loaders)), within_s=10)
        stack.cli("up")
        stack.cli("run", "embedding-backfill", WORKLOAD, "--set", "engine=work-pool")
        filled = latest_evidence(ledger, WORKLOAD, "backfill")
        assert filled is not None
        assert filled.number > before.number
        assert filled.body["rows_source"] == filled.body["rows_target"]
        assert (filled.verdict, filled.body["missing"], filled.body["duplicates"]) == ("PASS", 0, 0)
        assert phase_of(ledger) == "backfilled"


def began_at(pid: int) -> float:
    """Return when a process began, in seconds since 1970; 0 where none is alive."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return 0.0


def began_after(pid: int, moment: float) -> bool:
    return began_at(pid) >= moment - 0.1  # the kernel counts in hundredths of a second


def test_a_canary_killed_with_traffic_leaves_all_of_it_on_the_baseline(stack: Stack) -> None:
    with open_ledger(stack) as ledger:
        # this generation was validated and drilled before; its certificate still holds
        move(ledger, Event.LADDER_PASS, Event.DRILL_PASS)
        begun = time.time()
        stack.cli("run", "canary-cutover", WORKLOAD, "--no-watch")
        wait_for("a weight", lambda: last_weight(ledger, begun) >= 1, within_s=60)
        lease = read_lease(ledger, WORKLOAD)
        assert lease is not None
        assert lease.holder_pid is not None
        killed = time.time()
        os.kill(lease.holder_pid, signal.SIGKILL)
        wait_for("the baseline", lambda: phase_of(ledger) == "rolled_back", within_s=30)
        back = latest_evidence(ledger, WORKLOAD, "rollback")
    assert back is not None
    assert back.body["final_weight"] == 0
    limit = killed + TTL_SECONDS + 2
    last_canary = max(
        (
            float(row["ts"])
            for line in access_log(stack).read_text().splitlines()
            if (row := json.loads(line))["served"] == "candidate"
        ),
        default=0.0,
    )
    assert last_canary <= limit
    time.sleep(max(0.0, limit - time.time()) + 1)
    assert candidate_share_since(stack, limit) == 0


def test_the_evidence_of_all_this_is_one_intact_chain(stack: Stack) -> None:
    checked = stack.json("evidence", "verify")
    assert checked["chain_ok"]
    assert checked["rows"] > 15
    rows = stack.cli("evidence", "rows", WORKLOAD).stdout.splitlines()
    assert {json.loads(line)["kind"] for line in rows} >= {"audit", "approval", "rollback"}


def test_a_question_is_answered_from_the_shell(stack: Stack) -> None:
    with open_ledger(stack) as ledger:
        ask(ledger, Question("test-question", WORKLOAD, 1, "a test", "Go on?", 60))
    assert stack.json("status", WORKLOAD)["waits_for"][0]["id"] == "test-question"
    said = stack.cli("approve", WORKLOAD, "--by", "A. Tester", "--notes", "reads well").stdout
    assert said == "a test: approved by A. Tester.\n"
    again = stack.cli("approve", "test-question", "--by", "Somebody", "--reject", check=False)
    assert again.returncode == 1
    assert "approved already by A. Tester" in again.stderr


REFUSALS = [
    (("run", "canary-cutover", WORKLOAD), 1, "Next:"),
    (("run", "no-such-phase", WORKLOAD), 2, "one of: "),
    (("run", "embedding-backfill", WORKLOAD, "--set", "workers=99"), 2, "workers"),
    (("run", "embedding-backfill", "Not A Name"), 2, "workload"),
    (("status", "unknown-workload"), 1, "applied so far: aws-docs-search"),
    (("approve", "nothing", "--by", "A. Tester"), 1, "no question"),
    (("apply", "missing.yaml"), 2, "cannot be read"),
]


@pytest.mark.parametrize(("command", "code", "says"), REFUSALS, ids=lambda v: str(v)[:40])
def test_a_wrong_request_is_refused_with_its_remedy(
    stack: Stack, command: tuple[str, ...], code: int, says: str
) -> None:
    done = stack.cli(*command, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_with_another_candidate_moves_no_route_without_a_persons_word(
    stack: Stack, tmp_path: Path
) -> None:
    text = (ROOT / "workloads" / f"{WORKLOAD}.yaml").read_text()
    file = tmp_path / "other.yaml"
    file.write_text(
        re.sub(r"candidate: \{url: .*\}", 'candidate: {url: "http://127.0.0.1:9"}', text)
    )
    assert file.read_text() != text
    routes = [stack.home / "envoy" / name for name in ("cds.json", "rds.json")]
    before = [path.read_bytes() for path in routes]
    done = stack.cli("apply", str(file), check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "a new address that nobody has accepted: " in done.stderr
    assert "candidate http://127.0.0.1:9" in done.stderr
    assert "--accept-address http://127.0.0.1:9" in done.stderr
    wrong = stack.cli("apply", str(file), "--accept-address", "http://127.0.0.1:8", check=False)
    assert wrong.returncode == 2
    assert "names no such address" in wrong.stderr
    assert [path.read_bytes() for path in routes] == before


def test_three_mistakes_in_a_workload_file_are_three_sentences(
    stack: Stack, tmp_path: Path
) -> None:
    text = (ROOT / "workloads" / f"{WORKLOAD}.yaml").read_text()
    file = tmp_path / "wrong.yaml"
    file.write_text(
        text.replace("criticality: low ", "criticality: lo ")
        .replace("dimensions: 256", "dimensions: 257")
        .replace("owner:", "owners:")
    )
    done = stack.cli("apply", str(file), check=False)
    assert done.returncode == 2
    assert re.findall(r"^  (\d)\. line \d+", done.stderr, re.MULTILINE) == ["1", "2", "3", "4"]
