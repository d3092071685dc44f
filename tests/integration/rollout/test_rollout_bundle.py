"""A real rollout's bundle: what Envoy was told and showed stands on its page and in its files."""

from __future__ import annotations

import html
from dataclasses import asdict
from pathlib import Path

import duckdb
import pytest

from qafila.ledger.evidence import record_evidence
from qafila.report.bundle import write_bundle
from qafila.report.bundle_check import check_bundle
from qafila.report.rollout_reader import artifacts_of, collect_rollout, kept_calibration
from qafila.rollout import drill as drilling
from qafila.rollout import steps as canary
from qafila.rollout.preconditions import versions_of
from qafila.rollout.session import Trial
from qafila.workload.verdict import Verdict
from tests.integration.rollout.test_canary import NAME, go_up, quick, trial
from tests.support.edges import Edge

__all__ = ["quick", "trial"]  # fixtures


def drill(trial: Trial, edge: Edge) -> None:
    flip = drilling.fly(
        edge.router, 1, epoch=trial.heart.epoch, path="/health", rate=100, hold_s=0.4
    )
    drilling.issue_certificate(
        trial.ledger,
        trial.generation,
        trial.spec,
        drilling.judge_flips([flip], 5.0),
        versions_of(edge.router, trial.generation.revision),
        valid_hours=1,
        run_id=None,
    )


def record(trial: Trial, verdict: Verdict, sentence: str) -> None:
    """Keep the end as the flow does."""
    counts = trial.seen
    record_evidence(
        trial.ledger,
        "rollout",
        f"{NAME} g1: {sentence}",
        workload=NAME,
        generation=1,
        verdict=verdict,
        body={
            "rollout": trial.name,
            "requests": counts.requests,
            "failed_requests": trial.failed,
            "saved_by_retry": counts.baseline.errors + counts.candidate.errors - trial.failed,
            "steps": [asdict(s) for s in trial.steps],
            "blind": [*trial.router.abilities.blind],
            "calibration": kept_calibration(trial.calibration),
            "p95_ms": trial.calibration.p95_ms if trial.calibration else None,
            "final_weight": trial.router.read().candidate_percent,
        },
    )


@pytest.mark.usefixtures("traffic")
def test_a_promotion_is_told_from_what_was_measured(
    trial: Trial, edge: Edge, tmp_path: Path
) -> None:
    drill(trial, edge)
    go_up(trial)
    record(trial, Verdict.PASS, f"promoted; {trial.steps[-1].sentence}")
    facts = collect_rollout(trial.ledger, NAME)
    assert facts.rollout == trial.name
    bundle = write_bundle(trial.ledger, facts, tmp_path / "bundle")
    assert check_bundle(bundle.path, trial.ledger).problems == ()
    page = (bundle.path / "rollout.html").read_text()
    assert f"Promoted: {trial.failed} of {trial.seen.requests:,} requests failed" in page
    for said in ("asked above 25 %", "approved", "promoted", "bake at 100 %", "approve</span>"):
        assert said in page
    with duckdb.connect() as database:
        looks, seen, highest = database.execute(
            "SELECT count(*), sum(baseline_requests + candidate_requests), max(weight)"
            " FROM read_parquet(?)",
            [str(bundle.path / "looks.parquet")],
        ).fetchall()[0]
    assert (looks, highest) == (len(canary.looks_of(trial.ledger, trial.name)), 100)
    assert seen >= trial.seen.requests
    assert facts.certificate is not None


@pytest.mark.usefixtures("traffic")
def test_a_way_back_is_told_with_its_reason(trial: Trial, edge: Edge, tmp_path: Path) -> None:
    drill(trial, edge)

    def break_it() -> None:
        edge.candidate.errors = 1.0

    with pytest.raises(canary.Aborted) as aborted:  # by errors, or by what the machine made slow
        go_up(trial, answer=None, at={"5 %": break_it})
    why = aborted.value.decision.sentence
    back = canary.go_back(trial, why, None)
    assert back is not None
    record(trial, Verdict.FAIL, why)
    bundle = write_bundle(trial.ledger, collect_rollout(trial.ledger, NAME), tmp_path / "bundle")
    assert check_bundle(bundle.path, trial.ledger).problems == ()
    page = html.unescape((bundle.path / "rollout.html").read_text())
    went = f"Taken back from {trial.steps[-1].weight} %, on the baseline "
    assert went in page
    assert why in page
    shown = artifacts_of(trial.ledger, NAME, trial.name)
    assert shown.verdict.startswith(f"**FAIL** {NAME} g1: {went}")
    assert shown.timeline is not None
