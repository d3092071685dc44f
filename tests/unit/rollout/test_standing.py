"""What the status screen says of a running canary, and how it says it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.cli.status import lines_of
from qafila.rollout.judge.guardrails import Limits
from qafila.rollout.plan import plan_steps
from qafila.rollout.standing import Doing, Safety, SoFar, Standing, standing
from qafila.workload.model import Rollout

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROLLOUT = Rollout(weights=[5, 25, 50, 100], approve_above=25, minimum_requests=200, bake_seconds=30)
SO_FAR = SoFar(
    rollout="docs-g1-e4",
    began_at=NOON,
    looked_at=NOON + timedelta(seconds=60),
    looks=60,
    step="25 %",
    weight=25,
    verdict="INCONCLUSIVE",
    sentence="looks on.",
    e_values={"errors": 1.2, "tenant": 3.4, "fine": 7.0, "under": 0.1},
    baseline_requests=4500,
    baseline_bad=225,
    candidate_requests=1500,
    candidate_bad=75,
    requests_per_s=100.0,
)


def stand(so_far: SoFar = SO_FAR, *, led: bool = True, held: bool = False) -> Standing:
    return standing(
        so_far,
        led=led,
        held=held,
        steps=plan_steps(ROLLOUT, shadow=True),
        rollout=ROLLOUT,
        limits=Limits(),
    )


def test_a_quiet_canary_is_safe_and_its_next_weight_waits_for_a_person() -> None:
    now = stand()
    assert (now.doing, now.safety) == (Doing.JUDGING, Safety.SAFE)
    assert (now.e_harm, now.e_harm_of, now.e_fine) == (3.4, "tenant", 7.0)
    assert (now.next.weight, now.next.after_approval, now.next.must_prove) == (50, True, True)
    # 5 % bad, weight 50: θ(1) = 1/2, θ(2) = 2/3; log 20 / KL(1/2 ‖ 2/3) = 3.0 / 0.0589 = 51 bad
    # answers, over 5 % = 1 017 requests, 10 s at 100 a second
    assert now.next.requests == pytest.approx(1017, rel=0.01)
    assert now.next.seconds == pytest.approx(10.2, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "safety"),
    [
        ({"e_values": {"errors": 20.0}}, Safety.SUSPECT),
        ({"e_values": {"errors": 400.0}}, Safety.HARM),
        ({"e_values": {}}, Safety.SAFE),
        ({"verdict": "ERROR"}, Safety.BLIND),
    ],
)
def test_how_safe_it_is(changes: dict[str, Any], safety: Safety) -> None:
    assert stand(replace(SO_FAR, **changes)).safety is safety


def test_who_leads_and_what_holds_it() -> None:
    assert stand(held=True).doing is Doing.HOLDING
    assert stand(led=False, held=True).doing is Doing.LEADERLESS


def test_each_step_has_a_next() -> None:
    nexts = [stand(replace(SO_FAR, step=s.name)).next for s in plan_steps(ROLLOUT, shadow=True)]
    assert [n.weight for n in nexts] == [0, 5, 25, 50, 100, None]
    assert [n.after_approval for n in nexts] == [False, False, False, True, False, False]
    assert nexts[1].requests == 200  # 5 % need not prove
    assert nexts[4].seconds == 30  # the bake lasts that long at the least
    assert stand(replace(SO_FAR, step="of another plan", weight=30)).next.weight == 50


def test_without_traffic_nobody_knows_how_long() -> None:
    assert stand(replace(SO_FAR, requests_per_s=None)).next.seconds is None


@given(
    st.dictionaries(
        st.sampled_from(["errors", "tenant", "fine", "under"]), st.floats(0, 1e300), max_size=4
    ),
    st.integers(0, 10**9),
    st.floats(0, 1),
    st.none() | st.floats(1e-3, 1e6),
)
def test_harm_that_is_proven_is_never_called_safe(
    e: dict[str, float], requests: int, bad: float, pace: float | None
) -> None:
    one = replace(
        SO_FAR,
        e_values=e,
        candidate_requests=requests,
        candidate_bad=int(requests * bad),
        requests_per_s=pace,
    )
    now = stand(one)
    assert (now.safety is Safety.SAFE) == (now.e_harm < now.promote_at)
    assert now.next.seconds is None or now.next.seconds >= 0


def status(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "workload": "docs",
        "owner": "search@example.org",
        "criticality": "low",
        "generation": SimpleNamespace(number=1, phase="canary"),
        "candidate_percent": 25,
        "router_problem": None,
        "waits_for": (),
        "last_look": None,
        "lease": None,
        "drill_seconds": 0.012,
        "drilled_at": NOON - timedelta(hours=3),
        "certificate_until": NOON + timedelta(days=7),
        "watchdog_age_s": 1.2,
        "canary": stand(),
        "latest": None,
        "next_step": None,
        "held": None,
        "settle_from": None,
    }
    return SimpleNamespace(**{**given, **changes})


def lines(**changes: Any) -> dict[str, str]:
    return dict(lines_of(status(**changes), NOON))


def test_the_screen_as_an_operator_reads_it() -> None:
    question = SimpleNamespace(
        id="canary-7",
        subject="docs above 25 %",
        expires_at=NOON + timedelta(minutes=41),
        progress="2 different persons are needed: approved by Amal",
    )
    shown = lines(waits_for=(question,))
    assert list(shown) == [
        "docs",
        "waits for you",
        "since 12:00",
        "last look",
        "if it goes wrong",
        "next",
    ]
    assert shown["docs"] == (
        "canary g1 25 %, judging, safe · low criticality · owner search@example.org"
    )
    assert shown["waits for you"] == (
        "docs above 25 %, lapses in 41 min; 2 different persons are needed: approved by Amal     "
        "qafila approve canary-7 --by NAME"
    )
    assert shown["since 12:00"] == (
        "6,000 requests · bad events 75 canary / 225 baseline · E(harm) 3.4 of 400 (tenant) · "
        "E(fine) 7 of 20"
    )
    assert shown["if it goes wrong"] == (
        "rollback drilled 3 h ago: 12 ms · certificate until 01 Dec 12:00 UTC · watchdog alive 1 s "
        "ago · qafila rollback docs"
    )
    assert shown["next"] == "50 % after approval, about 10 s of traffic to prove it"


@pytest.mark.parametrize(
    ("changes", "label", "says"),
    [
        ({"watchdog_age_s": None}, "if it goes wrong", "no watchdog has ever looked"),
        ({"watchdog_age_s": 400.0}, "if it goes wrong", "watchdog SILENT for 7 min"),
        (
            {"certificate_until": None, "drill_seconds": None},
            "if it goes wrong",
            "rollback NOT drilled",
        ),
        ({"held": "a freeze until Mon"}, "next", "not before it may rise: a freeze until Mon"),
        ({"canary": stand(led=False)}, "docs", "nobody leads it"),
        (
            {"candidate_percent": None, "router_problem": "no answer"},
            "docs",
            "25 % (router: no answer)",
        ),
        (
            {
                "canary": stand(
                    replace(
                        SO_FAR,
                        baseline_requests=0,
                        candidate_requests=0,
                        baseline_bad=0,
                        candidate_bad=0,
                        requests_per_s=None,
                    )
                )
            },
            "next",
            "there is no traffic now",
        ),
        (
            {"canary": stand(replace(SO_FAR, step="bake at 100 %", weight=100))},
            "next",
            "the pointer row moves",
        ),
    ],
)
def test_what_is_not_well_is_said(changes: dict[str, Any], label: str, says: str) -> None:
    assert says in lines(**changes)[label]


def test_without_a_canary_the_newest_result_and_the_next_command() -> None:
    latest = SimpleNamespace(recorded_at=NOON, sentence="drill is PASS.")
    shown = lines(
        canary=None,
        generation=SimpleNamespace(number=1, phase="drilled"),
        candidate_percent=0,
        latest=latest,
        next_step="canary-cutover",
    )
    assert shown["docs"].startswith("drilled g1, candidate gets 0 %")
    assert shown["since 12:00"] == "drill is PASS."
    assert shown["next"] == "qafila run canary-cutover docs"


@pytest.mark.parametrize(
    ("hours", "says"),
    [
        (-1, "qafila settle docs --by NAME"),
        (5, "from 24 Nov 17:00 UTC on: qafila settle docs --by NAME"),
    ],
)
def test_what_is_promoted_can_be_settled_and_from_when(hours: int, says: str) -> None:
    shown = lines(
        canary=None,
        generation=SimpleNamespace(number=1, phase="promoted"),
        candidate_percent=100,
        settle_from=NOON + timedelta(hours=hours),
    )
    assert shown["next"] == says
    assert "qafila rollback docs" in shown["if it goes wrong"]


def test_after_a_rollback_the_next_generation_and_no_way_back_from_nothing() -> None:
    ended = {"canary": None, "generation": SimpleNamespace(number=1, phase="rolled_back")}
    shown = lines(**ended, candidate_percent=0)
    assert shown["next"] == "qafila run migrate-workload docs   (opens the next generation)"
    assert "if it goes wrong" not in shown
    # the router has users on it all the same
    at_odds = lines(**ended, candidate_percent=5)
    assert "qafila rollback docs" in at_odds["if it goes wrong"]
    assert at_odds["next"].startswith("qafila router show docs")


def test_while_a_question_waits_the_phase_is_not_to_be_run_again() -> None:
    question = SimpleNamespace(
        id="decision-docs-g1",
        subject="architecture",
        expires_at=NOON + timedelta(minutes=5),
        progress="",
    )
    assert "next" not in lines(
        canary=None,
        generation=SimpleNamespace(number=1, phase="audited"),
        candidate_percent=0,
        waits_for=(question,),
        next_step="target-architecture",
    )
