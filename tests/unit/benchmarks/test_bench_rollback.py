"""How a way back is read from users' requests: tables with the moments in a comment."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.arm import Arm, header
from benchmarks.machine import NotMeasured
from benchmarks.open_load import BASELINE, CANDIDATE, ROW, failed
from benchmarks.rollback import Flip, measured, seconds_to_zero

# Up at 0, back decided at 1, acknowledged at 1.01, over at 2.
FLIP = Flip(0.0, 1.0, 1.01, 2.0)
ON_IT = (0.5, 0.5, 0.502, 200, CANDIDATE, 1)  # user 1 is on the candidate before the decision


def rows(*own: tuple[float, float, float, int, int, int]) -> np.ndarray:
    return np.array(list(own), dtype=ROW)


@pytest.mark.parametrize(
    ("requests", "seconds"),
    [
        # user 1 asks 4 ms after the decision and is on the baseline: that is the proof
        ([(1.004, 1.004, 1.006, 200, BASELINE, 1)], 0.004),
        # user 2 was never on the candidate, and proves nothing; user 1 does at 30 ms
        ([(1.002, 1.002, 1.003, 200, BASELINE, 2), (1.03, 1.03, 1.031, 200, BASELINE, 1)], 0.03),
        # sent after the decision, still answered by the candidate at 9 ms; the proof began at 7 ms
        ([(1.003, 1.003, 1.009, 200, CANDIDATE, 1), (1.007, 1.007, 1.01, 200, BASELINE, 1)], 0.009),
        # sent before the decision: on its way already, however long it takes
        ([(0.99, 0.99, 1.5, 200, CANDIDATE, 1), (1.004, 1.004, 1.006, 200, BASELINE, 1)], 0.004),
        # user 1 stays on the candidate to the end
        ([(1.9, 1.9, 1.91, 200, CANDIDATE, 1), (1.95, 1.95, 1.96, 200, CANDIDATE, 1)], math.inf),
        # nobody who was on the candidate asks again
        ([(1.002, 1.002, 1.003, 200, BASELINE, 2)], None),
    ],
)
def test_the_way_back_is_timed_by_users_who_were_away(
    requests: list[tuple[float, float, float, int, int, int]], seconds: float | None
) -> None:
    found = seconds_to_zero(rows(ON_IT, *requests), FLIP)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_users_that_stall_are_no_measurement() -> None:
    with pytest.raises(NotMeasured, match="1 of 1 flips"):
        measured(rows(ON_IT), [FLIP])


def test_no_answer_and_a_5xx_are_failed_users() -> None:
    assert failed(rows(ON_IT, (1, 1, 1, 0, 0, 3), (1, 1, 1, 503, BASELINE, 4))) == 2


def test_an_arm_goes_wrong_as_it_is_told() -> None:
    arm = Arm("candidate")
    assert b"x-qafila-results: 3" in arm.answer("/search", "t1")
    assert arm.change(b'{"bad_tenants": ["t1"]}').startswith(b"HTTP/1.1 200")
    assert b"x-qafila-results: 0" in arm.answer("/search", "t1")
    assert b"x-qafila-results: 3" in arm.answer("/search", "t2")
    arm.change(b'{"errors": 1.0}')
    assert arm.answer("/search", "t1").startswith(b"HTTP/1.1 500")
    assert arm.answer("/health", "t1").startswith(b"HTTP/1.1 200")
    assert arm.change(b"[1]").startswith(b"HTTP/1.1 400")
    assert header("GET / HTTP/1.1\r\nX-Tenant-Id: t9", "x-tenant-id") == "t9"
