"""The page of a validation: every rung in words, data never markup, nothing loaded, all told."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qafila.report import validation_charts as charts
from qafila.report.facts import Facts
from qafila.report.page import render, render_validation
from qafila.report.side_by_side import numbered, side_by_side
from qafila.report.tables import cell, of_detail
from qafila.report.validation import validation_of
from qafila.validation.check_labels import TITLES, rung_lines
from qafila.validation.model import Detail, Finding, NotApplicable, Rung
from qafila.validation.outcome import Outcome
from qafila.workload.verdict import Judgement, Verdict
from tests.unit.report.test_report_page import MARKUP, evidence, facts

HOSTILE = (
    MARKUP,
    "</td></table><script>alert(1)</script><svg onload=alert(2)>",
    "ما هي مدة التخزين المؤقت؟ <b dir=ltr>",
    "🦙" * 40 + "\u202e gnitirw",
    "x" * 9000,
    "'\"`&amp;&lt;{{ 7 * 7 }}{% raw %}",
)
_VOID = {"meta", "br", "col", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """Reads a page and notes what is wrong with its structure, and everything it refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.references: set[str] = set()
        self.ids: Counter[str] = Counter()
        self.said: list[str] = []
        self.feed(page)
        self.close()
        self.wrong += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag in ("td", "th", "li", "p", "h2", "h4", "dt", "dd"):
            self.said.append(" ")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.references.add(str(value))
            if name == "id":
                self.ids[str(value)] += 1

    @property
    def text(self) -> str:
        return " ".join("".join(self.said).split())


def judged(verdict: Verdict, sentence: str, **numbers: object) -> Judgement:
    return Judgement(verdict, sentence, numbers)


