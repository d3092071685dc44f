"""The report of one validation: the verdict, the rungs in one table, then rung by rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from qafila.report import rung_data, rung_queries
from qafila.report.facts import EvidenceRow, Facts
from qafila.report.rung_extra import Body, Extra, Pictured
from qafila.report.side_by_side import Compared, side_by_side
from qafila.report.tables import Table, of_detail
from qafila.text.figures import duration, moment, number, text
from qafila.validation.check_labels import RungLine, rung_lines

MOST_PARTS = 60
MOST_QUERIES = 10

MEANS: Mapping[str, str] = {
    "PASS": "Every rung that applies holds. The new generation may meet users, a few at first.",
    "FAIL": "Something would be worse than is allowed. The climb ended there; no user met it.",
    "INCONCLUSIVE": "Too little was seen to say yes or no. That is not a PASS; the sentence says "
    "what would decide.",
    "ERROR": "Something could not be measured. Nothing is said about the new generation: mend what "
    "the sentence names, then validate again.",
}

WORDS: Sequence[tuple[str, str]] = (
    ("baseline, candidate", "the search that serves users now, and the one that is on trial"),
    ("rung", "one comparison; a FAIL or an ERROR ends the climb, since it would spoil all above"),
    ("PASS, FAIL", "the whole interval lies on the one side of what is allowed, or on the other"),
    ("INCONCLUSIVE", "the interval lies on both sides: too little was seen, or it is too near"),
    ("ERROR", "the probe or a service is broken, so nothing was measured"),
    ("95 % interval", "where the true value lies in 19 of 20 such runs"),
    ("the least it could have seen", "a smaller fault or loss may have been there all the same"),
    ("judged query", "a question of which a person, or the data, says what answers it"),
    ("nDCG@10", "how well the first ten results are ordered: 1 is perfect, 0 finds nothing"),
    ("MRR", "one over the place of the first right result, on average: 1 is always first"),
    ("recall@10", "which share of what should be among the first ten is there"),
    ("p50, p95, p99", "half, 95 % or 99 % of the requests took at most so long"),
    (
        "index, every row",
        "an index looks at a few likely rows; at every row is slow and exact",
    ),
    ("p-value, Holm", "how often chance alone would show such a difference; for many at once"),
    ("–", "not measured; it is never a zero"),
)


@dataclass(frozen=True)
class RungSection:
    """One rung that was climbed, with all that stands behind its line.

    ``compared`` are queries with both answers: a caption, the first of them, how many are left off.
    """

    line: RungLine
    pictures: Sequence[Pictured] = ()
    tables: Sequence[Table] = ()
    compared: Sequence[tuple[str, Sequence[Compared], int]] = ()


@dataclass(frozen=True)
class Validation:
    """Everything that the page says; ``row`` is None where only a rehearsal took place."""

    row: EvidenceRow | None
    verdict: str
    sentence: str
    subject: Sequence[tuple[str, str]]
    lines: Sequence[RungLine]
    sections: Sequence[RungSection]
    systems: Sequence[Table]
    rehearsed: EvidenceRow | None
    rehearsal: Sequence[Table] = field(default_factory=tuple)

    @property
    def means(self) -> str:
        """Return what the verdict means for someone who does not know the four."""
        return MEANS.get(self.verdict, "")


def validation_of(facts: Facts) -> Validation | None:
    """Return the newest validation of this generation, or its rehearsal; None without either."""
    row, rehearsed = _own(facts, "validation"), _own(facts, "rehearsal")
    told = row or rehearsed
    if told is None:
        return None
    body = {} if row is None else row.body
    lines = rung_lines(body)
    objectives = facts.spec.get("objectives") or {}
    return Validation(
        row=row,
        verdict=text(told.verdict),
        sentence=told.sentence,
        subject=_subject(facts, body, rehearsed),
        lines=lines,
        sections=[_section(line, body, objectives) for line in lines if line.measured],
        systems=[t for t in rung_queries.systems(body) if t.rows],
        rehearsed=rehearsed,
        rehearsal=[] if rehearsed is None else _rehearsal(rehearsed.body),
    )


def _own(facts: Facts, kind: str) -> EvidenceRow | None:
    rows = [r for r in facts.evidence if r.kind == kind and r.generation == facts.generation]
    return rows[-1] if rows else None


def _subject(
    facts: Facts, body: Mapping[str, Any], rehearsed: EvidenceRow | None
) -> list[tuple[str, str]]:
    """Return what was on trial against what, in words."""
    corpus, service = facts.spec.get("corpus") or {}, facts.spec.get("service") or {}
    embedder, target = corpus.get("embedder") or {}, corpus.get("target") or {}
    table = (corpus.get("source") or {}).get("table")
    rows = ((body.get("keys") or {}).get("rows")) or facts.body("backfill").get("rows_target")
    seconds = [r.get("seconds") for r in (body.get("rungs") or {}).values()]
    took = sum(s for s in seconds if isinstance(s, int | float))
    loaded = "" if rows is None else f"{number(rows)} rows of the table {text(table)}, as "
    judged = (body.get("quality") or {}).get("judged_by") or "judged queries"
    return [
        (
            "On trial",
            f"the candidate: generation {facts.generation}, {loaded}vectors of "
            f"{text(embedder.get('dimensions'))} dimensions by {text(embedder.get('kind'))}, in "
            f"{text(target.get('kind'))}{_at(service, 'candidate')}",
        ),
        ("Against", f"the baseline: the search that serves users today{_at(service, 'baseline')}"),
        ("Asked", f"{number(body.get('queries'))} {judged}" if body.get("queries") else "–"),
        ("Took", duration(took) if took else "–"),
        (
            "Is the ladder itself to be trusted?",
            "It was not rehearsed on this generation."
            if rehearsed is None
            else f"Rehearsed {moment(rehearsed.recorded_at)}, {text(rehearsed.verdict)}: "
            f"{rehearsed.sentence}",
        ),
    ]


def _at(service: Mapping[str, Any], arm: str) -> str:
    """Return where an arm is served: host and port alone."""
    address = str((service.get(arm) or {}).get("url") or "")
    try:
        host = urlsplit(address).netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return f", at {host}" if host else ""


def _section(line: RungLine, body: Mapping[str, Any], objectives: Mapping[str, Any]) -> RungSection:
    build = _EXTRAS.get(line.name)
    extra = Extra() if build is None else build(line, body, objectives)
    tables, compared = [], []
    for detail in line.kept.get("details") or []:
        beside = side_by_side(detail.get("rows") or [])
        if beside is None:
            tables.append(of_detail(detail))
        else:
            left_off = max(len(beside), detail.get("of") or 0) - MOST_QUERIES
            compared.append((text(detail.get("caption")), beside[:MOST_QUERIES], max(0, left_off)))
    parts = {
        n: p
        for n, p in (line.kept.get("parts") or {}).items()
        if n not in extra.told or p.get("verdict") != "PASS"
    }
    every = [_parts(parts), *extra.tables, *tables]
    return RungSection(line, extra.pictures, [t for t in every if t.rows], compared)


_EXTRAS: Mapping[str, Callable[[RungLine, Body, Body], Extra]] = {
    "meaning": rung_data.meaning,
    "index": rung_data.index,
    "access": rung_data.access,
    "quality": rung_queries.quality,
    "change": rung_queries.change,
    "latency": rung_queries.latency,
    "cost": rung_queries.cost,
    "answers": rung_queries.answers,
}
_SEVERITY = ("FAIL", "ERROR", "INCONCLUSIVE", "PASS")


def _parts(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return what the rung is made of, the worst first."""
    rows = [(name, text(p.get("verdict")), text(p.get("sentence"))) for name, p in parts.items()]
    rows.sort(key=lambda r: _SEVERITY.index(r[1]) if r[1] in _SEVERITY else len(_SEVERITY))
    left_off = len(rows) - MOST_PARTS
    return Table(
        "What it is made of",
        ("part", "verdict", "what was found"),
        tuple(rows[:MOST_PARTS]),
        note=f"… and {left_off} more, none of them worse." if left_off > 0 else "",
    )


def _rehearsal(body: Mapping[str, Any]) -> list[Table]:
    """Return the planted faults, and where each was caught."""
    skipped = body.get("skipped") or {}
    wanted = ("fault", "what was broken", "dose")
    rows = [
        (
            *(text(trial.get(key)) for key in wanted),
            f"not planted: {skipped[trial['fault']]}"
            if trial.get("fault") in skipped
            else text(trial.get("caught at")),
            text(trial.get("what the ladder said")),
        )
        for trial in body.get("trials") or []
    ]
    caption = (
        f"{number(body.get('caught'))} of {number(body.get('faults'))} faults caught, planted one "
        f"at a time in a copy of {number(body.get('documents'))} documents; left whole, the copy "
        f"was {text(body.get('clean'))}"
    )
    heads = (*wanted, "caught at", "what the ladder said")
    return [Table(caption, heads, tuple(rows))] if rows else []
