"""How a rollout ended and why, in one sentence; its four numbers; what happened when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from qafila.report.canary_chart import Moment, canary_timeline
from qafila.report.facts import EvidenceRow
from qafila.report.first_page import Figure, Reading
from qafila.report.rollout_facts import RolloutFacts
from qafila.text import figures as wording
from qafila.text.figures import NOT_MEASURED, number

HARMS = ("errors", "latency", "empty", "ungrounded", "over_budget", "flagged", "tenant")
PROOFS = ("fine", "under")
_SOON = timedelta(seconds=60)  # a way back belongs to the end of a rollout, not to a later day


def verdict(facts: RolloutFacts) -> str:
    """Return the rollout's verdict; ERROR when its process died, INCONCLUSIVE while it runs."""
    if facts.ended is not None:
        return facts.ended.verdict or "INCONCLUSIVE"
    return "ERROR" if facts.backs else "INCONCLUSIVE"


def sentence(facts: RolloutFacts) -> str:
    """Return how it ended and why."""
    if facts.ended is None and not facts.backs:
        last = facts.looks[-1] if facts.looks else None
        where = "" if last is None else f" at {last['step']}: {last['sentence']}"
        return f"It has not ended yet{where}"
    why = reason(facts)
    back = facts.backs[-1] if facts.backs else None
    if facts.ended is not None and facts.ended.verdict == "PASS":
        told = f"Promoted: {users(facts)}; {why}"
        if back is not None:
            told += f" Taken back on {wording.moment(gone_back_at(back))}: {_why(back.body)}."
        return told
    top = highest_weight(facts)
    went = "Taken back before any user met it" if not top else f"Taken back from {top} %"
    if facts.ended is None:
        went = f"Its process ended without a word; {went[0].lower()}{went[1:]}"
    took = None if back is None else back.body.get("seconds_to_zero")
    fast = "" if took is None else f", on the baseline {wording.duration(took)} after the decision"
    return f"{went}{fast}. Why: {why}"


def reason(facts: RolloutFacts) -> str:
    """Return why it ended, without the name before it, with a full stop."""
    if facts.ended is not None:
        said = facts.ended.sentence.removeprefix(f"{facts.workload} g{facts.generation}: ")
        said = said.removeprefix("promoted; ")
    else:
        said = _why(facts.backs[-1].body)
    return said.rstrip(".") + "."


def gone_back_at(row: EvidenceRow) -> datetime:
    """Return when a way back was gone: before its row, where no ledger answered at that time."""
    try:
        done = datetime.fromisoformat(str(row.body.get("done_at")))
    except ValueError:
        return row.recorded_at
    return done if done.tzinfo is not None else row.recorded_at


def _why(body: Mapping[str, Any]) -> str:
    return str(body.get("why") or "no cause is recorded").rstrip(".")


def users(facts: RolloutFacts) -> str:
    """Return how many requests there were and how many failed for their users."""
    failed, saved = facts.body.get("failed_requests"), facts.body.get("saved_by_retry")
    retried = f" ({number(saved)} saved by a retry)" if saved else ""
    return f"{number(failed)} of {number(requests(facts))} requests failed for users{retried}"


def requests(facts: RolloutFacts) -> int | None:
    """Return the requests that the judge saw, by the rollout's row, else by its looks."""
    told = facts.body.get("requests")
    if told is not None:
        return int(told)
    return _of(facts.looks, "baseline", "requests") + _of(facts.looks, "candidate", "requests")


def highest_weight(facts: RolloutFacts) -> int:
    """Return the greatest weight that the judge looked at."""
    return max((int(look["weight"]) for look in facts.looks), default=0)


def counted(facts: RolloutFacts, arm: str, key: str) -> int:
    """Return a count of one arm over the looks that compared both arms: weights from 1 to 99."""
    return _of([look for look in facts.looks if 0 < look["weight"] < 100], arm, key)


def _of(looks: Iterable[Mapping[str, Any]], arm: str, key: str) -> int:
    return sum(int((look["counts"].get(arm) or {}).get(key) or 0) for look in looks)


def greatest(facts: RolloutFacts, names: Iterable[str]) -> tuple[float, str] | None:
    """Return the greatest of these e-values over all looks, and its name; None without one."""
    seen = [
        (float(look["e_values"][name]), name)
        for look in facts.looks
        for name in names
        if name in (look["e_values"] or {})
    ]
    return max(seen, default=None)


def figures(facts: RolloutFacts) -> tuple[Figure, Figure, Figure, Figure]:
    """Return users, bad answers, proof and the way back."""
    return _users(facts), _bad(facts), _proof(facts), _back(facts)


