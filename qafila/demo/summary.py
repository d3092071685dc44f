"""Sum the demo up as data: every number is read from this run's evidence and the users' log."""

from __future__ import annotations

import json
from typing import Any

from qafila import settings
from qafila.demo.bad_candidates import reason_of
from qafila.demo.story import PhaseRun, Story, phase_runs
from qafila.ledger.evidence import Evidence, check_chain, latest_evidence
from qafila.ledger.ledger import Connection
from qafila.routers.lookup import router_of
from qafila.workload.verdict import Verdict

OUTCOMES = {"promoted": "promoted", "rolled_back": "rolled_back"}


def summarise(ledger: Connection, story: Story, phase: str) -> dict[str, Any]:
    """Return demo.json; a part that did not happen is None, never zero."""
    chain = check_chain(ledger)

    def row(kind: str) -> Evidence | None:
        return latest_evidence(ledger, story.workload, kind, generation=story.generation)

    def body(kind: str) -> dict[str, Any] | None:
        found = row(kind)
        return None if found is None else found.body

    rollout, seen = row("rollout"), users(story)
    if rollout is not None and rollout.number <= story.told_before:
        rollout = None  # an earlier story's
    back = None if rollout is None else rollout.body.get("seconds_to_zero")
    went_back = rollout is not None and rollout.verdict != Verdict.PASS
    return {
        "outcome": OUTCOMES.get(phase, "failed"),
        "bad_candidate": story.bad_candidate,
        "reason": reason_of(rollout.sentence) if rollout is not None and went_back else None,
        "failed_requests": None if seen is None else seen["failed"],
        "ms_to_zero": None if back is None else round(1000 * back, 1),
        "workload": story.workload,
        "generation": story.generation,
        "seconds": None,
        "phases": [_phase(run) for run in phase_runs(story)],
        "audit": _audit(body("audit")),
        "architecture": _architecture(body("decision")),
        "backfill": _backfill(body("backfill"), story),
        "validation": _validation(body("validation")),
        "drill": _pick(body("drill"), "seconds_to_zero", "failed_requests"),
        "canary": _canary(ledger, story, None if rollout is None else rollout.body),
        "rollback": _pick(body("rollback"), "seconds_to_zero"),
        "traffic": seen,
        "evidence": {"rows": chain.rows, "chain_ok": chain.intact},
        "prefect_ui": settings.stack_state().get("prefect", {}).get("ui_url"),
    }


def users(story: Story) -> dict[str, Any] | None:
    """Return what the users saw: requests, failed, and by arm; None before the first second."""
    try:
        found: dict[str, Any] = json.loads(story.scene.load_statistics.read_text())
    except FileNotFoundError:
        return None
    return found


def _pick(body: dict[str, Any] | None, *keys: str) -> dict[str, Any] | None:
    return None if body is None else {key: body.get(key) for key in keys}


def _phase(run: PhaseRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "verdict": run.verdict,
        "seconds": run.seconds,
        "flow_run_id": run.flow_run_id,
    }


def _audit(body: dict[str, Any] | None) -> dict[str, Any] | None:
    return _pick(body, "resources", "collectors", "spend_total", "currency")


def _architecture(body: dict[str, Any] | None) -> dict[str, Any] | None:
    if body is None:
        return None
    keys = ("name", "monthly_p50", "monthly_p90")
    patterns = [{key: pattern.get(key) for key in keys} for pattern in body["patterns"]]
    return {"patterns": patterns, "chosen": body["chosen"]}


def _backfill(body: dict[str, Any] | None, story: Story) -> dict[str, Any] | None:
    picked = _pick(body, "rows_source", "rows_target", "missing", "duplicates", "rows_per_s")
    if picked is None or body is None:
        return None
    return {**picked, "killed_and_resumed": story.killed and bool(body.get("resumed"))}


def _validation(body: dict[str, Any] | None) -> dict[str, Any] | None:
    if body is None:
        return None
    systems = body["systems"]
    return {
        "queries": body["queries"],
        "ndcg_at_10": {name: system.get("ndcg_at_10") for name, system in systems.items()},
        "verdict": body["verdicts"],
        "recall_at_10": body["recall_at_10"],
    }


def _canary(ledger: Connection, story: Story, body: dict[str, Any] | None) -> dict[str, Any] | None:
    if body is None:
        return None
    seen = users(story)
    return {
        "requests": body["requests"],
        "failed_requests": body["failed_requests"] if seen is None else seen["failed"],
        "weights": body["weights"],
        "approvals": body["approvals"],
        "final_weight": router_of(ledger, story.scene.workload).read().candidate_percent,
    }
