"""In which order an audit begins to look."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.collectors.read import in_turn


@given(st.lists(st.sampled_from(["lambda", "s3", "sqs", "ec2"]), max_size=30))
def test_each_name_comes_in_all_its_places_before_the_next(names: list[str]) -> None:
    turns = in_turn(names)
    assert sorted(turns) == list(range(len(names)))
    told = [names[turn] for turn in turns]
    assert told == sorted(told, key=names.index)
    assert all(a < b for a, b in pairwise(turns) if names[a] == names[b])
