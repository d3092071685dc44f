"""The simulation of the statistics, in small: ``qafila bench judge-offline`` does it at length."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import judge_offline, judge_offline_runs, machine, simulated

ROOT = Path(__file__).parents[3]
NAMES = [claim.name for claim in judge_offline.claims()]


def test_every_claim_is_simulated_and_printed_with_its_own_error() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.judge_offline",
            "--runs",
            "100",
            "--seed",
            "3",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert [row["name"] for row in found["rows"] + found["limits"]] == NAMES
    assert (found["runs"], found["seed"], found["not_held"]) == (100, 3, [])
    assert found["all_hold"]
    assert {"machine", "versions", "measured_at", "command"} <= found.keys()
    assert found["raw_seconds"].keys() == set(NAMES)
    for row in found["rows"]:
        low, high = row["rate_ci"]
        assert low <= row["rate"] == row["count"] / 100 <= high
        assert ("at_most" in row) != ("at_least" in row)


@pytest.mark.parametrize("given", [["--runs", "99"], ["--seed", "-1"]])
def test_what_could_not_be_measured_says_so(
    given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["judge-offline", *given])
    with pytest.raises(machine.NotMeasured):
        judge_offline.main()


@pytest.mark.parametrize(("broken", "name"), [(0.2, "at_most"), (0.6, "at_least")])
def test_a_claim_that_is_not_kept_does_not_hold(
    broken: float, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = judge_offline.Claim(
        "broken",
        "is not kept",
        0.05 if name == "at_most" else 0.8,
        lambda generator, runs: generator.random(runs) < broken,
        "at_most" if name == "at_most" else "at_least",
    )
    monkeypatch.setattr(judge_offline, "claims", lambda: [claim])
    row, _ = judge_offline._simulate(500, 1, 0)
    assert not row["holds"]


def test_the_worlds_are_what_they_say() -> None:
    generator = np.random.default_rng(1)
    worlds = {
        0.0: [simulated.equally_good(0.4), simulated.equally_good(0.03), simulated.rare_losses()],
        -0.02: [simulated.rare_losses(-0.02)],
    }
    for mean, those in worlds.items():
        for world in those:
            drawn = world(generator, 100, 10_000)
            assert np.abs(drawn).max() <= 1
            assert (drawn == 0).mean() > 0.5
            assert drawn.mean() == pytest.approx(mean, abs=0.002)  # sd .3 / √10⁶, six times
    assert simulated.overlaps(generator, 100, 10_000).mean() == pytest.approx(0.9, abs=0.002)
    assert simulated.moments(simulated.better, generator)[0] > 0.01


def test_the_same_seed_gives_the_same_runs() -> None:
    draw = partial(judge_offline_runs.missed, simulated.rare_losses(), 50)
    first, again = (draw(np.random.default_rng(4), 40) for _ in range(2))
    assert (first == again).all()