def _rows(facts: RolloutFacts, *kinds: str) -> tuple[int, ...]:
    found = (facts.latest(kind) for kind in kinds)
    return tuple(row.number for row in found if row is not None)


def _users(facts: RolloutFacts) -> Figure:
    saved = facts.body.get("saved_by_retry")
    return Figure(
        name="Users",
        before=Reading("requests judged", number(requests(facts)), ""),
        after=Reading("failed for their users", number(facts.body.get("failed_requests")), ""),
        difference=(
            f"saved by a retry: {number(saved)}",
            f"greatest weight: {highest_weight(facts)} %",
        ),
        evidence=_rows(facts, "rollout"),
    )


def _bad(facts: RolloutFacts) -> Figure:
    def arm(label: str, name: str) -> Reading:
        seen, bad = (counted(facts, name, key) for key in ("requests", "bad"))
        share = wording.percent(bad / seen, 2) if seen else NOT_MEASURED
        return Reading(label, share, f"{number(bad)} of {number(seen)}")

    return Figure(
        name="Bad answers",
        before=arm("baseline", "baseline"),
        after=arm("canary", "candidate"),
        difference=("while both arms served",),
        evidence=_rows(facts, "rollout"),
    )


def _proof(facts: RolloutFacts) -> Figure:
    def reading(label: str, names: Iterable[str], limit: float) -> Reading:
        found = greatest(facts, names)
        if found is None:
            return Reading(label, NOT_MEASURED, "")
        shown = f"{short(found[0])} of {limit:,.0f}"
        return Reading(label, shown, f"the most, of {found[1].replace('_', ' ')}")

    limits = facts.limits
    return Figure(
        name="Proof",
        before=reading("E(harm)", HARMS, limits.abort_at),
        after=reading("E(fine)", PROOFS, limits.promote_at),
        difference=(f"harm ×{limits.harm_ratio:g} is to be ruled out",),
        evidence=_rows(facts, "rollout"),
    )


def _back(facts: RolloutFacts) -> Figure:
    drill = facts.latest("drill")
    flips = None if drill is None else drill.body.get("flips")
    back = facts.backs[-1] if facts.backs else None
    drilled = None if drill is None else drill.body.get("seconds_to_zero")
    certificate = facts.certificate
    return Figure(
        name="The way back",
        before=Reading(
            "drilled before",
            wording.duration(drilled),
            f"the slowest of {flips}, under load" if flips else "",
        ),
        after=Reading("in earnest", "not needed", "")
        if back is None
        else Reading(
            "in earnest",
            wording.duration(back.body.get("seconds_to_zero")),
            f"{number(back.body.get('canary_requests_after'))} of "
            f"{number(back.body.get('requests_after'))} requests since met the canary",
        ),
        difference=("no certificate",)
        if certificate is None
        else (f"certificate until {wording.moment(certificate['expires_at'])}",),
        evidence=_rows(facts, "drill", "rollback"),
    )


def short(e: float) -> str:
    """Return an e-value for the eye."""
    if e >= 1e5:
        return f"{e:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{e:.2g}" if e < 10 else f"{e:,.0f}"


def moments(facts: RolloutFacts) -> list[Moment]:
    """Return what happened from the first look to the end, for the timeline."""
    found, step = [], None
    for look in facts.looks:
        if look["step"] != step:
            step = look["step"]
            found.append(Moment(look["looked_at"], str(step)))
    end = facts.ended.recorded_at if facts.ended is not None else facts.made_at
    for asked in facts.approvals:
        about = asked.subject.removeprefix(facts.workload).strip() or "approval"
        found.append(Moment(asked.asked_at, f"asked {about}", "person"))
        if asked.decided_at is not None:
            found.append(Moment(asked.decided_at, asked.state, "person"))
        elif asked.state == "lapsed" and asked.expires_at <= end:
            found.append(Moment(asked.expires_at, "lapsed", "person"))
    promoted = facts.ended is not None and facts.ended.verdict == "PASS"
    for row in facts.backs:
        if gone_back_at(row) <= end + _SOON and not promoted:
            took = wording.duration(row.body.get("seconds_to_zero"))
            found.append(Moment(gone_back_at(row), f"back at 0 % in {took}", "back"))
    if promoted:
        found.append(Moment(end, "promoted", "through"))
    began = facts.began_at
    return [m for m in found if began is None or m.at >= began]


def timeline(facts: RolloutFacts) -> str | None:
    """Return the timeline as SVG text; None when the judge never looked."""
    if not facts.looks:
        return None
    return canary_timeline(
        facts.looks,
        title=f"{facts.rollout}: {verdict(facts)}",
        abort_at=facts.limits.abort_at,
        promote_at=facts.limits.promote_at,
        moments=moments(facts),
        holds=facts.holds,
    )
