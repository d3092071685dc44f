"""The Prefect server, its work pool and one worker: commands, addresses, health."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from qafila.stack.prefect_access import ask
from qafila.text.strict_yaml import load_yaml

POOL = "qafila"

# What a run may bring of its own: nothing. Prefect's own template lets each run name a command,
# variables and a folder. Without placeholders the worker ignores them, and the server refuses them.
JOB_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


def api_url(port: int) -> str:
    """Return the API's address; the UI stands at the same address without ``/api``."""
    return f"http://127.0.0.1:{port}/api"


def server_command(port: int) -> list[str]:
    """Return the command that serves API and UI on loopback only."""
    return [sys.executable, "-m", "qafila.stack.prefect_server", str(port)]


def worker_command() -> list[str]:
    """Return the command of the worker."""
    return [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        POOL,
        "--type",
        "process",
        "--name",
        "qafila-worker",
    ]


WORKER_VARIABLES = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "5"}


def healthy(api: str, timeout_s: float = 2.0) -> bool:
    """Say whether the server answers its health check."""
    try:
        reply = httpx.get(f"{api}/health", timeout=timeout_s, trust_env=False)
        return reply.status_code == 200
    except httpx.TransportError:
        return False


def version(api: str) -> str:
    """Return the server's own version."""
    return str(_get(api, "/admin/version"))


def ensure_pool(api: str) -> None:
    """Create the work pool when it is missing; see that runs bring no command of their own."""
    answer = ask(
        api,
        "POST",
        "/work_pools/",
        {
            "name": POOL,
            "type": "process",
            "description": "Runs every flow of Qafila as a process on this machine.",
            "base_job_template": JOB_TEMPLATE,
        },
    )
    if answer.status_code != 409:  # 409: it is there already
        answer.raise_for_status()
    elif _get(api, f"/work_pools/{POOL}").get("base_job_template") != JOB_TEMPLATE:
        changed = ask(api, "PATCH", f"/work_pools/{POOL}", {"base_job_template": JOB_TEMPLATE})
        changed.raise_for_status()


def worker_age_s(api: str, now: float) -> float | None:
    """Return the seconds since a worker of the pool was last heard; None when there is none."""
    workers = _post(api, f"/work_pools/{POOL}/workers/filter", {})
    beats = [
        datetime.fromisoformat(w["last_heartbeat_time"].replace("Z", "+00:00")).timestamp()
        for w in workers
        if w.get("last_heartbeat_time")
    ]
    return max(0.0, now - max(beats)) if beats else None


def deployments(api: str) -> set[str]:
    """Return the names of the deployments that the server knows, as ``name`` without the flow."""
    found: set[str] = set()
    while page := _post(api, "/deployments/filter", {"limit": 100, "offset": len(found)}):
        before = len(found)
        found |= {d["name"] for d in page}
        if len(page) < 100 or len(found) == before:
            break
    return found


def end_orphans(api: str) -> int:
    """Mark every run that a dead worker had begun as crashed; return how many there were.

    Only to be called while no worker and none of its flow runs lives: Prefect itself would show
    them as running for ever, and their deployments' concurrency slots would stay taken.
    """
    begun = {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}
    runs = _post(api, "/flow_runs/filter", {"flow_runs": {"state": begun}, "limit": 200})
    crashed = {"type": "CRASHED", "message": "The worker ended, and this run with it."}
    for run in runs:
        _post(api, f"/flow_runs/{run['id']}/set_state", {"state": crashed, "force": True})
    return len(runs)


def is_flow_run(command: Sequence[str]) -> bool:
    """Say whether a process's command line is that of a flow run which a worker started."""
    return "prefect.engine" in command


def declared(file: Path) -> set[str]:
    """Return the names of the deployments that a prefect.yaml declares."""
    content = load_yaml(file.read_text(encoding="utf-8"), str(file))
    return {str(entry["name"]) for entry in content["deployments"]}


def _get(api: str, path: str) -> Any:
    return ask(api, "GET", path).raise_for_status().json()


def _post(api: str, path: str, body: dict[str, Any]) -> Any:
    return ask(api, "POST", path, body).raise_for_status().json()
