"""The page of a rollout: how it ended and why, its numbers, nothing invented, nothing run."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.report import rollout_story as story
from qafila.report import rollout_tables as tables
from qafila.report.canary_chart import Span
from qafila.report.rollout import Artifacts, render_rollout
from qafila.report.rollout_facts import Answer, Asked, RolloutFacts
from qafila.report.rollout_reader import kept_calibration
from qafila.report.tables import Table
from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.guardrails import ArmCounts
from tests.unit.report.rollout_worlds import NOON, at, look, promoted, rollout, row, taken_back
from tests.unit.report.test_report_page import MARKUP, Seen


def cells(table: Table, column: str) -> list[str]:
    return [r[table.headings.index(column)] for r in table.rows]


@pytest.mark.parametrize(
    ("facts", "verdict", "says"),
    [
        (
            promoted(),
            "PASS",
            "Promoted: 0 of 500 requests failed for users (3 saved by a retry); bad answers under "
            "5.3 % proven.",
        ),
        (
            taken_back(),
            "FAIL",
            "Taken back from 50 %, on the baseline 12.1 ms after the decision. Why: errors: canary "
            "9 of 50, baseline 0 of 50 (E = 812 ≥ 400).",
        ),
        (rollout(), "INCONCLUSIVE", "It has not ended yet at 50 %: looks on."),
        (rollout(looks=()), "INCONCLUSIVE", "It has not ended yet"),
        (
            rollout(row(7, "rollback", seconds_to_zero=4.5, why="lease lapsed")),
            "ERROR",
            "Its process ended without a word; taken back from 50 %, on the baseline 4.5 s after "
            "the decision. Why: lease lapsed.",
        ),
        (
            rollout(
                row(9, "rollout", "INCONCLUSIVE", says="docs g1: too little traffic."), looks=()
            ),
            "INCONCLUSIVE",
            "Taken back before any user met it. Why: too little traffic.",
        ),
    ],
)
def test_the_end_and_its_reason_are_one_sentence(
    facts: RolloutFacts, verdict: str, says: str
) -> None:
    assert (story.verdict(facts), story.sentence(facts)) == (verdict, says)


def test_a_promotion_that_was_taken_back_later_says_both() -> None:
    facts = promoted()
    back = replace(row(20, "rollback", why="quality fell"), recorded_at=at(90_000))
    later = replace(facts, rows=(*facts.rows, back))
    assert story.verdict(later) == "PASS"
    assert story.sentence(later).endswith("Taken back on 2026-11-25 13:00:00 UTC: quality fell.")
    assert [m.label for m in story.moments(later)][-1] == "promoted"  # a day later is no part of it


def test_the_four_numbers() -> None:
    users, bad, proof, back = story.figures(taken_back())
    assert (users.before.value, users.after.value) == ("500", "0")
    # side by side: looks 2 to 6, of 95, 75, 75 and 50 requests on the baseline, 2 bad in each
    assert (bad.before.value, bad.before.interval) == ("2.71 %", "8 of 295")
    assert (bad.after.value, bad.after.interval) == ("3.81 %", "4 of 105")
    assert (proof.before.value, proof.after.value) == ("1.5 of 400", "2 of 20")
    assert proof.before.interval == "the most, of errors"
    assert (back.before.value, back.after.value) == ("12.3 ms", "12.1 ms")
    assert (users.evidence, back.evidence) == ((9,), (2, 7))


def test_what_was_not_measured_says_so() -> None:
    users, bad, proof, back = story.figures(rollout(looks=()))
    assert users.after.value == "not measured"
    assert (bad.before.value, proof.before.value) == ("not measured", "not measured")
    assert (back.before.value, back.after.value) == ("not measured", "not needed")


def test_looks_of_an_earlier_release_count_missing_kinds_as_none() -> None:
    old = look(1, 5, counts={"baseline": {"requests": 5, "bad": 1}, "candidate": {}}, e_values={})
    facts = rollout(looks=[old])
    assert story.counted(facts, "candidate", "ungrounded") == 0
    assert cells(tables.weights(facts), "bad, canary") == ["0 of 0"]
    assert "Harm to one tenant alone: not judged in this rollout." in tables.unseen(facts)


def test_weights_are_told_as_asked_acknowledged_and_seen() -> None:
    facts = rollout(looks=[look(1, 0, "A/A"), look(2, 25), look(3, 25, acknowledged=None)])
    weights = tables.weights(facts)
    assert cells(weights, "asked") == ["0 %", "25 %"]
    assert cells(weights, "acknowledged") == ["0 %", "25 %"]
    assert cells(weights, "seen") == ["0.0 %", "25.0 %"]
    assert cells(weights, "looks") == ["1", "2"]


def test_each_person_who_answered_has_a_line() -> None:
    facts = promoted()
    assert cells(tables.approvals(facts), "by") == ["Amal", "Sami"]
    assert cells(tables.approvals(facts), "notes") == ["seen the bars", "–"]
    assert "asked for by Idris" in cells(tables.approvals(facts), "subject")[0]
    open_one = replace(facts.approvals[0], state="lapsed", decided_at=None, answers=())
    lapsed = tables.approvals(replace(facts, approvals=(open_one,)))
    assert cells(lapsed, "answer") == ["2 persons: lapsed"]


def test_a_way_back_without_a_ledger_stands_where_it_was_gone() -> None:
    row_ = row(
        40,
        "rollback",
        seconds_to_zero=0.01,
        why="errors.",
        by="card",
        done_at=at(7).isoformat(),
        old_side="every write is there.",
        not_shown=["A DNS record shows no request."],
    )
    facts = rollout(row_)
    assert [m.at for m in story.moments(facts) if m.kind == "back"] == [at(7)]
    table = tables.ways_back(facts)
    assert cells(table, "time") == ["2026-11-24 12:00:07 UTC"]
    assert cells(table, "why") == ["errors; gone by card; every write is there"]
    assert "A DNS record shows no request." in tables.unseen(facts)
    unread = rollout(row(40, "rollback", done_at="yesterday", why="x"))
    assert [m.at for m in story.moments(unread) if m.kind == "back"] == [at(40)]


def test_of_tenants_evidence_keeps_the_number_and_not_who_they_are() -> None:
    baked = Calibration(12.0, 24.0, 1.02, 0.01, 0.0, 800, 0.9, {"d1g35t": ArmCounts(9)})
    kept = kept_calibration(baked)
    assert kept is not None
    assert "d1g35t" not in json.dumps(kept)
    table = tables.calibration(rollout(row(9, "rollout", "PASS", calibration=kept)))
    assert dict(table.rows)["tenants told apart"] == "1"
    assert dict(table.rows)["requests that name a tenant"] == "90.0 %"
    assert kept_calibration(None) is None


def test_the_plan_says_what_proof_was_to_take() -> None:
    facts = rollout(
        row(
            9,
            "rollout",
            "PASS",
            plan=[
                {
                    "weight": 1,
                    "must_prove": False,
                    "requests_to_prove": None,
                    "seconds_to_prove": None,
                    "requests_under_objectives": None,
                    "hours_to_prove": None,
                },
                {
                    "weight": 25,
                    "must_prove": True,
                    "requests_to_prove": 5000,
                    "seconds_to_prove": 50.0,
                    "requests_under_objectives": 900,
                    "hours_to_prove": 0.0025,
                },
            ],
        )
    )
    plan = tables.plan(facts)
    assert cells(plan, "requests by ratio") == ["none are enough", "5,000"]
    assert cells(plan, "time") == ["–", "9.0 s"]


def test_what_could_not_be_seen_is_listed() -> None:
    blind = look(7, 25, verdict="ERROR", sentence="the log is gone", observed=None)
    facts = rollout(
        row(9, "rollout", "ERROR", blind=["A DNS record shows no request."]),
        looks=[look(1, 25), blind],
    )
    unseen = tables.unseen(facts)
    assert unseen[:2] == [
        "A DNS record shows no request.",
        "1 of 2 looks saw nothing: the log is gone",
    ]
    assert any("no drill" in line for line in unseen)


def test_the_timeline_tells_questions_answers_holds_and_the_way_back() -> None:
    labels = [m.label for m in story.moments(promoted())]
    assert {"A/A", "5 %", "asked above 25 %", "approved", "promoted"} <= set(labels)
    assert "back at 0 % in 12.1 ms" in [m.label for m in story.moments(taken_back())]
    page = render_rollout(taken_back(holds=[Span(at(2), at(3), "a freeze: sale")]))
    assert "2026-11-24 12:00:02 UTC to 2026-11-24 12:00:03 UTC: a freeze: sale" in page
    assert page.count("<svg") == 1


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    seen = Seen(render_rollout(promoted()))
    assert not seen.tags.keys() & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "img",
    }
    assert not [name for name in seen.attributes if name.startswith("on")]
    assert not seen.addresses


def marked(word: str) -> RolloutFacts:
    """Return facts in which every free text is ``word``."""
    asked = Asked(
        word,
        word,
        word,
        "approved",
        word,
        word,
        at(1),
        at(9),
        at(2),
        1,
        word,
        (Answer(word, "approve", word, at(2)),),
    )
    steps = [{"step": word, "weight": 5, "verdict": word, "sentence": word, "requests": 1}]
    end = row(
        8,
        "rollout",
        "FAIL",
        says=word,
        steps=steps,
        blind=[word],
        shadow={word: word},
        calibration={"p95_ms": 2.0},
        plan=[{"weight": 5, "must_prove": True}],
    )
    return rollout(
        end,
        row(9, "rollback", says=word, why=word),
        rollout=word,
        workload=word,
        owner=word,
        criticality=word,
        approvals=(asked,),
        looks=[look(1, 5, word, sentence=word)],
        holds=[Span(NOON, at(1), word)],
        others=[word],
        costs=[
            {
                "what": word,
                "quantity": 1.0,
                "unit": word,
                "amount": "1",
                "currency": word,
                "state": word,
            }
        ],
    )


@settings(max_examples=12, deadline=None)
@given(st.one_of(st.just(MARKUP), st.text(alphabet="<>&\"'/=! {%}#ascriptonx-", min_size=1)))
def test_text_never_becomes_markup(word: str) -> None:
    def outside_picture(page: str) -> Seen:
        before, _, rest = page.partition("<svg")
        return Seen(before + rest.partition("</svg>")[2])

    plain, seen = (outside_picture(render_rollout(marked(w))) for w in ("word", word))
    assert seen.tags == plain.tags
    assert seen.attributes == plain.attributes
    drawn = Seen(render_rollout(marked(word)))
    assert not drawn.tags.keys() & {"script", "img", "a", "foreignobject"}
    assert not [name for name in drawn.attributes if name.startswith("on")]


def test_a_run_shows_the_same_sentence_steps_picture_and_the_next_command() -> None:
    up, down = Artifacts(promoted()), Artifacts(taken_back())
    assert up.verdict.startswith("**PASS** docs g1: Promoted: 0 of 500")
    assert "| 5 % | 5 % | 200 | PASS | 200 requests" in up.verdict
    assert "qafila rollback docs" in up.next_step
    assert "qafila evidence export docs --rollout docs-g1-e4" in up.next_step
    assert down.verdict.startswith("**FAIL** docs g1: Taken back from 50 %")
    assert "qafila status docs" in down.next_step
    assert up.timeline is not None
    kind, _, data = up.timeline.partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).startswith(b"<svg")
    assert Artifacts(rollout(looks=())).timeline is None


def test_a_table_of_markdown_holds_whatever_a_sentence_says() -> None:
    facts = rollout(
        row(
            9,
            "rollout",
            "FAIL",
            says="a | b\n<img>",
            steps=[{"step": "5 %", "weight": 5, "verdict": "FAIL", "sentence": "a | b\n<img>"}],
        )
    )
    lines = Artifacts(facts).verdict.splitlines()
    row_line = next(line for line in lines if line.startswith("| 5 %"))
    assert row_line == r"| 5 % | 5 % | not measured | FAIL | a \| b &lt;img&gt; |"


def test_copies_of_a_shadow_stage_are_not_users_on_the_canary() -> None:
    copies = {"baseline": {}, "candidate": {"requests": 28, "bad": 0}}
    shown = tables.weights(
        rollout(
            looks=(
                look(1, 0, "A/A", counts={}),
                look(2, 0, "shadow", observed=0.0, counts=copies),
                look(3, 50),
            )
        )
    )
    assert cells(shown, "seen") == ["–", "copies alone", "50.0 %"]
