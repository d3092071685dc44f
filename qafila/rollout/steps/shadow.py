"""Copies before the first weight: the candidate works, and nobody waits for what it says.

Two things are looked at. Copies of users' requests: does the candidate answer them at all? And
judged queries, asked of both arms through the router: are its answers as good? Proof that they are
not ends the rollout; too little to tell is said, and the weights find out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import psycopg

from qafila.connections.settings import PostgresConnection
from qafila.errors import QafilaError, Unavailable
from qafila.ledger.connections import connection
from qafila.rollout import judge as analysis
from qafila.rollout.decide import MOST_ERRORS_IN_A_ROW, Action, Decision
from qafila.rollout.judge.evidence import State
from qafila.rollout.judge.guardrails import ArmCounts, Counts
from qafila.rollout.judge.quality import Shadow
from qafila.rollout.plan import Step
from qafila.rollout.session import Aborted, Ask, StepDone, Tell, Trial
from qafila.rollout.steps.look import (
    blind,
    check_router,
    first_line,
    observe,
    set_weights,
    store_look,
)
from qafila.rollout.steps.weight import leave_the_ground
from qafila.routers.envoy.config import PROBE
from qafila.routers.port import Shadowed
from qafila.statistics.ranking_metrics import overlap_at_k
from qafila.validation.judged import Answer, JudgedQuery, K, ndcg_scores
from qafila.validation.questions import read_judged_queries
from qafila.validation.search_service import SearchService
from qafila.workload.verdict import Judgement, Verdict

AskBoth = Callable[[str], tuple[Answer, Answer]]
_MOST_A_LOOK = 50
_TRIES = 10  # questions after which a service that has no rankings is not asked any more


@dataclass
class _Quality:
    """Judged queries of both arms so far; ``why_not`` is said where none can be asked."""

    shadow: Shadow
    queries: list[JudgedQuery]
    why_not: str
    asked: int = 0
    errors: int = 0

    def ask_some(self, trial: Trial, ask_both: AskBoth, seconds: float) -> None:
        """Ask for that long at most, and show the heart that the work goes on."""
        end = trial.clock() + seconds
        for _ in range(_MOST_A_LOOK):
            if not self.queries or trial.clock() >= end:
                return
            trial.heart.mark()
            query = self.queries.pop()
            old, new = ask_both(query.text)
            self.asked += 1
            if old.ranking is None or new.ranking is None:
                self.errors += 1  # a broken probe is not a bad answer
                if self.errors == self.asked == _TRIES:
                    self.queries.clear()
                    self.why_not = "the service gives no rankings to compare"
                continue
            was, now = ndcg_scores([query, query], [old, new])
            kept = overlap_at_k(old.ranking, new.ranking, K)
            self.shadow = self.shadow.add(
                [] if was is None or now is None else [(was, now)], [] if kept is None else [kept]
            )

    def judge(self) -> Judgement:
        if self.why_not:
            return Judgement(Verdict.INCONCLUSIVE, f"quality not judged: {self.why_not}.")
        return self.shadow.judge()


def judged_queries(trial: Trial) -> tuple[list[JudgedQuery], str]:
    """Return the workload's judged queries in a random order, or why there are none to ask."""
    if trial.spec.judged_table is None:
        return [], "nobody has judged any queries"
    block, table = trial.spec.judged_table
    try:
        with connection(trial.ledger, block, PostgresConnection).connect() as source:
            found = [q for q in read_judged_queries(source, table) if q.judged]
    except (QafilaError, psycopg.Error) as error:
        return [], f"the judged queries cannot be read: {first_line(error)}"
    random.Random(trial.name).shuffle(found)
    return found, ""


