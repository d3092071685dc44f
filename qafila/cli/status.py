"""qafila status: where a workload stands, what it waits for, and how to get back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from qafila.cli import screen
from qafila.cli.screen import AsJson
from qafila.workload.phases import Phase

if TYPE_CHECKING:
    from qafila.ledger.approvals import Approval
    from qafila.rollout.standing import Standing
    from qafila.rollout.status import Status

ASLEEP_S = 15.0  # a watchdog that has not looked for so long does not watch
_WITHOUT_USERS = frozenset({Phase.ROLLED_BACK, Phase.ABANDONED, Phase.CLEANED})


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(status)


def status(
    workload: Annotated[str | None, typer.Argument(help="Name; empty: all workloads.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where a workload stands, what it waits for, and how to get back."""
    from dataclasses import asdict

    from qafila.ledger.ledger import list_workloads, open_ledger
    from qafila.rollout.status import read_status

    with open_ledger() as ledger:
        names = [workload] if workload else list_workloads(ledger)
        found = [read_status(ledger, name) for name in names]
    if as_json:
        rows = [asdict(s) for s in found]
        screen.print_json(rows[0] if workload else rows)
        return
    if not found:
        screen.say("No workload yet.  Next:  qafila apply workloads/aws-docs-search.yaml")
    for one in found:
        for label, text in lines_of(one, datetime.now(UTC)):
            screen.say(f"  {label:<20} {text}")


def lines_of(status: Status, now: datetime) -> list[tuple[str, str]]:
    """Return label and text of each line about one workload."""
    lines = [(status.workload, _first(status))]
    lines += [("waits for you", _question(q, now)) for q in status.waits_for]
    if status.canary is not None:
        so_far = status.canary.so_far
        lines.append((f"since {so_far.began_at.astimezone(UTC):%H:%M}", _evidence(status.canary)))
        lines.append(("last look", f"{so_far.verdict}: {so_far.sentence}"))
    elif status.latest is not None:
        latest = status.latest
        lines.append((f"since {latest.recorded_at.astimezone(UTC):%H:%M}", latest.sentence))
    if not _brought_back(status) and (status.certificate_until is not None or _on_trial(status)):
        lines.append(("if it goes wrong", _way_back(status, now)))
    if status.lease is not None:
        age = status.lease.age_seconds or 0.0
        lines.append(("lease", f"{status.lease.holder}, alive {age:.1f} s ago"))
    if status.canary is not None:
        lines.append(("next", _next(status)))
    elif status.waits_for:
        pass  # the run that asked goes on by itself
    elif status.next_step is not None:
        lines.append(("next", f"qafila run {status.next_step} {status.workload}"))
    elif status.generation is not None and (then := _afterwards(status, now)):
        lines.append(("next", then))
    return lines


def _brought_back(status: Status) -> bool:
    """Tell whether the newest generation has ended with nobody on it: nothing is left to undo."""
    return (
        status.candidate_percent == 0
        and status.generation is not None
        and status.generation.phase in _WITHOUT_USERS
    )


def _afterwards(status: Status, now: datetime) -> str:
    """Return what may follow a migration that has ended; empty where nothing has to."""
    assert status.generation is not None
    if status.settle_from is not None:
        until = f"{status.settle_from.astimezone(UTC):%d %b %H:%M}"
        early = f"from {until} UTC on: " if now < status.settle_from else ""
        return f"{early}qafila settle {status.workload} --by NAME"
    if status.generation.phase in _WITHOUT_USERS and status.candidate_percent:
        return f"qafila router show {status.workload}   (the candidate has users all the same)"
    if status.generation.phase in _WITHOUT_USERS:
        return f"qafila run migrate-workload {status.workload}   (opens the next generation)"
    return ""


def _on_trial(status: Status) -> bool:
    return status.generation is not None and status.generation.phase == Phase.CANARY


def _first(status: Status) -> str:
    generation, share = status.generation, status.candidate_percent
    number = "" if generation is None else f" g{generation.number}"
    about = f"{status.criticality} criticality · owner {status.owner}"
    phase = "not begun" if generation is None else generation.phase
    weight = f"router: {status.router_problem}" if share is None else f"candidate gets {share} %"
    if status.canary is None:
        return f"{phase}{number}, {weight} · {about}"
    canary = status.canary
    at = f"{share} %" if share is not None else f"{canary.so_far.weight} % ({weight})"
    return f"canary{number} {at}, {canary.doing}, {canary.safety} · {about}"


def _question(question: Approval, now: datetime) -> str:
    left = max(0.0, (question.expires_at - now).total_seconds())
    progress = f"; {question.progress}" if question.progress else ""
    return (
        f"{question.subject}, lapses in {_ago(left)}{progress}     "
        f"qafila approve {question.id} --by NAME"
    )


def _evidence(canary: Standing) -> str:
    so_far = canary.so_far
    kind = f" ({canary.e_harm_of.replace('_', ' ')})" if canary.e_harm_of else ""
    return (
        f"{so_far.requests:,} requests · bad events {so_far.candidate_bad} canary / "
        f"{so_far.baseline_bad} baseline · E(harm) {_short(canary.e_harm)} of "
        f"{canary.abort_at:,.0f}{kind} · E(fine) {_short(canary.e_fine)} of "
        f"{canary.promote_at:,.0f}"
    )


def _way_back(status: Status, now: datetime) -> str:
    parts = []
    if status.certificate_until is None or status.drill_seconds is None:
        parts.append("rollback NOT drilled for this generation")
    else:
        ago = ""
        if status.drilled_at is not None:
            ago = f" {_ago((now - status.drilled_at).total_seconds())} ago"
        parts.append(f"rollback drilled{ago}: {_seconds(status.drill_seconds)}")
        parts.append(f"certificate until {status.certificate_until:%d %b %H:%M} UTC")
    parts.append(_watchdog(status.watchdog_age_s))
    parts.append(f"qafila rollback {status.workload}")
    return " · ".join(parts)


def _watchdog(age_s: float | None) -> str:
    if age_s is None:
        return "no watchdog has ever looked: qafila watchdog"
    if age_s > ASLEEP_S:
        return f"watchdog SILENT for {_ago(age_s)}: qafila watchdog"
    return f"watchdog alive {age_s:.0f} s ago"


def _next(status: Status) -> str:
    assert status.canary is not None
    coming = status.canary.next
    where = "the pointer row moves" if coming.weight is None else f"{coming.weight} %"
    after = " after approval" if coming.after_approval else ""
    parts = [f"{where}{after}"]
    if status.held is not None:
        parts.append(f"not before it may rise: {status.held}")
    if coming.weight is not None:
        to = "to prove it" if coming.must_prove else "at the least"
        if coming.requests is None:
            parts.append("no number of requests would prove it at today's bad rate by ratio")
        elif coming.seconds is None:
            parts.append(f"{coming.requests:,} requests {to}; there is no traffic now")
        else:
            parts.append(f"about {_ago(coming.seconds)} of traffic {to}")
    return ", ".join(parts)


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.2f} s"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def _short(e: float) -> str:
    if e >= 1e5:
        return f"{e:.0e}"
    return f"{e:.2g}" if e < 10 else f"{e:,.0f}"
