"""The page: data never becomes markup, what was not measured is never zero, the end is told."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.report import charts, first_page
from qafila.report.facts import ApprovalRow, ChainState, EvidenceRow, Facts
from qafila.report.page import render
from qafila.text import figures as wording
from tests.unit.report.rollout_worlds import promoted

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MARKUP = (
    "<script>alert('x')</script><img src=http://example.org/x onerror=alert(1)> & \"q\" {{ 7 }}"
)


class Seen(HTMLParser):
    """Collects every tag, attribute and address of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {str(v) for name, v in attrs if name in ("src", "href")}


def evidence(number: int, kind: str, verdict: str | None = "PASS", /, **body: Any) -> EvidenceRow:
    return EvidenceRow(number, NOON, kind, 1, verdict, f"{kind} says so.", "ab" * 32, body)


def facts(*rows: EvidenceRow, phase: str = "audited", **changes: Any) -> Facts:
    return replace(
        Facts(
            workload="docs",
            spec={
                "owner": "search@example.org",
                "corpus": {
                    "source": {"table": "operation"},
                    "embedder": {"kind": "wordllama", "dimensions": 256},
                    "target": {"kind": "pgvector"},
                },
                "objectives": {"latency_p95": {"at_most_ratio": 1.25}},
            },
            revision=1,
            generation=1,
            fingerprint="f00d",
            phase=phase,
            phase_since=NOON,
            next_step=None,
            generations=((1, phase),),
            evidence=rows,
            left_off=0,
            approvals=(),
            certificates=(),
            outcomes=(),
            rollout=None,
            chain=ChainState(len(rows), (), len(rows), "cd" * 32),
            made_at=NOON,
        ),
        **changes,
    )


VALIDATION = evidence(
    4,
    "validation",
    systems={
        "baseline": {"ndcg_at_10": 0.6, "p95_ms": 40.0},
        "candidate": {"ndcg_at_10": 0.64, "p95_ms": 44.0},
    },
    paired={"candidate": {"delta": 0.04, "ci_low": 0.01, "ci_high": 0.07, "pairs": 1300}},
    verdicts={"candidate": "PASS"},
    recall_at_10=0.98,
    recall_ci=[0.97, 0.99],
    cost_per_1000_queries={"baseline": "0.0003", "candidate": "0.0004", "currency": "USD"},
)
ROLLOUT: Mapping[str, Any] = {"requests": 670, "failed_requests": 0, "weights": [1, 5, 25]}
RETRIED = {**ROLLOUT, "saved_by_retry": 8}


def test_the_four_numbers_stand_before_and_after_with_their_interval() -> None:
    decision = evidence(
        2,
        "decision",
        chosen="new",
        currency="USD",
        patterns=[
            {"name": "stay", "monthly_p50": "88.00", "monthly_p90": "93.00"},
            {"name": "new", "monthly_p50": "90.00", "monthly_p90": "95.50"},
        ],
    )
    drill = evidence(5, "drill", seconds_to_zero=0.0289, flips=3)
    back = evidence(7, "rollback", seconds_to_zero=0.2, from_weight=25)
    quality, latency, cost, way_back = first_page.figures(facts(decision, VALIDATION, drill, back))
    assert (quality.before.value, quality.after.value) == ("0.600", "0.640")
    assert "95 %: +0.010…+0.070" in quality.difference
    assert (latency.before.value, latency.after.value) == ("40.0 ms", "44.0 ms")
    assert latency.difference == ("1.10 times the baseline's", "at most 1.25 times is allowed")
    assert (cost.before.value, cost.after.value) == ("88.00 USD", "90.00 USD")
    assert "90.00–95.50" in cost.after.interval
    assert (way_back.before.value, way_back.after.value) == ("28.9 ms", "200 ms")
    assert (quality.evidence, cost.evidence, way_back.evidence) == ((4,), (2, 4), (5, 7))


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (evidence(1, "validation", "FAIL", systems={}, paired={}, recall_at_10=None),),
        (evidence(1, "drill", "ERROR"), evidence(2, "rollback"), evidence(3, "decision", "FAIL")),
    ],
)
def test_what_was_not_measured_says_so_and_is_never_zero(rows: tuple[EvidenceRow, ...]) -> None:
    for figure in first_page.figures(facts(*rows)):
        assert (figure.before.value, figure.after.value) == (wording.NOT_MEASURED,) * 2
        assert not any(c.isdigit() for c in figure.difference[0].replace("1,000", ""))
    assert render(facts(*rows)).count("not measured") >= 8


@pytest.mark.parametrize(
    ("phase", "rows", "end"),
    [
        (
            "promoted",
            [evidence(1, "rollout", **ROLLOUT)],
            "serves all users since 2026-11-24 12:00:00 UTC; 0 of 670 requests failed on the way",
        ),
        (
            "rolled_back",
            [
                evidence(1, "rollback", why="errors: 8 of 63.", seconds_to_zero=0.0105),
                evidence(2, "rollout", "FAIL", **RETRIED),
            ],
            "was tried on up to 25 % of the users and taken back to the baseline, 10.5 ms after the"
            " decision; 0 of 670 requests failed for their users (8 saved by a retry). Why: "
            "errors: 8 of 63.",
        ),
        (
            "rolled_back",
            [
                evidence(1, "rollout", **ROLLOUT),
                evidence(2, "rollback", why="an operator", seconds_to_zero=1.5),
            ],
            "and taken back to the baseline, 1.5 s after the decision. Why: an operator.",
        ),
        (
            "rolled_back",
            [evidence(1, "rollback", "ERROR", why="?")],
            "was to be taken back, which is not proven (ERROR)",
        ),
        (
            "backfilled",
            [evidence(1, "backfill", rows_target=17422), evidence(2, "validation", "FAIL")],
            "(17,422 rows of operation, wordllama 256 dimensions, in pgvector) has stopped at "
            "validation, FAIL: validation says so.",
        ),
        ("audited", [evidence(1, "audit")], "is audited since 2026-11-24 12:00:00 UTC; it has not"),
        (
            "designed",
            [evidence(1, "preflight", "FAIL", override={"by": "Amal"})],
            "is designed since",
        ),
        ("canary", [], "is on trial since 2026-11-24 12:00:00 UTC; it has not ended yet."),
    ],
)
def test_the_sentence_tells_how_it_ended(phase: str, rows: list[EvidenceRow], end: str) -> None:
    assert end in first_page.sentence(facts(*rows, phase=phase))


