"""A rollout in a process of its own, without Prefect, so that chaos can kill it within seconds.

Told on standard input, one JSON object: ``Orders``. Tells on standard output, a line each:
``step NAME`` when the weight of a step is about to be set, what the canary itself tells, and at the
end ``ended`` with a JSON object. ``jump N`` on standard input moves this process's wall clock by N
seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from qafila.errors import QafilaError
from qafila.ledger import approvals
from qafila.ledger.approvals import Approval, Question
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import open_ledger, read_workload, require_generation
from qafila.rollback.card import write_card
from qafila.rollout import steps as canary
from qafila.rollout.plan import Step, StepKind, plan_steps
from qafila.rollout.preconditions import put_on_trial
from qafila.rollout.session import Trial
from qafila.routers.lookup import router_of


@dataclass(frozen=True)
class Orders:
    """Which workload goes up; ``answer``: approve at once, or leave the question open."""

    workload: str
    answer: bool = True
    look_seconds: float = 0.2
    aa_seconds: float = 2.0


def main() -> None:
    orders = Orders(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_move_clock, daemon=True).start()
    try:
        ended = run(orders)
    except QafilaError as error:
        ended = {"end": "refused", "why": error.what}
    say("ended " + json.dumps(ended))


def run(orders: Orders) -> dict[str, object]:
    """Go through the whole rollout; return how it ended."""
    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, orders.workload)
        generation = require_generation(ledger, orders.workload)
        router = router_of(ledger, spec)
        with held_lease(
            ledger, spec.name, "chaos", generation=generation.number, must_mark=True
        ) as heart:
            trial = Trial(ledger, spec, generation, router, heart, f"chaos-e{heart.epoch}")

            def ask(trial: Trial, step: Step, evidence: str) -> Approval:
                id = f"chaos-{trial.name}-{step.weight}"
                asked = approvals.ask(
                    ledger, Question(id, spec.name, 1, f"above {step.weight} %", evidence, 300.0)
                )
                say(f"asked {id}")
                return (
                    approvals.answer(ledger, id, "approve", by="Chaos") if orders.answer else asked
                )

            try:
                write_card(ledger, spec, generation, router, heart.epoch)
                put_on_trial(ledger, spec, generation, heart.epoch)
                first, *steps = plan_steps(spec.rollout, shadow=router.abilities.mirror)
                say(f"step {first.name}")
                canary.bake_aa(
                    trial,
                    first,
                    orders.aa_seconds,
                    orders.look_seconds,
                    say,
                    ask,
                    last=steps[0].kind is not StepKind.SHADOW,
                )
                for step in steps:
                    say(f"step {step.name}")
                    if step.kind is StepKind.SHADOW:
                        canary.bake_shadow(trial, step, orders.look_seconds, say, ask)
                    else:
                        canary.judge_step(trial, step, orders.look_seconds, say, ask)
                say("step cut-over")
                canary.cut_over(trial)
            except Exception as error:  # noqa: BLE001 - whatever ended it, the weights go back
                decision = canary.reason_of(trial, error)
                say(f"aborts: {decision.sentence}")
                try:
                    back = canary.go_back(trial, decision.sentence, None)
                except QafilaError as problem:
                    return {"end": "aborted", "why": decision.sentence, "back": problem.what}
                return {
                    "end": "aborted",
                    "verdict": decision.verdict.value,
                    "why": decision.sentence,
                    "back": None if back is None else back.sentence,
                }
            return {"end": "promoted", "failed": trial.failed}


def say(line: str) -> None:
    """Tell whoever started us; a line at a time."""
    print(line, flush=True)


def _move_clock() -> None:
    """Let ``time.time`` say something else from then on; durations are measured elsewhere."""
    real = time.time
    for line in sys.stdin:
        word, _, seconds = line.partition(" ")
        if word == "jump":
            offset = float(seconds)
            time.time = lambda offset=offset: real() + offset  # type: ignore[misc]
            say(f"clock moved by {offset:+.0f} s")


if __name__ == "__main__":
    main()
