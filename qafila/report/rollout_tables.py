"""The tables of a rollout's page, and what nobody could see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from itertools import groupby
from typing import Any

from qafila.report import rollout_story as story
from qafila.report.rollout_facts import RolloutFacts
from qafila.report.rollout_story import HARMS, PROOFS, short
from qafila.report.tables import Table, cell, pairs, table
from qafila.text.figures import (
    NOTHING,
    duration,
    milliseconds,
    moment,
    money,
    number,
    percent,
    text,
)

MOST_LOOKS = 300


def steps(facts: RolloutFacts) -> Table:
    """Return the steps with their verdicts, as the rollout kept them."""
    return table(
        "Steps",
        ("step", "weight", "requests", "verdict", "why"),
        (
            (
                text(s.get("step")),
                f"{number(s.get('weight'))} %",
                number(s.get("requests")),
                text(s.get("verdict")),
                text(s.get("sentence")),
            )
            for s in facts.body.get("steps") or []
        ),
        1,
        2,
    )


def weights(facts: RolloutFacts) -> Table:
    """Return each weight as asked, acknowledged and seen, with what both arms gave."""
    rows = []
    for _, group in groupby(facts.looks, key=lambda look: (look["step"], look["weight"])):
        looks = list(group)
        base, canary = (
            [
                sum(int((k["counts"].get(arm) or {}).get(key) or 0) for k in looks)
                for key in ("bad", "requests")
            ]
            for arm in ("baseline", "candidate")
        )
        seen = base[1] + canary[1]
        confirmed = {k["acknowledged"] for k in looks if k.get("acknowledged") is not None}
        rows.append(
            (
                str(looks[0]["step"]),
                _clock(looks[0]),
                number(len(looks)),
                f"{looks[0]['weight']} %",
                " and ".join(f"{c} %" for c in sorted(confirmed)) or NOTHING,
                _seen(looks[0]["weight"], canary[1], seen),
                f"{number(base[0])} of {number(base[1])}" if seen else NOTHING,
                f"{number(canary[0])} of {number(canary[1])}" if seen else NOTHING,
            )
        )
    return table(
        "Weights as asked, as the router acknowledged them, and as the traffic showed them",
        (
            "step",
            "first look",
            "looks",
            "asked",
            "acknowledged",
            "seen",
            "bad, baseline",
            "bad, canary",
        ),
        rows,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
    )


def _seen(weight: int, canary: int, requests: int) -> str:
    """Return the canary's share of users' requests; at weight 0 it has copies at the most."""
    if not requests:
        return NOTHING
    return "copies alone" if weight == 0 and canary else percent(canary / requests)


def kinds(facts: RolloutFacts) -> Table:
    """Return bad answers by kind and arm while both served, with the strongest evidence."""
    rows = []
    seen = [story.counted(facts, arm, "requests") for arm in ("baseline", "candidate")]
    for kind in HARMS:
        e = story.greatest(facts, [kind])
        bad = [story.counted(facts, arm, kind) for arm in ("baseline", "candidate")]
        if e is None and not any(bad):
            continue
        shown = [
            NOTHING if kind == "tenant" else f"{number(b)}{f' ({percent(b / n, 2)})' if n else ''}"
            for b, n in zip(bad, seen, strict=True)
        ]
        evidence = NOTHING if e is None else short(e[0])
        rows.append((kind.replace("_", " "), *shown, evidence, f"{facts.limits.abort_at:,.0f}"))
    for kind in PROOFS:
        e = story.greatest(facts, [kind])
        if e is not None:
            rows.append(
                (
                    f"no harm, {kind}",
                    NOTHING,
                    NOTHING,
                    short(e[0]),
                    f"{facts.limits.promote_at:,.0f}",
                )
            )
    return table(
        "Bad answers by kind while both arms served, and the greatest e-value of each",
        ("kind", "baseline", "canary", "E, the most", "decides at"),
        rows,
        1,
        2,
        3,
        4,
    )


def calibration(facts: RolloutFacts) -> Table:
    """Return what the baseline was found to be, compared with itself."""
    kept = {"p95_ms": facts.body.get("p95_ms"), **(facts.body.get("calibration") or {})}
    return pairs(
        "The A/A bake: the baseline beside itself",
        [
            ("requests", number(kept.get("requests"))),
            ("p95", milliseconds(kept.get("p95_ms"))),
            ("slow is over", milliseconds(kept.get("slow_ms"))),
            ("bad answers", percent(kept.get("bad_share"), 2)),
            ("empty answers", percent(kept.get("empty_share"), 2)),
            ("skew of the split", number(kept.get("skew"), 2)),
            ("requests that name a tenant", percent(kept.get("named"))),
            ("tenants told apart", number(kept.get("tenants"))),
        ],
        kept if kept.get("p95_ms") is not None else {},
    )


def plan(facts: RolloutFacts) -> Table:
    """Return what proof was to take at each weight, as it was told before the first."""
    return table(
        "What proof was to take, at the traffic and the bad answers of the A/A bake",
        ("weight", "must prove", "requests by ratio", "requests under the objectives", "time"),
        (
            (
                f"{number(p.get('weight'))} %",
                text("yes" if p.get("must_prove") else "no"),
                _requests(p.get("requests_to_prove")),
                _requests(p.get("requests_under_objectives")),
                _proof_time(p),
            )
            for p in facts.body.get("plan") or []
        ),
        0,
        2,
        3,
        4,
    )


def _requests(needed: Any) -> str:
    return "none are enough" if needed is None else number(needed)


def _proof_time(planned: Mapping[str, Any]) -> str:
    hours = planned.get("hours_to_prove")
    seconds = planned.get("seconds_to_prove") if hours is None else 3600 * hours
    return NOTHING if seconds is None else duration(seconds)


def shadow(facts: RolloutFacts) -> Table:
    """Return the shadow step's own figures, whatever it kept, else its line among the steps."""
    kept = facts.body.get("shadow") or {}
    done = [s for s in facts.body.get("steps") or [] if s.get("step") == "shadow"]
    if done and not kept:
        kept = {
            "verdict": done[0].get("verdict"),
            "requests": done[0].get("requests"),
            "found": done[0].get("sentence"),
        }
    return pairs(
        "The shadow step: copies of users' requests, the answers thrown away",
        [(str(key).replace("_", " "), cell(value)) for key, value in kept.items()],
        kept,
    )


