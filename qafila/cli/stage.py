"""The demo's view of a migration: a line for what was shown, one for what happens now."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, timedelta
from decimal import Decimal
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any

from qafila.cli import screen
from qafila.text.foreign_text import printable
from qafila.workload.verdict import Verdict

if TYPE_CHECKING:
    from rich.status import Status

    from qafila.ledger.evidence import Evidence

TITLES = {
    "audit": "1 audit",
    "decision": "2 architecture",
    "preflight": "3 preflight",
    "backfill": "4 backfill",
    "validation": "5 validation",
    "drill": "6 drill",
    "rollout": "7 canary",
    "rollback": "  rollback",
}
_FINDINGS = {
    "orphan disk": "orphan disk",
    "untagged gpu": "GPU without tag",
    "cross-AZ traffic": "costly route",
}
_NAME, _WIDTH = 16, 92
_WRAPPER = TextWrapper(_WIDTH, break_long_words=False, break_on_hyphens=False)
_QUIET = {"backfill-attempt", "validation-arm"}
_ABOVE = re.compile(r"above (\d+) %: approved")
_UNPROVEN = "proved nothing"  # how a step says that it passed on its requests alone


class ScreenStage:
    """Prints to the terminal; piped, the same lines without redrawing."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._since = time.monotonic()
        self._approved: list[int] = []  # the weights above which somebody let a rollout go

    def __enter__(self) -> ScreenStage:
        if screen.console().is_terminal:
            self._status = screen.console().status("starting", spinner="dots")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def progress(self, text: str) -> None:
        """Replace the one line about what happens now; piped, say nothing."""
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(f"{'':<{_NAME - 2}}{printable(text)}"))

    def note(self, text: str) -> None:
        """Show a line that stays."""
        screen.say(f"  {'':<{_NAME}}! {text}")

    def told(self, row: Evidence) -> None:
        """Show one piece of evidence in one to three lines."""
        if row.kind in _QUIET:
            return
        if row.kind == "approval":
            self._approved += map(int, _ABOVE.findall(row.sentence))
            screen.say(f"  {'':<{_NAME}}{row.sentence}")
            return
        seconds = time.monotonic() - self._since
        self._since = time.monotonic()
        title = TITLES.get(row.kind, row.kind)
        told = _lines(row, self._approved)
        first, *more = [part for line in told for part in _WRAPPER.wrap(line)]
        screen.say(f"  {title:<{_NAME}}{first:<{_WIDTH}}  {row.verdict or '':<12} {seconds:.0f} s")
        for line in more:
            screen.say(f"  {'':<{_NAME}}{line}")


def _lines(row: Evidence, approved: Sequence[int]) -> list[str]:
    body = row.body
    if row.kind == "audit":
        return [row.sentence, *_to_look_at(body)]
    if row.kind == "backfill":
        rate = body.get("rows_per_s")
        return [
            row.sentence,
            f"{rate:.0f} rows/s in this run · attempts {body['attempts']}"
            if rate
            else f"attempts {body['attempts']}",
        ]
    if row.kind == "validation" and body["systems"]:
        why = [] if row.verdict == Verdict.PASS else [f"! {row.sentence}"]
        return [_quality(body), *_validation_details(body), *why]
    if row.kind == "drill" and row.verdict == Verdict.PASS and "valid_hours" in body:
        until = row.recorded_at + timedelta(hours=body["valid_hours"])
        return [row.sentence, f"certificate until {until.astimezone(UTC):%d %b %H:%M} UTC"]
    if row.kind == "rollout":
        _, _, ended = row.sentence.partition(": ")
        counted = f"{body['requests']} requests judged · {body['failed_requests']} failed for users"
        return [_steps(body["steps"], approved), f"{counted} · {ended or row.sentence}"]
    return [row.sentence]


def _to_look_at(body: dict[str, Any]) -> list[str]:
    """Return what the audit found that costs money for nothing, in few short words a finding."""
    billed = body.get("billed_not_found") or []
    told = [f"! billed but not found: {_amounts(billed)}"] if billed else []
    unbilled = len(body.get("found_not_billed") or [])
    told += [f"! found but not billed: {unbilled}"] if unbilled else []
    kinds = [f["kind"] for f in body.get("findings") or []]
    for kind, words in _FINDINGS.items():
        if count := kinds.count(kind):
            told.append(f"! {count} {words}")
    lines: list[str] = []
    for part in told:
        if lines and len(lines[-1]) + 2 + len(part) <= _WIDTH:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def _amounts(findings: Sequence[dict[str, Any]]) -> str:
    """Return the sum of findings, currency by currency."""
    sums: dict[str, Decimal] = {}
    for found in findings:
        if found.get("amount") is not None:
            code = str(found.get("currency"))
            sums[code] = sums.get(code, Decimal(0)) + Decimal(found["amount"])
    return " + ".join(f"{amount:,.2f} {code}" for code, amount in sums.items()) or "no amount"


def _steps(steps: Sequence[dict[str, Any]], approved: Sequence[int]) -> str:
    """Return the steps as marks: proven, passed on its requests alone, not passed."""
    parts = []
    for step in steps:
        if any(above < step.get("weight", 0) for above in approved):
            parts.append("approved")
            approved = ()
        went_on = step is not steps[-1] and step["verdict"] == Verdict.INCONCLUSIVE
        mark = "✓" if step["verdict"] == Verdict.PASS else "✗"
        if went_on or (mark == "✓" and _UNPROVEN in step.get("sentence", "")):
            mark = "·"
        parts.append(f"{step['step']} {mark}")
    return "  ".join(parts)


def _quality(body: dict[str, Any]) -> str:
    systems, verdicts = body["systems"], body["verdicts"]
    labels = (("keyword", "baseline"), ("vectors alone", "vector_only"), ("hybrid", "candidate"))
    parts = [
        f"{label} {systems[name]['ndcg_at_10']:.3f} {verdicts.get(name, '')}".strip()
        for label, name in labels
        if name in systems and systems[name].get("ndcg_at_10") is not None
    ]
    return "nDCG@10   " + "   ".join(parts)


def _validation_details(body: dict[str, Any]) -> list[str]:
    lines = []
    paired = body.get("paired", {}).get("candidate")
    if paired:
        lines.append(
            f"{paired['delta']:+.3f} (95 % CI {paired['ci_low']:+.3f} … {paired['ci_high']:+.3f}) "
            f"on {body['queries']} queries"
        )
    low, high = body.get("recall_ci") or (None, None)
    if body.get("recall_at_10") is not None and low is not None:
        lines.append(f"recall@10 against exact {body['recall_at_10']:.3f} ({low:.3f} … {high:.3f})")
    return lines
