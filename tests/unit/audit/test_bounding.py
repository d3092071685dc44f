"""Nothing an estate says of itself may fill the audit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.bounds import LONGEST, bounded, cut_text
from qafila.audit.estate import Resource


def test_a_tag_of_ten_megabytes_is_cut_with_a_mark_and_named() -> None:
    kept, cuts = bounded(Resource("i-1", "k", "n", "r", None, {"note": "x" * 10_000_000}))
    assert kept.tags["note"].endswith("… (cut: 10000000 characters)")
    assert len(kept.tags["note"]) < LONGEST + 50
    assert cuts == ("tag note",)


def test_what_is_short_stays_the_same_object() -> None:
    resource = Resource("i-1", "k", "n", "r", None, {"a": "b"}, {"zones": ["a"], "port": 1})
    assert bounded(resource) == (resource, ())
    assert bounded(resource)[0] is resource


def test_names_and_facts_are_cut_as_well() -> None:
    facts = {"hosts": {"A": "h" * 9000}, "many": list(range(6000)), "k" * 300: 1}
    kept, cuts = bounded(Resource("i-1", "k", "n" * 2000, "r", None, {}, facts))
    assert len(kept.name) < 1100
    assert len(kept.facts["many"]) == 5000
    assert len(cuts) == 4


@given(st.text(max_size=50), st.integers(1, 30))
def test_a_cut_text_is_never_much_longer_than_it_may(text: str, longest: int) -> None:
    kept = cut_text(text, longest)
    assert len(kept) <= longest + 26
    assert kept.startswith(text[:longest])