def approvals(facts: RolloutFacts) -> Table:
    """Return who was asked and what each answered; one row a person."""
    rows = []
    for asked in facts.approvals:
        needed = "" if asked.needed == 1 else f"{asked.needed} persons: "
        by = "" if asked.requested_by is None else f", asked for by {asked.requested_by}"
        question = (f"{asked.subject}{by}", moment(asked.asked_at))
        for answer in asked.answers:
            rows.append(
                (
                    *question,
                    f"{answer.decision}",
                    answer.name,
                    moment(answer.answered_at),
                    text(answer.notes),
                )
            )
        answered = asked.decided_at is not None and asked.answers
        if not answered:
            rows.append(
                (
                    *question,
                    f"{needed}{asked.state}",
                    text(asked.decided_by),
                    moment(asked.decided_at),
                    text(asked.notes),
                )
            )
    return table("Approvals", ("subject", "asked", "answer", "by", "answered", "notes"), rows)


def drill(facts: RolloutFacts) -> Sequence[Table]:
    """Return the drill and the certificate under which the rollout began."""
    row, certificate = facts.latest("drill"), facts.certificate
    body: Mapping[str, Any] = {} if row is None else row.body
    slowest = ("until nobody met the canary, slowest", duration(body.get("seconds_to_zero")))
    told = drill_lines(body, [slowest, *_percentiles(body)])
    held = (
        []
        if certificate is None
        else [
            ("number", text(certificate.get("id"))),
            ("router", text(certificate.get("router"))),
            ("versions", cell(certificate.get("versions"))),
            ("issued", moment(certificate.get("issued_at"))),
            ("expires", moment(certificate.get("expires_at"))),
            ("evidence", text(certificate.get("evidence_number"))),
        ]
    )
    return (
        pairs("The drill", told, body),
        pairs("The certificate", held, certificate or {}),
    )