def test_a_denied_collector_is_unknown_and_not_nothing() -> None:
    audit = evidence(
        1,
        "audit",
        collectors={"ec2": "complete", "iam": "denied"},
        notes=["iam is denied: iam: AccessDenied", "the bill is synthetic"],
        billed_not_found=[{"resource": "i-1", "amount": "142.848", "currency": "USD"}],
        spend_total="10",
        period_closed=True,
    )
    outcome = {
        "collector": "iam",
        "region": "",
        "outcome": "denied",
        "resources": 0,
        "calls": 1,
        "missed": "iam: AccessDenied",
    }
    lines = first_page.unseen(facts(audit, outcomes=(outcome,)))
    assert lines[0] == (
        "Audit of iam: denied (AccessDenied). What it holds is unknown, not nothing."
    )
    assert "Audit: the bill is synthetic." in lines
    assert "Billed but not found: i-1, 142.85 USD." in lines
    assert sum("iam" in line for line in lines) == 1


def marked(word: str) -> Facts:
    """Return facts in which every free text is ``word``."""
    approval = ApprovalRow(word, word, "approved", word, word, NOON, NOON, NOON)
    row = EvidenceRow(
        1,
        NOON,
        "audit",
        1,
        "PASS",
        word,
        "ab" * 32,
        {
            "collectors": {word: "denied"},
            "notes": [word],
            "currency": word,
            "period": word,
            "findings": [{"kind": word, "resource": word, "amount": "1", "sentence": word}],
            "spend_by_service": {word: "1.5"},
            "spend_total": "1.5",
        },
    )
    return facts(
        row,
        evidence(2, "preflight", questions=[{"question": word, "because": word, "remedy": word}]),
        evidence(3, "rollback", why=word),
        phase="rolled_back",
        workload=word,
        approvals=(approval,),
        chain=ChainState(3, (word,), 3, "cd" * 32),
    )


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.just(MARKUP), st.text(alphabet="<>&\"'/=! {%}#ascriptonx-", min_size=1)))
def test_text_never_becomes_markup(word: str) -> None:
    plain, seen = Seen(render(marked("word"))), Seen(render(marked(word)))
    assert seen.tags == plain.tags
    assert seen.attributes == plain.attributes
    assert seen.addresses == plain.addresses


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    pattern = {"name": MARKUP, "monthly_p50": "1", "monthly_p90": "2", "currency": "USD"}
    decision = evidence(1, "decision", patterns=[pattern], chosen=None)
    page = render(facts(decision, VALIDATION, rollout=promoted()))
    seen = Seen(page)
    assert not seen.tags.keys() & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not [name for name in seen.attributes if name.startswith("on")]
    pictures = [a for a in seen.addresses if not a.startswith("#")]
    assert len(pictures) == 3
    for address in pictures:
        kind, _, data = address.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ET.fromstring(base64.b64decode(data)).tag.endswith("svg")
    assert "url(" not in page
    assert "@import" not in page


def test_on_a_narrow_screen_each_cell_says_what_it_is() -> None:
    page = render(facts(evidence(1, "audit"), evidence(2, "preflight"), rollout=promoted()))
    cells = [cell.split(">")[0] for cell in page.split("<td")[1:]]
    assert cells
    assert [cell for cell in cells if "data-of=" not in cell] == []


def test_a_broken_chain_and_a_picture_without_data_are_told() -> None:
    broken = facts(chain=ChainState(3, ("row 2 was changed",), 3, "cd" * 32))
    page = render(broken)
    assert "BROKEN" in page
    assert "row 2 was changed" in page
    assert "No timeline" in page
    assert charts.quality_intervals({"x": {"delta": None}}, {}, 0.0) is None
    assert charts.monthly_costs([{"name": "x", "monthly_p50": None}], None) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.duration(0.0289), "28.9 ms"),
        (wording.duration(0.34), "340 ms"),
        (wording.duration(75), "75.0 s"),
        (wording.duration(250), "4 min 10 s"),
        (wording.duration(7500), "2 h 5 min"),
        (wording.duration(None), "not measured"),
        (wording.money("3206.62791246500018"), "3,206.63"),
        (wording.money("0.000003565"), "under 0.01"),
        (wording.money("0"), "0.00"),
        (wording.money(None), "not measured"),
        (wording.money("NaN"), "not measured"),
        (wording.number(float("nan")), "not measured"),
        (wording.number(True), "not measured"),
        (wording.between(0.1, None, 2), "not measured"),
        (wording.percent(0.145), "14.5 %"),
        (wording.size(1536), "1.5 KiB"),
        (wording.size(2048**4), "16.0 TiB"),
        (wording.text(False), "no"),
        (wording.text(None), "–"),
    ],
)
def test_numbers_are_written_for_the_eye(written: str, expected: str) -> None:
    assert written == expected
