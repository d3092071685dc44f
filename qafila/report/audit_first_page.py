"""The audit's first page as data: what a director reads in a minute, on HTML and in an artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qafila.core.ai_need import LEAST_COVERAGE
from qafila.core.inventory import size_text
from qafila.core.inventory.tables import STAYS, WORDS
from qafila.report.audit_facts import AuditFacts, Row
from qafila.report.wording import NOTHING, money, number

ON_A_PAGE = 12
_UNSEEN = 14
_SERVICES = 6
_LONGEST = 240
_NAME = 60


@dataclass(frozen=True)
class Figure:
    """One number, with what it means in a few words."""

    name: str
    value: str
    note: str
    known: bool = True


@dataclass(frozen=True)
class FirstPage:
    """Everything on the first page, in its order; all of it is text, nothing is markup."""

    verdict: str
    sentence: str
    figures: tuple[Figure, ...]
    month: str  # of the spend below, and whether it is closed; empty: no bill was read
    spend: tuple[tuple[str, str, str], ...]  # service, amount, share
    routes: tuple[tuple[str, str], ...]  # route, amount
    to_look_at: tuple[tuple[str, str, str, str], ...]  # what, which, a month, why
    to_look_at_more: int
    waves: tuple[tuple[str, str, str], ...]  # wave, what moves, why here
    waves_more: int
    candidates: tuple[tuple[str, str, str, str, str, str], ...]
    corpus: str
    difference: tuple[str, ...]
    unseen: tuple[str, ...]
    unseen_more: int


def first_page(facts: AuditFacts) -> FirstPage:
    """Return the page of one audit."""
    looked, waves = _to_look_at(facts), _waves(facts)
    notes = [_short(str(n)) for n in facts.body.get("notes") or []]
    return FirstPage(
        verdict=facts.verdict or "",
        sentence=facts.sentence,
        figures=tuple(_figures(facts)),
        month=_month(facts),
        spend=tuple(_services(facts)),
        routes=tuple((str(r.get("route")), amount_of(r)) for r in facts.body.get("network") or []),
        to_look_at=tuple(looked[:ON_A_PAGE]),
        to_look_at_more=max(0, len(looked) - ON_A_PAGE),
        waves=tuple(waves[:ON_A_PAGE]),
        waves_more=max(0, len(waves) - ON_A_PAGE),
        candidates=tuple(_candidates(facts)),
        corpus=_corpus(facts),
        difference=tuple(_difference(facts.body.get("difference"))),
        unseen=tuple(notes[:_UNSEEN]),
        unseen_more=max(0, len(notes) - _UNSEEN),
    )


def _figures(facts: AuditFacts) -> list[Figure]:
    return [
        _spend(facts), _network(facts), _found(facts), _seen(facts),
        _moves(facts), _need(facts), _bound(facts), _changed(facts),
    ]  # fmt: skip


def _spend(facts: AuditFacts) -> Figure:
    body = facts.body
    if body.get("spend_total") is None:
        return Figure("Spend", "not known", "no bill was read", known=False)
    return Figure("Spend", f"{money(body['spend_total'])} {body.get('currency')}", _month(facts))


def _month(facts: AuditFacts) -> str:
    """Return the month that figures are for, and whether its invoice was issued."""
    body = facts.body
    month, currency = body.get("period"), body.get("currency")
    if month is None:
        return ""
    states = {str(p.get("period")): str(p.get("state")) for p in body.get("periods") or []
              if p.get("currency") == currency}  # fmt: skip
    told = {"closed": "closed: invoiced", "open": "open: it will still rise"}.get(
        states.get(str(month), ""), "whether it is closed is not known"
    )
    return f"{month}, {told}"


def _services(facts: AuditFacts) -> list[tuple[str, str, str]]:
    """Return the services that cost most with their share, and the others together."""
    body = facts.body
    spent = [(str(k), Decimal(v)) for k, v in (body.get("spend_by_service") or {}).items()]
    spent.sort(key=lambda s: -s[1])
    total = Decimal(body.get("spend_total") or 0)
    rows = spent[:_SERVICES]
    if rest := spent[_SERVICES:]:
        rows.append((f"{len(rest)} others", sum((a for _, a in rest), Decimal(0))))
    currency = body.get("currency")
    return [(name, f"{money(amount)} {currency}", _part(amount, total)) for name, amount in rows]


def _part(amount: Decimal, total: Decimal) -> str:
    if total <= 0:
        return NOTHING
    share = amount / total
    return "under 1 %" if 0 < share < Decimal("0.01") else f"{100 * share:.0f} %"


def _short(note: str) -> str:
    return note if len(note) <= _LONGEST else f"{note[:_LONGEST]}…"


def _cut(name: str) -> str:
    """Return a name that fits into a column; the tables behind have all of it."""
    return name if len(name) <= _NAME else f"{name[:_NAME]}…"


def _network(facts: AuditFacts) -> Figure:
    body = facts.body
    share = body.get("network_share")
    if share is None:
        return Figure("Network", "not known", "no usage was billed", known=False)
    routes = [
        r
        for r in facts.rows("network")
        if r.get("month") == body.get("period") and r.get("currency") == body.get("currency")
    ]
    top = max(routes, key=lambda r: Decimal(str(r.get("amount") or 0)), default=None)
    note = (
        "of usage; no route stands out"
        if top is None
        else (
            f"of usage; most: {top.get('route')}, {money(top.get('amount'))} {top.get('currency')}"
        )
    )
    return Figure("Network", f"{100 * share:.1f} %", note)  # fmt: skip


def _found(facts: AuditFacts) -> Figure:
    counts = facts.body.get("counts") or {}
    parts = [
        f"{counts[key]} {words}"
        for key, words in (
            ("billed_not_found", "billed but not found"),
            ("found_not_billed", "found but not billed"),
            ("findings", "other findings"),
        )
        if counts.get(key)
    ]
    total = sum(counts.get(k) or 0 for k in ("billed_not_found", "found_not_billed", "findings"))
    return Figure("To look at", number(total), "; ".join(parts) or "nothing stands out")


def _seen(facts: AuditFacts) -> Figure:
    states = Counter({**(facts.body.get("collectors") or {}),
                      **(facts.body.get("read") or {})}.values())  # fmt: skip
    gaps = ", ".join(f"{n} {state}" for state, n in sorted(states.items()) if state != "complete")
    complete, whole = states.get("complete", 0), sum(states.values())
    return Figure(
        "Seen", f"{number(facts.body.get('resources'))} resources",
        f"{complete} of {whole} sources complete" + (f"; {gaps}" if gaps else ""),
    )  # fmt: skip


def _moves(facts: AuditFacts) -> Figure:
    waves = {r.get("wave") for r in facts.rows("waves") if r.get("wave") not in (None, "", "stays")}
    if not waves:
        return Figure("Waves", "not known", "nothing that could move was seen", known=False)
    first = [
        str(r.get("name")) for r in facts.rows("waves") if r.get("wave") == min(waves, key=str)
    ]
    return Figure("Waves", number(len(waves)), f"first: {_listed(first, 3)}")


def _need(facts: AuditFacts) -> Figure:
    found = facts.body.get("ai_need") or []
    if not found:
        return Figure("AI candidates", "0", "no workload shows a signal")
    scored = [c for c in found if c.get("score") is not None]
    asked = sum(len(c.get("ask") or []) for c in found)
    note = f"{len(scored)} scored, {len(found) - len(scored)} withheld"
    return Figure(
        "AI candidates", number(len(found)), f"{note}; {asked} questions open" if asked else note
    )


def _bound(facts: AuditFacts) -> Figure:
    scanned = facts.body.get("lock_in")
    if not scanned:
        return Figure("Lock-in", "not known", "no code was named", known=False)
    parts = [f"{s.get('provider')} ({s.get('kind')}, effort {s.get('effort')})"
             for s in scanned.get("summary") or []]  # fmt: skip
    note = _listed(parts, 3) if parts else f"nothing in {number(scanned.get('files'))} files"
    return Figure("Lock-in", f"{number(scanned.get('hits'))} places", note)


def _changed(facts: AuditFacts) -> Figure:
    found = facts.body.get("difference")
    if not found:
        return Figure("Changed", "first audit", "nothing to compare with yet", known=False)
    things = sum(found.get(k) or 0 for k in ("new", "gone", "changed"))
    spend = found.get("spend")
    if spend is None:
        note = "spend was not compared"
    else:
        change = Decimal(spend["after"]) - Decimal(spend["before"])
        note = f"spend {_signed(change)} {found.get('currency')}" if change else "spend unchanged"
    return Figure("Changed", f"{number(things)} things", note)


def _to_look_at(facts: AuditFacts) -> list[tuple[str, str, str, str]]:
    names = {str(r.get("id")): str(r.get("name") or "") for r in facts.rows("resources")}
    return [
        (_cut(str(f.get("kind"))), _which(f, names), amount_of(f), str(f.get("sentence")))
        for f in facts.rows("findings")
    ]


def _which(finding: Row, names: Mapping[str, str]) -> str:
    resource = str(finding.get("resource"))
    return _cut(str(finding.get("name") or names.get(resource) or resource))


def amount_of(row: Row) -> str:
    """Return a row's money for a reader; what is not known is a dash, never zero."""
    if row.get("amount") is None:
        return NOTHING
    return f"{money(row['amount'])} {row.get('currency') or ''}".strip()


