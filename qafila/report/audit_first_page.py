"""The audit's first page as data: what a director reads in a minute, on HTML and in an artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qafila.audit.ai_need.signal import LEAST_COVERAGE
from qafila.audit.inventory.difference_rows import WORDS
from qafila.audit.inventory.phrases import percent, size_text
from qafila.audit.inventory.tables import STAYS
from qafila.report.audit_facts import AuditFacts, Row
from qafila.report.audit_figures import Figure, figures
from qafila.report.audit_wording import (
    amount_of,
    cut,
    listed,
    month_of,
    part_of,
    short,
    signed,
)
from qafila.text.figures import NOTHING, money, number

ON_A_PAGE = 12
_WAVES = 8
_CANDIDATES = 8
_QUESTIONS = 2
_MONTHS = 6
_UNSEEN = 14
_PARTING = 700
_PAIRS = 2
_OUTCOMES = 5
_SERVICES = 6
# Of the audit alone: whether what it found is in order is for the reader to judge.
_MEANS = {
    "PASS": "PASS: we could look, and what we could not see is named. Whether all is well is "
    "another question: see what to look at.",
    "ERROR": "ERROR: nothing was seen whole, so nothing here is sure.",
}


@dataclass(frozen=True)
class FirstPage:
    """Everything on the first page, in its order; all of it is text, nothing is markup."""

    verdict: str
    verdict_means: str
    sentence: str
    figures: tuple[Figure, ...]
    month: str  # of the spend below, and whether it is closed; empty: no bill was read
    spend: tuple[tuple[str, str, str], ...]  # service, amount, share
    months: tuple[tuple[str, str, str], ...]  # month, amount in its own currency, state
    months_more: int
    routes: tuple[tuple[str, str], ...]  # route, amount
    parting: tuple[str, ...]  # what pairs that talk most would cost apart
    to_look_at: tuple[tuple[str, str, str, str], ...]  # what, which, a month, why
    to_look_at_more: str  # how many more there are, by kind; empty: none
    waves_told: str  # how many there are, and of what criticality
    waves: tuple[tuple[str, str, str], ...]  # wave, what moves, why here
    waves_more: int
    candidates: tuple[tuple[str, str, str, str, str], ...]  # who, need, score, it would take, ask
    candidates_more: int
    corpus: str
    difference: tuple[str, ...]
    unseen: tuple[str, ...]
    unseen_more: int


def first_page(facts: AuditFacts) -> FirstPage:
    """Return the page of one audit."""
    waves, months = _by_wave(facts), _months(facts)
    candidates = _candidates(facts)
    notes = [short(str(n)) for n in facts.body.get("notes") or []]
    return FirstPage(
        verdict=facts.verdict or "",
        verdict_means=_MEANS.get(facts.verdict or "", ""),
        sentence=facts.sentence,
        figures=figures(facts),
        month=month_of(facts),
        spend=tuple(_services(facts)),
        months=tuple(months[:_MONTHS]),
        months_more=max(0, len(months) - _MONTHS),
        routes=tuple((str(r.get("route")), amount_of(r)) for r in facts.body.get("network") or []),
        parting=tuple(str(p)[:_PARTING] for p in (facts.body.get("parting") or [])[:_PAIRS]),
        to_look_at=tuple(_to_look_at(facts)),
        to_look_at_more=_more_to_look_at(facts),
        waves_told=_waves_told(facts, waves),
        waves=tuple(_wave(number, rows) for number, rows in list(waves.items())[:_WAVES]),
        waves_more=max(0, len(waves) - _WAVES),
        candidates=tuple(candidates[:_CANDIDATES]),
        candidates_more=max(0, len(candidates) - _CANDIDATES),
        corpus=_corpus(facts),
        difference=tuple(_difference(facts.body.get("difference"))),
        unseen=tuple(notes[:_UNSEEN]),
        unseen_more=max(0, len(notes) - _UNSEEN),
    )


def _services(facts: AuditFacts) -> list[tuple[str, str, str]]:
    """Return the services that cost most with their share, and the others together."""
    body = facts.body
    spent = [(str(k), Decimal(v)) for k, v in (body.get("spend_by_service") or {}).items()]
    spent.sort(key=lambda s: -s[1])
    total = Decimal(body.get("spend_total") or 0)
    rows = [(cut(name), amount) for name, amount in spent[:_SERVICES]]
    if rest := spent[_SERVICES:]:
        rows.append((f"{len(rest)} others", sum((a for _, a in rest), Decimal(0))))
    currency = body.get("currency")
    return [(name, f"{money(amount)} {currency}", part_of(amount, total)) for name, amount in rows]


def _months(facts: AuditFacts) -> list[tuple[str, str, str]]:
    """Return every month of the bill in each of its currencies, the newest first."""
    periods = sorted(
        facts.body.get("periods") or [],
        key=lambda p: (str(p.get("period")), str(p.get("currency"))),
        reverse=True,
    )
    return [(str(p.get("period")), amount_of(p), str(p.get("state"))) for p in periods]


def _to_look_at(facts: AuditFacts) -> list[tuple[str, str, str, str]]:
    rows = facts.rows("findings")[:ON_A_PAGE]
    wanted = {str(f.get("resource")) for f in rows}
    names = {
        str(r["id"]): str(r.get("name") or "") for r in facts.rows("resources") if r["id"] in wanted
    }
    return [
        (cut(str(f.get("kind"))), _which(f, names), amount_of(f), str(f.get("sentence")))
        for f in rows
    ]


def _which(finding: Row, names: Mapping[str, str]) -> str:
    resource = str(finding.get("resource"))
    return cut(str(finding.get("name") or names.get(resource) or resource))


def _more_to_look_at(facts: AuditFacts) -> str:
    more = Counter(cut(str(f.get("kind"))) for f in facts.rows("findings")[ON_A_PAGE:])
    kinds = [f"{number(count)} {kind}" for kind, count in more.most_common()]
    return f"{number(more.total())} more: {listed(kinds, 6)}" if kinds else ""


def _by_wave(facts: AuditFacts) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in facts.rows("waves"):
        if row.get("wave") != STAYS:
            grouped.setdefault(str(row.get("wave")), []).append(row)
    return grouped


def _wave(wave: str, rows: list[Row]) -> tuple[str, str, str]:
    return (wave, listed([str(r.get("name")) for r in rows], 6), str(rows[0].get("wave_reason")))


def _waves_told(facts: AuditFacts, waves: Mapping[str, list[Row]]) -> str:
    if not waves:
        return ""
    words = Counter(str(rows[0].get("criticality")) for rows in waves.values())
    things = sum(map(len, waves.values()))
    stays = len(facts.rows("waves")) - things
    told = ", ".join(
        f"{'all' if n == len(waves) > 1 else number(n)} of {word} criticality"
        for word, n in words.items()
    )
    return (
        f"{number(things)} things in {number(len(waves))} wave{'' if len(waves) == 1 else 's'}: "
        f"{told}."
        + (f" {number(stays)} more stay where they are." if stays else "")
        + " The border runs between what has moved and what has not."
    )


def _candidates(facts: AuditFacts) -> list[tuple[str, str, str, str, str]]:
    """Return the candidates, those with a score first, then by how much was answered."""
    found = sorted(
        facts.body.get("ai_need") or [],
        key=lambda c: (-(c.get("score") or -1), -(c.get("coverage") or 0), str(c.get("subject"))),
    )
    return [
        (
            cut(str(c.get("subject"))),
            _needed(c),
            _scored(c),
            str((c.get("takes") or {}).get("sentence") or NOTHING),
            _asked(c),
        )
        for c in found
    ]


def _scored(candidate: Row) -> str:
    score, answered = candidate.get("score"), percent(candidate.get("coverage") or 0)
    if score is None:
        return f"withheld: {answered} answered, {percent(LEAST_COVERAGE)} needed"
    return f"{percent(score)} ({answered} answered)"


def _needed(candidate: Row) -> str:
    need, horizon = candidate.get("need"), candidate.get("horizon_months")
    if need is None:
        perhaps = str(candidate.get("points_to") or "none")
        return NOTHING if perhaps == "none" else f"perhaps {perhaps}"
    if horizon is None:
        return str(need)
    return f"{need}, in use" if horizon == 0 else f"{need}, within {horizon} months"


def _asked(candidate: Row) -> str:
    """Return whom to ask what; the owner once before the first questions."""
    owner = f"{candidate.get('owner')}: "
    asked = [str(q).removeprefix(owner) for q in candidate.get("ask") or []]
    if not asked:
        return NOTHING
    more = len(asked) - _QUESTIONS
    told = " · ".join(asked[:_QUESTIONS])
    return f"{owner}{told}" + (f" · and {more} more" if more > 0 else "")


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
    new, gone, changed = (number(found.get(k) or 0) for k in ("new", "gone", "changed"))
    unseen = found.get("not_judged")
    lines = [
        f"Since audit {found.get('audit_id')} of {str(found.get('at'))[:10]}: "
        f"{new} new, {gone} gone, {changed} changed"
        + (f", {number(unseen)} where one of the audits could not see everything" if unseen else "")
        + "."
    ]
    note = str(found.get("spend_note") or "")
    note = f"{note[:1].upper()}{note[1:]}"
    lines.append(
        _spend_change(found, note) if found.get("spend") else f"{note or 'Spend was not compared'}."
    )
    outcomes = found.get("outcomes") or []
    lines += [
        f"{o.get('collector')}{' in ' + o['region'] if o.get('region') else ''}: "
        f"{o.get('before')} then, {o.get('now')} now."
        for o in outcomes[:_OUTCOMES]
    ]
    if len(outcomes) > _OUTCOMES:
        lines.append(f"{number(len(outcomes) - _OUTCOMES)} more sources came further or less far.")
    return lines


def _spend_change(found: Mapping[str, Any], note: str) -> str:
    spend = found["spend"]
    before, after = Decimal(spend["before"]), Decimal(spend["after"])
    if before == after:
        return f"{note}: unchanged."
    why = ", ".join(
        f"{words} {signed(Decimal(spend[key]))}"
        for key, words in WORDS.items()
        if spend.get(key) and Decimal(spend[key])
    )
    share = f", {100 * (after - before) / before:+.1f} %" if before > 0 else ""
    told = f"{signed(after - before)} {found.get('currency')}{share}"
    return f"{note}: {told}{f' ({why})' if why else ''}."
