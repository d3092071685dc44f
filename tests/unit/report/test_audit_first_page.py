"""The first page: spend in each currency, gaps by place, what nobody looked at is not known."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.ai_need.assessment import assess_estate
from qafila.audit.ai_need.signal import LEAST_COVERAGE, Candidate, Need, Signal
from qafila.audit.bills.model import Bill, Period
from qafila.audit.bills.reconciliation import Finding
from qafila.audit.estate import Collected, Outcome, Resource
from qafila.audit.inventory.phrases import gaps, percent
from qafila.report.audit import render_audit
from qafila.report.audit_first_page import first_page
from qafila.report.audit_markdown import audit_markdown
from qafila.report.audit_tables import audit_sections
from qafila.report.audit_wording import listed
from qafila.text.figures import money
from tests.unit.audit.test_audit import bill, collected, inventory, item
from tests.unit.audit.test_audit_pairs import what_if
from tests.unit.report.test_audit_page import Seen, facts, named

MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)


def test_spend_is_told_in_each_currency_and_month_and_never_added() -> None:
    periods = (
        Period("EUR", MAY, Decimal("100.005"), Decimal(100), 10, True),
        Period("USD", MAY, Decimal("7.25"), Decimal(7), 1, True),
        Period("EUR", JUNE, Decimal(50), Decimal(50), 5, False),
    )
    two = Bill("b.csv", "FOCUS 1.2", 16, (), periods, (), (), (), ())
    page = first_page(facts(inventory(bill=two, currency="EUR")))
    assert page.figures[0].note == "2026-05, closed: invoiced; besides 7.25 USD, added to nothing"
    assert page.months == (
        ("2026-06", "50.00 EUR", "open"),
        ("2026-05", "7.25 USD", "closed"),
        ("2026-05", "100.00 EUR", "closed"),
    )
    assert "7.25 USD" in audit_markdown(page)


def test_a_gap_that_is_the_same_in_many_places_is_one_sentence() -> None:
    regions = ["eu-west-1", "eu-west-3", "us-east-1", "us-west-2", "ap-south-1", "me-south-1"]
    looked = [
        *(
            Collected("iam", r, Outcome.DENIED, (), (), 1, "iam: ListRoles said no")
            for r in regions
        ),
        Collected("s3", "", Outcome.TRUNCATED, (), (), 1, "s3: cut after 200 pages"),
        Collected("rds", "eu-west-1", Outcome.DENIED, (), (), 1, "rds: said no", "111122223333"),
        Collected("rds", "eu-west-1", Outcome.DENIED, (), (), 1, "rds: said no", "444455556666"),
        collected("ec2"),
    ]
    assert gaps(looked) == [
        "iam in 6 places (ap-south-1, eu-west-1, eu-west-3, me-south-1 and 2 more) is denied: "
        "ListRoles said no",
        "rds in 2 places (eu-west-1 of 111122223333, eu-west-1 of 444455556666) is denied: said no",
        "s3 is truncated: cut after 200 pages",
    ]


def test_namespaces_that_nobody_asked_for_are_said_first_and_once() -> None:
    limit = "looked only into the namespaces shop, web, as asked"
    looked = [
        Collected("kubernetes-workloads", "staging", Outcome.COMPLETE, (), (), 1, limit),
        Collected(
            "kubernetes-storage",
            "staging",
            Outcome.DENIED,
            (),
            (),
            1,
            f"{limit}; storage classes: the API server said 403 Forbidden",
        ),
        Collected("kubernetes-nodes", "other", Outcome.COMPLETE, (), (), 1),
    ]
    told = [
        f"staging: {limit}: what else it holds is not known",
        "kubernetes-storage in staging is denied: storage classes: the API server said 403 "
        "Forbidden",
    ]
    assert gaps(looked) == told
    found = inventory(collected=tuple(looked), resources=(), read=())
    assert list(first_page(facts(found)).unseen[:2]) == told


@given(
    st.lists(
        st.builds(
            Collected,
            st.sampled_from(["a", "b"]),
            st.sampled_from(["x", "y", ""]),
            st.sampled_from(Outcome),
            st.just(()),
            st.just(()),
            st.just(1),
            st.sampled_from(["m", "n"]),
        )
    )
)
def test_every_gap_is_always_told_and_nothing_complete_is(looked: list[Collected]) -> None:
    told = gaps(looked)
    for part in looked:
        if part.outcome is Outcome.COMPLETE:
            continue
        assert any(
            t.startswith(part.collector) and f"is {part.outcome.value}: {part.missed}" in t
            for t in told
        )
    assert len(told) <= sum(p.outcome is not Outcome.COMPLETE for p in looked)


def test_from_a_bill_alone_nothing_that_nobody_looked_at_is_zero() -> None:
    alone = inventory(
        collected=(), resources=(), read=(collected("bills", region="bill.csv"),), corpus=None
    )
    page = first_page(facts(alone))
    seen = next(f for f in page.figures if f.name == "Seen")
    assert (seen.value, seen.known) == ("not known", False)
    assert page.sentence.startswith("no account, cluster or database was read · 100.00 EUR")
    assert "no account, cluster or database was read: what exists is not known" in page.unseen
    assert "0 resources" not in render_audit(facts(alone))


def test_the_rest_of_a_long_list_is_counted_by_kind_with_the_way_to_all_of_it() -> None:
    many = [Finding("orphan disk", f"vol-{n}", "attached to nothing") for n in range(1_500)]
    told = facts(inventory(findings=tuple(many), bill=bill(item("i-0dead", "9", "4"))))
    page = first_page(told)
    assert len(page.to_look_at) == 12
    assert page.to_look_at_more == "1,488 more: 1,488 orphan disk"
    html = render_audit(told)
    assert "… and 500 more rows; all of them: qafila report w --audit --export FOLDER" in html
    assert html.count("attached to nothing") == 1_012


def test_a_page_of_ten_thousand_resources_stays_small() -> None:
    seen = tuple(
        Resource(
            f"i-{n:05}",
            "ec2:instance",
            f"خادم {n}",
            "eu-west-3",
            None,
            {"app": "x", "note": "é" * 500},
        )
        for n in range(10_000)
    )
    part = Collected("ec2", "eu-west-3", Outcome.COMPLETE, seen, (), 1)
    html = render_audit(facts(inventory(collected=(part,), resources=seen)))
    assert len(html.encode()) < 2_000_000
    assert "… and 9,000 more rows" in html


def test_pairs_that_could_move_are_a_table_with_what_saves_most_first() -> None:
    rows = (
        what_if("i-1", "i-2", "i-1", None, None),
        what_if("i-1", "i-2", "i-2", "10", "12"),
        what_if("i-3", "<i>4", "i-3", "161.34", "0"),
    )
    told = facts(inventory(gravity=rows))
    assert [r["amount"] for r in told.tables["gravity"]] == ["-161.34", "2", None]
    [section] = [s for s in audit_sections(told) if s.id == "gravity"]
    assert section.table.headings[:2] == ("pair", "moved")
    assert section.table.rows[0][0] == "i-3 → <i>4"
    assert "list prices without discount" in section.table.note
    assert "<i>" not in render_audit(told)


def test_a_name_from_right_to_left_turns_nothing_beside_it_around() -> None:
    names = ["web", "خدمة 2", "\u202eevil", "réplique"]
    assert (
        listed(names, 4) == "web, \u2068خدمة 2\u2069, \u2068\u202eevil\u2069, \u2068réplique\u2069"
    )
    assert listed(names, 1) == "web and 3 more"


def test_every_cell_of_the_first_page_says_what_it_is_where_tables_are_stacked() -> None:
    page = Seen(render_audit(facts(named("plain"))))
    assert "data-what" in page.attributes


@pytest.mark.parametrize(
    ("share", "digits", "said"),
    [
        (0.2079, 1, "20.8 %"),
        (0.2079, 0, "21 %"),
        (0.0, 1, "0.0 %"),
        (0.0004, 1, "under 0.1 %"),
        (1.0, 0, "100 %"),
        (0.004, 0, "under 1 %"),
    ],
)
def test_shares_are_written_alike(share: float, digits: int, said: str) -> None:
    assert percent(share, digits) == said


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("1234.565", "1,234.56"),
        ("0.004", "under 0.01"),
        ("-0.004", "above -0.01"),
        ("0", "0.00"),
        ("-5", "-5.00"),
        ("not a number", "not measured"),
    ],
)
def test_money_that_is_there_is_never_written_as_nothing(amount: str, said: str) -> None:
    assert money(amount) == said


signals = st.lists(
    st.builds(
        Signal,
        st.just("s"),
        st.integers(1, 5),
        st.none() | st.booleans(),
        st.just(""),
        st.just("what?"),
        st.none() | st.sampled_from(Need),
        st.none() | st.integers(0, 24),
    ),
    min_size=1,
    max_size=8,
)


@given(st.lists(signals, min_size=1, max_size=12))
def test_no_page_ever_shows_a_score_below_the_coverage(given_: list[list[Signal]]) -> None:
    candidates = tuple(
        Candidate(f"app-{n}", "o@example.org", tuple(found)) for n, found in enumerate(given_)
    )
    rows = {c.subject: c.as_row() for c in candidates}
    page = first_page(facts(inventory(candidates=candidates)))
    assert len(page.candidates) + page.candidates_more == len(candidates)
    for subject, need, score, _, ask in page.candidates:
        row = rows[subject]
        assert (
            (row["score"] is None)
            == (row["coverage"] < LEAST_COVERAGE)
            == (score.startswith("withheld"))
        )
        if row["score"] is None:
            assert row["need"] is None
            assert row["horizon_months"] is None
            assert need == "–" or need.startswith("perhaps ")
            assert ask.startswith("o@example.org: what?")
    shown = [rows[c[0]]["score"] for c in page.candidates]
    assert shown == sorted(shown, key=lambda s: -1 if s is None else s, reverse=True)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "s3",
                "ec2",
                "ecs",
                "elb",
                "lambda",
                "postgres-texts",
                "postgres-databases",
                "bedrock",
                "sagemaker",
                "opensearch",
                "api-gateway",
            ]
        ),
        st.sampled_from([o.value for o in Outcome]),
    )
)
def test_an_estate_alone_never_answers_enough_for_a_score(outcomes: dict[str, str]) -> None:
    # Plans (4) and numbers of queries (3) are in no estate: 13 of 20 at the most.
    gpu = Resource("i", "ec2:instance", "gpu", "r", None, {"app": "chat"}, {"type": "g5.xlarge"})
    [found] = assess_estate([gpu], outcomes, model_uses=[])
    assert found.coverage < LEAST_COVERAGE
    assert found.score is None
    assert all(q.startswith("whoever runs chat (no owner tag): ") for q in found.questions)
    assert json.dumps(found.as_row())