def _by_wave(facts: AuditFacts) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in facts.rows("waves"):
        if row.get("wave") != STAYS:
            grouped.setdefault(str(row.get("wave")), []).append(row)
    return grouped


def _waves(facts: AuditFacts) -> list[tuple[str, str, str]]:
    return [
        (wave, _listed([str(r.get("name")) for r in rows], 6), str(rows[0].get("wave_reason")))
        for wave, rows in _by_wave(facts).items()
    ]


def _candidates(facts: AuditFacts) -> list[tuple[str, str, str, str, str, str]]:
    told = []
    for c in facts.body.get("ai_need") or []:
        score = c.get("score")
        told.append(
            (
                _cut(str(c.get("subject"))),
                _needed(c),
                f"withheld below {LEAST_COVERAGE:.0%} answered" if score is None
                else f"{score:.0%}",
                f"{c.get('coverage') or 0:.0%}",
                str((c.get("takes") or {}).get("sentence") or NOTHING),
                _asked(c),
            )
        )  # fmt: skip
    return told


def _needed(candidate: Row) -> str:
    need, horizon = candidate.get("need"), candidate.get("horizon_months")
    if need is None:
        perhaps = str(candidate.get("points_to") or "none")
        return NOTHING if perhaps == "none" else f"perhaps {perhaps}"
    if horizon is None:
        return str(need)
    return f"{need}, in use" if horizon == 0 else f"{need}, within {horizon} months"