def bake_shadow(
    trial: Trial,
    step: Step,
    look_seconds: float,
    tell: Tell,
    ask: Ask,
    *,
    queries: Sequence[JudgedQuery] = (),
    why_not: str = "no judged queries were given",
    ask_both: AskBoth | None = None,
) -> StepDone:
    """Send copies for ``rollout.shadow_seconds`` and ask judged queries of both arms meanwhile.

    Then, with the copies off, wait for open hours and a person where one is asked before the first
    weight.

    Raises:
        Aborted: the candidate is proven to fail copies, or to answer judged queries worse.
        StaleEpoch: the lease was lost, or somebody else wrote the weights.
    """
    rules, objectives = trial.spec.rollout, trial.spec.objectives
    quality = _Quality(
        Shadow(
            at_least_delta=objectives.ndcg_at_10.at_least_delta,
            overlap_at_least=objectives.overlap_at_10.at_least,
        ),
        list(queries),
        "" if queries else why_not,
    )
    version = set_weights(
        trial, 0, why="copies to the candidate", mirror_percent=rules.shadow_percent
    )
    begun, before, state = trial.clock(), Shadowed(0, 0, 0), State()
    with ExitStack() as stack:
        asking = ask_both or _arms(trial, stack)
        while True:
            quality.ask_some(trial, asking, look_seconds / 2)
            trial.pause(look_seconds / 2 if quality.asked else look_seconds)
            found, before, copies, state = _look(trial, version, before, state)
            judged = quality.judge()
            over = trial.clock() - begun >= rules.shadow_seconds
            decision = _decide(trial, copies, judged, over=over)
            store_look(trial, step, found, decision, share=0.0)
            tell(f"shadow · look {trial.looks} · {decision.sentence}")
            if decision.action is not Action.HOLD:
                break
    trial.steps.append(
        StepDone(step.name, 0, decision.verdict.value, decision.sentence, before.requests)
    )
    done = trial.steps[-1]
    if decision.action is Action.ABORT:
        raise Aborted(decision)
    version = set_weights(trial, 0, why="copies are over")
    leave_the_ground(trial, step, version, decision.sentence, look_seconds, tell, ask)
    return done


def _look(
    trial: Trial, version: str, before: Shadowed, state: State
) -> tuple[Counts, Shadowed, Judgement, State]:
    """Return what the candidate did with new copies, all of them, and the judgement on them."""
    assert trial.calibration is not None
    try:
        check_router(trial, version)
        users = observe(trial)
        now = trial.router.shadowed()
    except (Unavailable, OSError) as error:
        return Counts(), before, blind(trial, error), state
    trial.errors_in_a_row = 0
    trial.failed += sum(u.status >= 500 or u.status == 0 for u in users)
    if now is None:
        none = Judgement(Verdict.INCONCLUSIVE, "the router cannot count copies.")
        return Counts(), before, none, state
    requests = max(0, now.requests - before.requests)
    errors = min(requests, max(0, _failed(now) - _failed(before)))
    found = Counts(candidate=ArmCounts(requests=requests, errors=errors, bad=errors))
    # Nobody waited for these answers: they do not count against what users may suffer.
    limits = replace(trial.limits, blast_radius=10**9)
    state = analysis.update(state, found, trial.calibration, limits)
    judged = analysis.judge_alone(state, trial.calibration, limits)
    told = f"{now.requests} copies, {_failed(now)} failed" + (
        f", {now.open} still open" if now.open else ""
    )
    if not now.requests:
        return found, now, Judgement(Verdict.INCONCLUSIVE, f"{told}."), state
    said = judged.sentence if judged.verdict is Verdict.FAIL else f"{told}."
    return found, now, Judgement(judged.verdict, said, judged.numbers), state


def _decide(trial: Trial, copies: Judgement, quality: Judgement, *, over: bool) -> Decision:
    """Return the end or the next look: proof of harm ends it, doubt does not."""
    for judged in (copies, quality):
        if judged.verdict is Verdict.FAIL:
            return Decision(Action.ABORT, Verdict.FAIL, f"shadow: {judged.sentence}")
    if trial.errors_in_a_row >= MOST_ERRORS_IN_A_ROW:
        return Decision(
            Action.ABORT,
            Verdict.ERROR,
            f"{trial.errors_in_a_row} looks in a row saw nothing: {copies.sentence}",
        )
    sentence = f"{copies.sentence} {quality.sentence}"
    if copies.verdict is Verdict.ERROR:
        return Decision(Action.HOLD, Verdict.ERROR, sentence)
    proven = copies.verdict is Verdict.PASS and quality.verdict is Verdict.PASS
    verdict = Verdict.PASS if proven else Verdict.INCONCLUSIVE
    return Decision(Action.PASS if over else Action.HOLD, verdict, sentence)


def _failed(copies: Shadowed) -> int:
    return copies.errors + copies.unanswered


def _arms(trial: Trial, stack: ExitStack) -> AskBoth:
    """Return what asks one question of both arms through the router, apart from any user."""
    url = trial.router.listen_url
    old, new = (
        stack.enter_context(
            SearchService(
                url,
                timeout_s=2.0,
                headers=trial.router.probe_headers(arm),
                served=PROBE + arm,
            )
        )
        for arm in ("baseline", "candidate")
    )
    return lambda text: (old.ask(text, K), new.ask(text, K))