def outcome(name: str = "night shift", text: str = "how long is a cache kept") -> Outcome:
    """Return a climb of all rungs; ``name`` stands wherever data names something, ``text`` says."""
    ok, unsure = Verdict.PASS, Verdict.INCONCLUSIVE
    found = judged(ok, f"all of it holds for {name}.")
    pair = {
        "delta": 0.02,
        "ci_low": 0.01,
        "ci_high": 0.03,
        "p_value": 0.001,
        "pairs": 900,
        "smallest_effect": 0.01,
    }
    lost = {
        "query": text,
        "known answer": f"1. a: {text}; 2. b: other",
        "nDCG@10 lost": "0.500",
        "baseline's first three": f"1. a: {text}; 2. c: third",
        "candidate's first three": "none",
    }
    asked = {
        "prompt": name,
        "class": name,
        "asked": text,
        "baseline": text,
        "candidate": "no",
        "why": text,
        "format": "",
    }
    reader = {
        "rows": 900,
        "allowed": 90,
        "shown": 0,
        "hidden": 0,
        "searches": 20,
        "hits": 200,
        "returned": 0,
        "recall_at_10": 0.98,
        "ci_low": 0.95,
        "ci_high": 1.0,
    }
    recall = {
        "rows": 90,
        "of": 900,
        "kind": "group",
        "recall_at_10": 0.97,
        "ci_low": 0.94,
        "ci_high": 0.99,
        "queries": 60,
        "p50_ms": 1.5,
        "exact_p50_ms": 9.0,
        "at_least": 0.9,
    }

    def finding(kind: Rung, **more: Any) -> Finding:
        given = {"judgement": found, "compared": f"{kind} with {name}", "on": "900 rows", **more}
        return Finding(kind, **{"smallest_effect": f"one {name}", "seconds": 1.5, **given})

    return Outcome(
        [
            finding(
                Rung.KEYS,
                parts={f"readers: {name}": found},
                details=[Detail("What differs", [{"document": name, "fault": "stale"}])],
                figures={"keys": {"rows": 900}},
            ),
            finding(Rung.CONTENT),
            finding(
                Rung.MEANING,
                figures={"meaning": {"tolerance": 1e-4}},
                series={
                    "distance": [{"share": 0.5, "distance": 0.0}, {"share": 1.0, "distance": 0.3}]
                },
            ),
            NotApplicable(Rung.NEIGHBOURS, f"there is no old index: {text}"),
            finding(
                Rung.INDEX,
                parts={f"readers of {name}": found, "all rows": found},
                figures={
                    "recall_at_10": 0.99,
                    "recall_ci": [0.97, 1.0],
                    "recall_queries": 60,
                    "index": {"filters": {"all rows": recall, f"readers of {name}": recall}},
                },
                series={"recall_by_share": [{"filter": "all rows", "share": 1.0, "recall": 0.99}]},
            ),
            finding(
                Rung.QUALITY,
                parts={"nDCG@10": found, f"class {name}": judged(unsure, f"{name}: too few.")},
                others={"vector_only": judged(Verdict.FAIL, "worse.")},
                details=[
                    Detail("Where the candidate lost most", [lost] * 15),
                    Detail("By class", [{"queries of": name, "number": 900}]),
                ],
                figures={
                    "queries": 900,
                    "systems": {
                        s: {
                            "ndcg_at_10": 0.7,
                            "mrr": 0.6,
                            "p50_ms": 9.0,
                            "p95_ms": 30.0,
                            "errors": 0,
                        }
                        for s in ("baseline", "vector_only", "candidate")
                    },
                    "paired": {"candidate": pair, "vector_only": {**pair, "delta": None}},
                    "quality": {
                        "judged_by": "judged queries",
                        "groups": [
                            {
                                "by": "class",
                                "value": name,
                                "queries": 800,
                                "delta": 0.01,
                                "ci": [-0.01, 0.03],
                                "verdict": "INCONCLUSIVE",
                            },
                            {
                                "by": "class",
                                "value": "few",
                                "queries": 3,
                                "delta": None,
                                "ci": None,
                                "verdict": "INCONCLUSIVE",
                            },
                        ],
                    },
                },
            ),
            finding(
                Rung.CHANGE,
                figures={"change": {"queries": 900}},
                series={
                    "overlap_at_10": [
                        {"queries": n, "mean": 0.7, "low": 0.5, "high": 0.9} for n in (1, 9)
                    ]
                },
            ),
            finding(
                Rung.LATENCY,
                figures={
                    "latency": {
                        "levels": [{"rate": 10.0, "multiple": 1.0}, {"rate": 20.0, "multiple": 2.0}]
                    }
                },
                series={
                    "percentiles": [
                        {
                            "system": s,
                            "rate": f"{rate:g}/s",
                            "share": share,
                            "ms": 5 + 90 * share * (rate + len(s)),
                        }
                        for s in ("baseline", "candidate")
                        for rate in (10.0, 20.0)
                        for share in (0.0, 0.5, 0.99, 0.9999)
                    ]
                },
            ),
            finding(
                Rung.COST,
                figures={
                    "cost_per_1000_queries": {"baseline": "0.000237", "currency": "USD"},
                    "cost": {
                        "prices": [
                            {
                                "item": name,
                                "amount": "0.1",
                                "unit": "hour",
                                "as_of": "2026-11-01",
                                "source": text,
                            }
                        ]
                    },
                },
            ),
            finding(
                Rung.ACCESS,
                parts={f"a reader of {name}": found},
                figures={"access": {"by_reader": {f"a reader of {name}": reader}}},
            ),
            finding(
                Rung.ANSWERS,
                details=[Detail("What the candidate lost", [asked])],
                figures={
                    "answers": {
                        "paired": {f"class {name}": pair},
                        "parts": {f"class {name}": {"verdict": "PASS"}},
                    }
                },
            ),
        ]
    )


REHEARSAL: Mapping[str, Any] = {
    "faults": 2,
    "caught": 1,
    "missed": ["swapped vectors"],
    "elsewhere": [],
    "skipped": {"lost ACL": "there are no readers"},
    "documents": 2491,
    "clean": "PASS",
    "seconds": 65.0,
    "trials": [
        {
            "fault": "stale row",
            "what was broken": "an older text",
            "dose": "2 documents",
            "caught at": "keys",
            "what the ladder said": "2 stale",
        },
        {
            "fault": "swapped vectors",
            "what was broken": "each other's vector",
            "dose": "10 documents",
            "caught at": "MISSED",
            "what the ladder said": "all holds",
        },
        {
            "fault": "lost ACL",
            "what was broken": "nobody may read",
            "dose": "0.1 %",
            "caught at": "there are no readers",
            "what the ladder said": "",
        },
    ],
}