def drill_lines(
    body: Mapping[str, Any], to_zero: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return what a drill measured, line by line; ``to_zero`` is how long it took."""
    return [
        ("weight gone to", f"{number(body.get('weight'))} %"),
        ("ways there and back", number(body.get("flips"))),
        *to_zero,
        ("until the router acknowledged", duration(body.get("acknowledged_s"))),
        ("requests", number(body.get("requests"))),
        ("failed", number(body.get("failed_requests"))),
        ("on the canary afterwards", number(body.get("canary_requests_after"))),
    ]


def _percentiles(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"the same, {name}", milliseconds(body[key]))
        for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"))
        if body.get(key) is not None
    ]


def ways_back(facts: RolloutFacts) -> Table:
    """Return every way back since the rollout began."""
    return table(
        "Ways back",
        (
            "time",
            "from",
            "to",
            "acknowledged",
            "until zero",
            "requests since",
            "on the canary",
            "verdict",
            "why",
        ),
        (
            (
                moment(story.gone_back_at(r)),
                f"{text(r.body.get('from_weight'))} %",
                f"{text(r.body.get('final_weight'))} %",
                duration(r.body.get("acknowledged_s")),
                duration(r.body.get("seconds_to_zero")),
                number(r.body.get("requests_after")),
                number(r.body.get("canary_requests_after")),
                text(r.verdict),
                _why(r.body),
            )
            for r in facts.backs
        ),
        1,
        2,
        3,
        4,
        5,
        6,
    )


def _why(body: Mapping[str, Any]) -> str:
    """Return why, and what else a way back said: by a card without a ledger, the old side."""
    by = "" if body.get("by") in (None, "ledger") else f"gone by {body['by']}"
    said = (text(body.get("why")).rstrip("."), by, str(body.get("old_side") or "").rstrip("."))
    return "; ".join(part for part in said if part)


def costs(facts: RolloutFacts) -> Table:
    """Return what was paid meanwhile."""
    return table(
        "Paid meanwhile",
        ("what", "quantity", "amount", "state"),
        (
            (
                text(c["what"]),
                f"{number(c['quantity'])} {c['unit']}",
                f"{money(c['amount'], places=6)} {c['currency']}",
                text(c["state"]),
            )
            for c in facts.costs
        ),
        1,
        2,
    )


def looks(facts: RolloutFacts) -> Table:
    """Return the newest looks of the judge; all of them are in the Parquet file beside."""
    left_off = len(facts.looks) - MOST_LOOKS
    made = table(
        f"Looks of the judge{f', the newest {MOST_LOOKS}' if left_off > 0 else ''}",
        (
            "look",
            "time",
            "step",
            "asked",
            "acknowledged",
            "seen",
            "baseline",
            "canary",
            "E(harm)",
            "E(fine)",
            "verdict",
            "sentence",
        ),
        (look(one) for one in facts.looks[-MOST_LOOKS:]),
        0,
        1,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
    )
    note = f"{left_off:,} older ones are in the bundle: looks.parquet." if left_off > 0 else ""
    return Table(made.caption, made.headings, made.rows, made.figures, note)


def look(one: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one look as the cells of a row."""
    e = one["e_values"] or {}
    arms = (one["counts"].get(arm) or {} for arm in ("baseline", "candidate"))
    counted = [f"{a.get('bad', 0):,} / {a.get('requests', 0):,}" for a in arms]
    confirmed = one.get("acknowledged")
    return (
        text(one["number"]),
        _clock(one),
        str(one["step"]),
        f"{one['weight']} %",
        NOTHING if confirmed is None else f"{confirmed} %",
        NOTHING if one["observed"] is None else percent(one["observed"]),
        *counted,
        _most(e, HARMS),
        _most(e, PROOFS),
        str(one["verdict"]),
        str(one["sentence"]),
    )


def _clock(one: Mapping[str, Any]) -> str:
    return f"{one['looked_at'].astimezone(UTC):%H:%M:%S}"


def _most(e: Mapping[str, Any], names: Iterable[str]) -> str:
    known = [float(e[name]) for name in names if name in e]
    return short(max(known)) if known else NOTHING


def evidence(facts: RolloutFacts) -> Table:
    """Return the rows of the chain that the page rests on, with their whole digests."""
    return table(
        "Rows of the chain that this page rests on",
        ("number", "time", "kind", "verdict", "sentence", "digest"),
        (
            (text(r.number), moment(r.recorded_at), r.kind, text(r.verdict), r.sentence, r.digest)
            for r in facts.rows
        ),
        0,
    )


def unseen(facts: RolloutFacts) -> list[str]:
    """Return what nobody could see, so that nobody reads it as zero."""
    told = [facts.body.get("blind") or [], *(r.body.get("not_shown") or [] for r in facts.backs)]
    lines = list(dict.fromkeys(str(line) for some in told for line in some))
    blind = [k for k in facts.looks if k["verdict"] == "ERROR"]
    if blind:
        lines.append(
            f"{len(blind)} of {len(facts.looks)} looks saw nothing: {blind[0]['sentence']}"
        )
    empty = [
        k
        for k in facts.looks
        if k["verdict"] != "ERROR" and k["observed"] is None and k["weight"] > 0
    ]
    if empty:
        lines.append(f"{len(empty)} looks found no request.")
    thin = [
        str(s.get("step"))
        for s in facts.body.get("steps") or []
        if "proved nothing" in str(s.get("sentence"))
    ]
    if thin:
        lines.append(
            f"At {' and '.join(thin)}: too few requests to prove anything; passed on exposure "
            "without harm."
        )
    if facts.looks and not any("tenant" in (k["e_values"] or {}) for k in facts.looks):
        lines.append("Harm to one tenant alone: not judged in this rollout.")
    if facts.latest("validation") is None:
        lines.append("Whether the answers are right: no validation of this generation is known.")
    if facts.latest("drill") is None:
        lines.append("The way back: no drill of this generation is known.")
    if facts.ended is None and facts.backs:
        lines.append("The end of the rollout: its process wrote none; the way back did.")
    return lines
