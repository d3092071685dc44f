"""One person is one person: by whatever characters that look alike, or that nobody sees."""

from __future__ import annotations

import pytest
from confusable_homoglyphs import confusables
from hypothesis import given
from hypothesis import strategies as st

from qafila.ledger.approvers import person, refusal
from qafila.text.skeleton import hidden_characters, look_alike

NAMES = ("Amal", "Badr", "Chaima", "Driss", "Idris Hamdi", "Zoe", "Нина")
FORMAT = (
    "\u200b",
    "\u200c",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u202e",
    "\u00ad",
    "\u061c",
    "\x00",
    "\u180e",
    "\u3164",
    "\ufe0f",
    "\u034f",
    "\U000e0061",
)
MANY = 4  # a pair of the table with fewer is no evidence of what either looks like


def second(by: str, first: str) -> str | None:
    return refusal(by, "approve", needed=2, requested_by=None, approved_by=[first])


@pytest.mark.parametrize(
    ("by", "first"),
    [
        ("Аmal", "Amal"),
        ("Amаl", "Amal"),
        ("Αmal", "Amal"),
        ("AmaI", "Amal"),
        ("Ama1", "Amal"),
        ("Arnal", "Amal"),
        ("Ａｍａｌ", "Amal"),
        ("𝐀𝐦𝐚𝐥", "Amal"),
        ("ΗANA", "hana"),
        ("Ηana", "Hana"),
        ("НИНА", "Нина"),
        ("AMAL", "Amal"),
        ("a m a l", "Amal"),
        ("Z0e", "Zoe"),
        ("Ｚｏｅ", "ZOE"),
        ("Idrıs", "Idris"),
        ("Badг", "Badr"),
    ],
)
def test_who_looks_the_same_does_not_approve_twice(by: str, first: str) -> None:
    assert "has approved already" in (second(by, first) or "")
    assert "has approved already" in (second(first, by) or "")
    asked = refusal(by, "approve", needed=1, requested_by=first, approved_by=[])
    assert "asked for this" in (asked or "")


def test_different_names_stay_different() -> None:
    for one in NAMES:
        for other in NAMES:
            assert look_alike(one, other) is (one == other)


@given(st.sampled_from(NAMES), st.sampled_from(FORMAT), st.integers(1, 20))
def test_a_character_that_nobody_sees_is_refused(name: str, extra: str, place: int) -> None:
    at = place % (len(name) - 1) + 1
    spoiled = name[:at] + extra + name[at:]
    assert hidden_characters(spoiled)
    assert "that nobody sees" in (second(spoiled, name) or "")
    assert "that nobody sees" in (second(spoiled, "Somebody") or "")


@given(st.sampled_from(NAMES[:-1]), st.data())
def test_a_letter_replaced_by_one_that_looks_like_it_is_the_same_person(
    name: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    pairs = [str(one["c"]) for one in confusables.confusables_data.get(name[at], ())]
    alike = [c for c in pairs if len(c) == 1 and c.strip() and not hidden_characters(c)]
    if len(alike) < MANY:
        return
    spoiled = name[:at] + data.draw(st.sampled_from(alike)) + name[at + 1 :]
    assert look_alike(spoiled, name), (spoiled, name)
    assert second(spoiled, name) is not None


def test_only_listed_persons_approve_and_anybody_rejects() -> None:
    def answer(by: str, decision: str) -> str | None:
        return refusal(
            by, decision, needed=1, requested_by=None, approved_by=[], approvers=["Amal", "Badr"]
        )  # type: ignore[arg-type]

    assert answer("amal", "approve") is None
    assert answer("Chaima", "approve") == "Chaima is not among the approvers: Amal, Badr."
    assert answer("Chaima", "reject") is None
    assert person("AMAL") == person("Amal")
