"""One look: what the router works with, what users got since the last look, what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from psycopg.types.json import Jsonb

from qafila import rollout
from qafila.errors import QafilaError, StaleEpoch, Unavailable
from qafila.rollout import judge as analysis
from qafila.rollout.decide import Decision
from qafila.rollout.judge.guardrails import Counts
from qafila.rollout.plan import Step
from qafila.rollout.session import Trial
from qafila.routers.port import Request
from qafila.sql import statement
from qafila.workload.verdict import Judgement, Verdict

LOG_DELAY_S = 0.35  # a router writes its access log a few times a second


def set_weights(
    trial: Trial, percent: int, *, why: str, twin_percent: int = 0, mirror_percent: int = 0
) -> str:
    """Set the weights, wait until the router works with them; return the version.

    Raises:
        StaleEpoch: the lease was lost, or somebody else wrote the weights.
        Unavailable: the router did not take them in time.
    """
    trial.pause(0.0)
    version = trial.router.write(
        percent,
        epoch=trial.heart.epoch,
        why=why,
        twin_percent=twin_percent,
        mirror_percent=mirror_percent,
    )
    _await(trial, version)
    trial.weighed_at = trial.read_at = trial.clock()
    _, trial.cursor = trial.router.observed(None)
    return version


def _await(trial: Trial, version: str) -> None:
    """Wait until the router works with a version, and show the heart meanwhile that we do.

    Route 53 may take minutes to tell its name servers; a holder that hangs loses its lease in ten
    seconds. How long it may take is the router's own to bound.
    """
    pool = ThreadPoolExecutor(1)
    try:
        taken = pool.submit(trial.router.acknowledged, version)
        while not wait([taken], timeout=0.2).done:
            trial.pause(0.0)
        taken.result()
    finally:
        pool.shutdown(wait=False)


def check_router(trial: Trial, version: str) -> None:
    """Note the weight that the router itself reports, and hold it to what was asked.

    Raises:
        StaleEpoch: somebody with a newer epoch set the weights.
        Unavailable: the router does not say, or works with something else.
    """
    trial.acknowledged = None
    written = trial.router.read()
    reported = trial.router.reported()
    for state in (written, reported):
        if state is not None and state.epoch > trial.heart.epoch:
            raise StaleEpoch(
                f"somebody with epoch {state.epoch} set the weights of {trial.spec.name} to "
                f"{state.candidate_percent} %.",
                kept="their weights.",
                remedy=f"qafila status {trial.spec.name}",
            )
    if reported is None or reported.version != version:
        trial.router.acknowledged(version, timeout_s=1.0)
        reported = trial.router.reported()
    trial.acknowledged = (reported or written).candidate_percent


def observe(trial: Trial) -> Sequence[Request]:
    """Return what finished since the last look and surely started under the present weights.

    No clock of the router's is asked, nor this machine's time of day: a line that was not in the
    log when it was read before finished later than that, less the time in which the log is
    written; and it started its own duration earlier.
    """
    before = trial.read_at - LOG_DELAY_S
    trial.read_at = trial.clock()
    answers, trial.cursor = trial.router.observed(trial.cursor)
    return [a for a in answers if before - a.latency_ms / 1000 >= trial.weighed_at]


def look(trial: Trial, version: str, *, alone: bool) -> tuple[Counts, Judgement]:
    """Read traffic and router once; a look that sees nothing is an ERROR, never a FAIL.

    Raises:
        StaleEpoch: somebody else leads.
    """
    assert trial.calibration is not None
    try:
        check_router(trial, version)
        answers = observe(trial)
    except (Unavailable, OSError) as error:
        return Counts(), blind(trial, error)
    found = analysis.count(answers, trial.calibration.slow_ms, guardrails=trial.limits.guardrails)
    trial.errors_in_a_row = 0
    trial.failed += sum(a.status >= 500 or a.status == 0 for a in answers)
    trial.state = analysis.update(trial.state, found, trial.calibration, trial.limits)
    if alone:
        return found, analysis.judge_alone(trial.state, trial.calibration, trial.limits)
    return found, analysis.judge(
        trial.state,
        trial.calibration,
        trial.limits,
        reasonable_requests=rollout.reasonable_requests(trial.spec.rollout),
    )


def blind(trial: Trial, error: BaseException) -> Judgement:
    """Count a look that saw nothing."""
    trial.errors_in_a_row += 1
    trial.error_looks += 1
    return Judgement(Verdict.ERROR, first_line(error))


def store_look(
    trial: Trial,
    step: Step,
    found: Counts,
    decision: Decision,
    *,
    e_values: Mapping[str, float] | None = None,
    share: float | None = None,
) -> None:
    """Keep one look. ``acknowledged`` is what the router reported, not what was asked."""
    trial.looks += 1
    trial.ledger.execute(
        statement("canary", "put_look"),
        {
            "workload": trial.spec.name,
            "generation": trial.generation.number,
            "rollout": trial.name,
            "number": trial.looks,
            "step": step.name,
            "weight": step.weight,
            "acknowledged": trial.acknowledged,
            "observed": share,
            "counts": Jsonb(found.stored()),
            "e_values": Jsonb(dict(e_values or {})),
            "verdict": decision.verdict.value,
            "sentence": decision.sentence,
        },
    )


def first_line(error: BaseException) -> str:
    """Return what an error says first, for a look's sentence."""
    what = error.what if isinstance(error, QafilaError) else str(error)
    return (what.strip().splitlines() or [type(error).__name__])[0]