def as_kept(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body as the ledger gives it back: jsonb orders keys by length, then by bytes."""

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            keys = sorted(value, key=lambda k: (len(k.encode()), k.encode()))
            return {k: ordered(value[k]) for k in keys}
        return [ordered(v) for v in value] if isinstance(value, list) else value

    return ordered(json.loads(json.dumps(body)))  # type: ignore[no-any-return]


def told(
    climbed: Outcome | Mapping[str, Any], verdict: str = "PASS", sentence: str = "It holds."
) -> Facts:
    body = climbed.body() if isinstance(climbed, Outcome) else climbed
    row = replace(evidence(7, "validation", verdict, **as_kept(body)), sentence=sentence)
    return facts(row, evidence(6, "rehearsal", "FAIL", **as_kept(REHEARSAL)))


def page_of(given: Facts) -> Page:
    validation = validation_of(given)
    assert validation is not None
    page = render_validation(given, validation)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)
    read = Page(page)
    assert read.wrong == []
    assert [i for i, times in read.ids.items() if times > 1] == []
    assert not {"script", "iframe", "object", "embed", "link", "img", "base"} & set(read.tags)
    assert not [a for a in read.attributes if a.startswith("on")]
    assert all(r.startswith("#") for r in read.references)
    assert "url(" not in page
    assert "@import" not in page
    return read


@pytest.fixture(scope="module")
def plain() -> Page:
    return page_of(told(outcome()))


def test_every_rung_stands_in_the_table_in_the_ladders_order_in_plain_words() -> None:
    climbed = outcome()
    lines = rung_lines(as_kept(climbed.body()))
    assert [line.name for line in lines] == [r.value for r in Rung]
    assert [line.number for line in lines] == [str(r.number) for r in Rung]
    assert lines[3].verdict == "does not apply"
    assert lines[3].found == "there is no old index: how long is a cache kept"
    read = page_of(told(climbed))
    for kind in Rung:
        assert TITLES[kind] in read.text
    assert "900 rows" in read.text
    assert "one night shift" in read.text
    assert "It holds." in read.text
    assert "10/s (1 × the real rate)" in read.text
    # distances, filters, classes, overlap, percentiles, readers, graders
    assert read.tags["svg"] == 7


def test_what_stopped_the_climb_is_told_with_what_was_not_reached() -> None:
    bad = Finding(Rung.CONTENT, judged(Verdict.FAIL, "3 rows are wrong."), "rows", "900 rows")
    lines = rung_lines(as_kept(Outcome([outcome().findings[0], bad]).body()))
    assert [line.verdict for line in lines[:3]] == ["PASS", "FAIL", "not reached"]
    assert lines[-1].found == "content stopped the climb"
    assert len(lines) == len(Rung)
    text = page_of(told(Outcome([bad]), "FAIL", "candidate FAIL: 3 rows are wrong.")).text
    assert "candidate FAIL: 3 rows are wrong." in text
    assert "no user met it" in text


def test_old_and_new_answers_stand_side_by_side_with_the_known_one_marked() -> None:
    given = told(outcome())
    validation = validation_of(given)
    assert validation is not None
    quality = next(s for s in validation.sections if s.line.name == "quality")
    [(caption, shown, left_off)] = quality.compared
    assert (caption, len(shown), left_off) == ("Where the candidate lost most", 10, 5)
    one = shown[0]
    assert [(f.text, f.known) for f in one.baseline] == [
        ("a: how long is a cache kept", True),
        ("c: third", False),
    ]
    assert one.candidate == []
    assert one.known == ["b: other"]  # the one that neither list shows
    assert dict(one.notes) == {"nDCG@10 lost": "0.500"}
    text = page_of(given).text
    assert "nothing was found" in text
    assert "… and 5 more" in text


def test_the_rehearsal_names_what_was_missed_and_what_was_not_planted() -> None:
    text = page_of(told(outcome())).text
    assert "1 of 2 faults caught, planted one at a time in a copy of 2,491 documents" in text
    assert "swapped vectors each other's vector 10 documents MISSED" in text
    assert "not planted: there are no readers" in text


def test_a_rehearsal_alone_has_a_page_and_nothing_at_all_has_none() -> None:
    alone = facts(evidence(6, "rehearsal", "FAIL", **REHEARSAL))
    assert "rehearsal only" in page_of(alone).text
    assert validation_of(facts()) is None
    other = replace(evidence(3, "validation"), generation=2)
    assert validation_of(facts(other)) is None  # of another generation


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rungs": {}, "systems": {}, "paired": {}, "verdicts": {}},
        {
            "queries": 60,
            "recall_at_10": 0.98,
            "recall_ci": [0.97, 0.99],
            "recall_queries": 40,
            "systems": {"baseline": {"ndcg_at_10": None}},
            "paired": {"candidate": {}},
            "rungs": {
                "index": {"verdict": "PASS", "sentence": "recall holds."},
                "completeness": {"verdict": "FAIL", "sentence": "1 missing."},
            },
        },
        {"rungs": {r.value: {"verdict": "ERROR", "sentence": "broken"} for r in Rung}},
    ],
)
def test_evidence_of_an_earlier_version_still_has_a_page(body: Mapping[str, Any]) -> None:
    read = page_of(told(body, "FAIL"))
    assert "0.000" not in read.text  # what was not measured is a dash, never zero
    assert "None" not in read.text
    for name, rung in (body.get("rungs") or {}).items():
        assert rung["sentence"] in read.text, name


def test_a_rung_that_is_not_known_comes_last_under_its_own_name() -> None:
    lines = rung_lines({"rungs": {"completeness": {"verdict": "PASS"}, "keys": {}}})
    assert [(line.number, line.title) for line in lines][1] == ("", "completeness")


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: text[:12])
def test_hostile_text_stays_text(plain: Page, hostile: str) -> None:
    read = page_of(told(outcome(hostile, hostile), "PASS", hostile))
    assert " ".join(hostile.split()) in read.text
    assert read.tags.keys() == plain.tags.keys()
    whole = Page(render(told(outcome(hostile, hostile), "PASS", hostile)))
    assert whole.wrong == []
    assert not whole.tags["script"]


def test_what_is_written_from_right_to_left_stands_so() -> None:
    given = told(outcome(text=HOSTILE[2]))
    validation = validation_of(given)
    assert validation is not None
    page = render_validation(given, validation)
    assert '<h4 dir="auto">ما هي' in page


# Whatever PostgreSQL can keep in jsonb: no lone surrogates, no NUL.
anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=anything, text=anything, sentence=anything)
def test_no_text_at_all_becomes_markup(plain: Page, name: str, text: str, sentence: str) -> None:
    read = page_of(told(outcome(name, text), "INCONCLUSIVE", sentence))
    assert read.tags.keys() <= plain.tags.keys()
    assert read.attributes <= plain.attributes


@given(items=st.lists(st.text(max_size=8).filter(lambda t: ";" not in t), min_size=1, max_size=12))
def test_a_numbered_line_comes_apart_into_its_items(items: list[str]) -> None:
    assert numbered("; ".join(f"{n}. {t}" for n, t in enumerate(items, 1))) == items
    assert numbered("none") == []


def test_tables_that_compare_nothing_are_no_comparison() -> None:
    assert side_by_side([]) is None
    assert side_by_side([{"query": "q"}]) is None


def test_columns_come_in_the_order_that_was_kept_and_figures_flush_right() -> None:
    rows = [
        {"p95": "1,037.5 ms", "document": "k", "of": 7, "gain": "0.631 → 0.723", "x": "–"},
        {"p95": "–", "document": "4 rows", "of": None, "gain": "–", "x": "–"},
    ]
    shown = of_detail({"caption": "c", "columns": ["document", "p95"], "rows": rows, "of": 9})
    assert shown.headings == ("document", "p95", "of", "gain", "x")
    assert shown.figures == {1, 2, 3}
    assert shown.rows[1] == ("4 rows", "–", "–", "–", "–")
    assert shown.note == "… and 7 more."


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        ("", "–"),
        (True, "yes"),
        (False, "no"),
        (12345, "12,345"),
        (0.123456, "0.1235"),
        (123456.7, "123,457"),
        (1234.5, "1,234"),
        (9999.9, "10,000"),
        ([1, "a"], "1, a"),
        ({"a": 1}, "a: 1"),
        ([], "–"),
        (0, "0"),
    ],
)
def test_any_value_of_the_evidence_has_a_text(value: Any, expected: str) -> None:
    assert cell(value) == expected


@settings(max_examples=30, deadline=None)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_name_can_stand_beside_an_interval(names: list[str]) -> None:
    svg = charts.draw_intervals([charts.interval(n, 0.1, 0.0, 0.2, "FAIL") for n in names], "x")
    assert svg is not None
    assert not {e.tag.rpartition("}")[2] for e in ET.fromstring(svg).iter()} & {"script", "image"}


def test_pictures_without_points_are_left_out() -> None:
    assert charts.draw_intervals([None], "x") is None
    assert (
        charts.draw_percentiles([{"system": "a", "rate": "1", "share": 1.0, "ms": 3}], []) is None
    )
    assert charts.draw_overlap([{"queries": 1}], 0.5) is None
    assert charts.draw_distances([], 1e-4) is None
    assert charts.interval("a", 0.1, None, 0.3, "PASS") is None
    assert charts.interval("a", float("nan"), 0, 1, "PASS") is None


def test_of_many_intervals_the_lowest_are_drawn_once_each() -> None:
    many = [charts.interval("same name", n, n - 1, n + 1, "PASS") for n in range(100)]
    svg = charts.draw_intervals(many, "x")
    assert svg is not None
    assert "same name [40]" in svg
    assert "same name [41]" not in svg


def test_the_whole_report_stays_short_and_names_the_command_for_all_of_it() -> None:
    page = render(told(outcome()))
    assert "qafila report docs --generation 1 --validation" in page
    assert "what was compared" in page
    assert "keys with night shift" in page
