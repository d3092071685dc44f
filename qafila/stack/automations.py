"""Prefect's automation that takes back what a crashed or cancelled canary run left.

The third line, behind the run's own hooks and the watchdog: best effort, since the server that
starts it may be what died. It starts the deployment ``rollback`` for exactly that run, which does
nothing where another rollout leads by now.
"""

from __future__ import annotations

from typing import Any

import httpx

from qafila.errors import Unavailable
from qafila.stack.prefect_access import ask

NAME = "qafila: take back what a canary run left"
WATCHED, STARTED = "canary-cutover/canary-cutover", "rollback/rollback"
_ENDS = ("prefect.flow-run.Crashed", "prefect.flow-run.Cancelled")


def automation(watched_id: str, started_id: str) -> dict[str, Any]:
    """Return the automation as the API takes it, for two deployments' ids."""
    return {
        "name": NAME,
        "description": "A canary run that crashed or was cancelled: its workload goes back.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": [*_ENDS],
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": {
                "prefect.resource.id": f"prefect.deployment.{watched_id}",
                "prefect.resource.role": "deployment",
            },
            "for_each": ["prefect.resource.id"],
            "threshold": 1,
            "within": 0,
        },
        "actions": [
            {
                "type": "run-deployment",
                "source": "selected",
                "deployment_id": started_id,
                "parameters": {
                    "request": {
                        "workload": "{{ flow_run.parameters['request']['workload'] }}",
                        "why": "the canary run ended {{ flow_run.state.name }}",
                        "of_run": "{{ flow_run.id | string }}",
                    }
                },
            }
        ],
    }


def ensure_automation(api: str) -> str:
    """Register the automation, or bring it up to date; return its id. Repeatable.

    Raises:
        Unavailable: a deployment is missing, or the server refuses.
    """
    wanted = automation(_deployment(api, WATCHED), _deployment(api, STARTED))
    named = {"automations": {"name": {"any_": [NAME]}}}
    known = _asked(api, "POST", "/automations/filter", named)
    if known:
        _asked(api, "PUT", f"/automations/{known[0]['id']}", wanted)
        return str(known[0]["id"])
    return str(_asked(api, "POST", "/automations/", wanted)["id"])


def _deployment(api: str, name: str) -> str:
    return str(_asked(api, "GET", f"/deployments/name/{name}")["id"])


def _asked(api: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    url = api + path
    try:
        reply = ask(api, method, path, body)
        reply.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise Unavailable(
            f"the Prefect server says {error.response.status_code} to {method} {url}: "
            f"{error.response.text[:300]}",
            kept="the deployments.",
            remedy="qafila up",
        ) from error
    except httpx.HTTPError as error:
        raise Unavailable(
            f"the Prefect server does not answer {url}.", remedy="qafila up"
        ) from error
    return reply.json() if reply.content else None
