"""The audit's page: what a director reads, never markup, what was not seen never zero."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.audit.bills.reconciliation import Finding, Reconciliation
from qafila.audit.estate import Collected, Edge, Outcome, Resource
from qafila.audit.inventory.body import evidence_body
from qafila.audit.inventory.difference import compare
from qafila.audit.inventory.difference_rows import difference_body
from qafila.audit.inventory.storable import storable_part
from qafila.audit.inventory.tables import tables
from qafila.audit.inventory.whole import Inventory
from qafila.report.audit import render_audit
from qafila.report.audit_facts import AuditFacts
from qafila.report.audit_first_page import first_page
from qafila.report.audit_markdown import audit_markdown
from qafila.report.audit_tables import audit_sections
from tests.unit.audit.test_audit import bill, collected, inventory, item
from tests.unit.audit.test_audit_difference import snapshot

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
MARKUP = (
    "<script>alert('x')</script><img src=http://example.org/x onerror=alert(1)> & \"q\" {{ 7 }}"
    " [link](javascript:alert(1)) ![i](http://example.org/i) | `code` **bold**"
)


def facts(found: Inventory, **body: Any) -> AuditFacts:
    """Return an audit as the ledger would give it back: through JSON."""
    kept: Mapping[str, Any] = json.loads(
        json.dumps(
            {
                "body": {**evidence_body(found, 3), "difference": None, **body},
                "tables": tables(found),
            }
        )
    )
    judged = found.judgement()
    return AuditFacts(
        workload=found.workload,
        owner="o@example.org",
        audit_id=3,
        started_at=NOON,
        finished_at=NOON,
        verdict=judged.verdict.value,
        sentence=judged.sentence,
        body=kept["body"],
        tables=kept["tables"],
        evidence_number=9,
        evidence_digest="ab" * 32,
        made_at=NOON,
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


def named(name: str) -> Inventory:
    """Return an audit in which everything that anyone may write holds ``name``."""
    resources = (
        Resource(name, "ec2:instance", name, name, 1, {"app": name, name: name}, {"type": name}),
        Resource("b", name, name, "", None, {}, {}),
    )
    part = Collected(
        name, name, Outcome.DENIED, resources, (Edge(name, "b", "calls", name, 0.5),), 1, name
    )
    clean = storable_part(part)
    finding = Finding(name, name, name)
    return inventory(
        workload="w",
        collected=(clean, collected("ec2")),
        resources=clean.resources,
        edges=clean.edges,
        reconciliation=Reconciliation((finding,), (finding,), (finding,)),
        findings=(finding,),
    )


def test_the_page_says_what_it_costs_and_what_was_not_seen() -> None:
    page = first_page(facts(inventory()))
    by_name = {f.name: f for f in page.figures}
    assert (by_name["Spend"].value, by_name["Spend"].note) == (
        "100.00 EUR",
        "2026-05, closed: invoiced",
    )
    assert by_name["Network"].value == "0.0 %"
    assert page.unseen[0] == "iam in eu-west-3 is denied: said no"
    assert "1 service denied to us (iam)" in page.sentence
    text = audit_markdown(page)
    assert "100.00 EUR" in text
    assert "iam in eu-west-3 is denied: said no" in text


def test_the_verdict_is_said_to_be_of_the_looking_and_not_of_what_was_found() -> None:
    told = facts(inventory())
    assert "Whether all is well is another question" in render_audit(told)
    assert "Whether all is well is another question" in audit_markdown(first_page(told))
    nothing = facts(inventory(collected=(collected("ec2", Outcome.DENIED),), read=()))
    assert first_page(nothing).verdict_means == (
        "ERROR: nothing was seen whole, so nothing here is sure."
    )


def test_waves_of_one_criticality_are_all_of_it_and_the_border_is_explained() -> None:
    rows = [
        {"wave": w, "criticality": c, "name": n, "wave_reason": ""}
        for w, c, n in (("1", "low", "a"), ("2", "low", "b"), ("stays", "", "c"))
    ]
    told = facts(inventory())
    page = first_page(AuditFacts(**{**vars(told), "tables": {**told.tables, "waves": rows}}))
    assert page.waves_told == (
        "2 things in 2 waves: all of low criticality. 1 more stay where they are. The border runs "
        "between what has moved and what has not."
    )
    rows[1]["criticality"] = "high"
    page = first_page(AuditFacts(**{**vars(told), "tables": {**told.tables, "waves": rows}}))
    assert "1 of low criticality, 1 of high criticality" in page.waves_told


def test_without_a_bill_the_page_says_not_known_and_never_zero() -> None:
    page = first_page(facts(inventory(bill=None, currency=None)))
    spend, network, *_ = page.figures
    assert (spend.value, network.value) == ("not known", "not known")
    assert (spend.note, network.note) == ("no bill was read", "no bill was read")
    assert not spend.known
    html = render_audit(facts(inventory(bill=None, currency=None)))
    assert "0.00" not in html


def test_the_page_loads_nothing_and_holds_every_table_with_rows() -> None:
    held = Reconciliation((Finding("billed not found", "i-0dead", "gone"),), (), ())
    html = render_audit(facts(inventory(reconciliation=held, bill=bill(item("i-0dead", "9", "4")))))
    seen = Seen(html)
    assert all(a.startswith(("#", "data:")) for a in seen.addresses)
    assert seen.tags["link"] == seen.tags["iframe"] == 0
    for anchor in ("spend", "reconciliation", "findings", "resources", "collectors"):
        assert f'id="{anchor}"' in html


def test_its_only_script_is_the_one_that_its_policy_names() -> None:
    for html in (render_audit(facts(inventory())), render_audit(facts(named(MARKUP)))):
        assert Seen(html).tags["script"] == 1
        (text,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'\">" in html
        assert not re.search(r"innerHTML|document\.write|eval|https?:", text)


def test_an_edge_between_two_things_of_one_name_says_which_is_which() -> None:
    made = [
        Resource("c/Service/shop", "kubernetes:service", "shop", "c"),
        Resource("c/Deployment/shop", "kubernetes:deployment", "shop", "c"),
        Resource("c/Service/db", "kubernetes:service", "db", "c"),
    ]
    edges = (
        Edge("c/Service/shop", "c/Deployment/shop", "resolves", "kubernetes selector", 1.0),
        Edge("c/Deployment/shop", "c/Service/db", "calls", "environment DB", 0.8, NOON),
    )
    part = Collected("k", "c", Outcome.COMPLETE, tuple(made), edges, 1)
    found = inventory(collected=(part,), resources=tuple(made), edges=edges)
    (section,) = [s for s in audit_sections(facts(found)) if s.id == "edges"]
    assert [row[:2] for row in section.table.rows] == [
        ("shop (service)", "shop (deployment)"),
        ("shop (deployment)", "db"),
    ]
    assert section.table.rows[1][-1] == "2026-11-27 12:00:00 UTC"


def test_other_scripts_are_kept_as_they_are() -> None:
    html = render_audit(facts(named("خدمة البحث · moteur d'été")))
    assert "خدمة البحث · moteur d&#39;été" in html


PLAIN = Seen(render_audit(facts(named("plain"))))


def test_hostile_names_do_not_become_markup() -> None:
    hostile = render_audit(facts(named(MARKUP)))
    seen = Seen(hostile)
    assert (seen.tags, seen.attributes) == (PLAIN.tags, PLAIN.attributes)
    text = audit_markdown(first_page(facts(named(MARKUP))))
    assert "<script" not in text
    assert "<img" not in text
    assert "](" not in text.replace("\\](", "")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=[]), min_size=1, max_size=60))
def test_no_name_ever_becomes_markup(name: str) -> None:
    page = Seen(render_audit(facts(named(name))))
    assert set(page.tags) <= set(PLAIN.tags)
    assert page.attributes <= PLAIN.attributes
    assert page.addresses <= PLAIN.addresses
    text = audit_markdown(first_page(facts(named(name))))
    assert "<" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            unescaped = line.replace("\\\\", "").replace("\\|", "")
            assert unescaped.count("|") in {4, 5, 6, 7}


def test_the_difference_to_the_last_audit_is_told() -> None:
    before = snapshot(resources={"a": {}}, spend={"s": "10"})
    now = snapshot(resources={"b": {}}, spend={"s": "12.5"})
    told = first_page(facts(inventory(), difference=difference_body(compare(before, now))))
    assert told.difference[0] == "Since audit 1 of 2026-11-01: 1 new, 1 gone, 0 changed."
    assert "+2.50 EUR" in told.difference[1]
    first = first_page(facts(inventory()))
    assert first.difference == (
        "This is the first audit of the workload: there is nothing to compare with.",
    )