def _asked(candidate: Row) -> str:
    """Return whom to ask what; the owner once before all questions."""
    owner = f"{candidate.get('owner')}: "
    asked = [str(q).removeprefix(owner) for q in candidate.get("ask") or []]
    return f"{owner}{' · '.join(asked)}" if asked else NOTHING


def _corpus(facts: AuditFacts) -> str:
    corpus = (facts.body.get("volumes") or {}).get("corpus")
    if not corpus:
        return f"The corpus of {facts.workload} was not measured."
    return (
        f"The corpus of {facts.workload}: {corpus.get('rows', 0):,} documents, "
        f"{size_text(corpus.get('bytes'))} of text."
    )


def _difference(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return ["This is the first audit of the workload: there is nothing to compare with."]
    lines = [
        f"Since audit {found.get('audit_id')} of {str(found.get('at'))[:10]}: "
        f"{found.get('new')} new, {found.get('gone')} gone, {found.get('changed')} changed"
        + (f", {found['not_judged']} where one of the audits could not see everything"
           if found.get("not_judged") else "")
        + "."
    ]  # fmt: skip
    spend = found.get("spend")
    note = str(found.get("spend_note") or "")
    if spend is None:
        lines.append(f"{note[:1].upper()}{note[1:]}." if note else "Spend was not compared.")
    else:
        change = Decimal(spend["after"]) - Decimal(spend["before"])
        why = ", ".join(
            f"{words} {_signed(Decimal(spend[key]))}"
            for key, words in WORDS.items()
            if spend.get(key) and Decimal(spend[key])
        )
        told = f"{_signed(change)} {found.get('currency')}" if change else "unchanged"
        lines.append(f"{note[:1].upper()}{note[1:]}: {told}{f' ({why})' if why else ''}.")
    lines += [
        f"{o.get('collector')}{' in ' + o['region'] if o.get('region') else ''}: "
        f"{o.get('before')} then, {o.get('now')} now."
        for o in (found.get("outcomes") or [])[:5]
    ]
    return lines


def _signed(amount: Decimal) -> str:
    return f"{amount:+,.2f}"


def _listed(names: Sequence[str], most: int) -> str:
    shown = ", ".join(_cut(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
