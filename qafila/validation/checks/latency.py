"""Rung 8: latency under the load there is, and more; through HTTP, past the router."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from random import Random

from qafila.statistics.ranking_metrics import mean
from qafila.validation.checks.judge_latency import LOOKS, JudgedLoad, judge_load, smallest_ratio
from qafila.validation.judged import Answer, K
from qafila.validation.load_test.arrivals import never_asked, poisson, without_repetition
from qafila.validation.load_test.model import (
    SHARES,
    Block,
    Load,
    Repeats,
    generator_late,
    saturation,
    too_many_errors,
)
from qafila.validation.load_test.open_loop import Crew, Sent
from qafila.validation.load_test.plan import (
    Level,
    LoadPlan,
    pairs_more,
    plan_load,
    real_rate,
    turns,
    workers_for,
)
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.questions import Arm, OpenArm
from qafila.validation.suite import Climb, check
from qafila.workload.verdict import Judgement

BOTH = ("baseline", "candidate")
_WARM_UP = 10  # questions a system answers before anything counts
_REPEATED = 20  # questions asked twice, to notice a cache
_LONGEST = 2.0  # times its planned seconds: then a level ends, after two blocks of each system

_DRAWN = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)

Question = tuple[str, str]  # system, text


@check(Rung.LATENCY, "time answers under load")
def measure_latency(climb: Climb) -> Climbed:
    """Judge the ratio of the 95th percentiles at the real rate; look for saturation above it."""
    texts = [q.text for q in climb.queries]
    repeats = warm_up(climb, texts)
    means = {s: mean(r.first_ms) or 1.0 for s, r in repeats.items()}
    asked = climb.options
    plan = plan_load(
        real_rate(climb.workload.projection, asked.latency_rate),
        asked.latency_seconds,
        mean_ms=max(means.values()),
        users=asked.concurrency,
        fixed=asked.latency_rate is not None,
    )
    if any(r.cached for r in repeats.values()):
        texts = never_asked(texts, len(texts), Random(asked.seed + 1)) or texts
    objectives = climb.workload.objectives
    judge = partial(
        judge_load,
        at_most_ratio=objectives.latency_p95.at_most_ratio,
        at_most_errors=objectives.error_rate.at_most,
        seed=asked.seed,
    )
    loading = Loading(climb, plan, texts, means)
    loads = loading.load_levels()
    judged, lowest, longer_s = judge(loads[0]), plan.levels[0], 0.0
    for looks_left in range(LOOKS - 1, 0, -1):
        if not judged.is_open:
            break
        pairs = pairs_more(
            lowest,
            judged.seconds_more,
            seconds=asked.latency_seconds,
            sent=sum(x.sent for level in loads for x in level.values()),
            longer_s=longer_s,
            looks_left=looks_left,
        )
        if not pairs:
            break
        loads[0] = loading.go_on(loads[0], pairs)
        longer_s += 2 * pairs * lowest.block_s
        judged = judge(loads[0])
    return latency_finding(
        plan, loads, judged, repeats, objectives.error_rate.at_most, longer_s=longer_s
    )


def warm_up(climb: Climb, texts: Sequence[str]) -> dict[str, Repeats]:
    """Ask both systems, one after the other, what they never saw, each question twice.

    Questions of the rungs below would come out of a cache the first time already. What cannot
    answer others is asked those.
    """
    fresh = never_asked(texts, _REPEATED, Random(climb.options.seed))
    found = {}
    with ExitStack() as stack:
        for system, arm in (
            ("baseline", stack.enter_context(climb.baseline())),
            ("candidate", stack.enter_context(climb.candidate())),
        ):
            for text in texts[:_WARM_UP]:
                arm.ask(text, K)
            found[system] = ask_twice(arm, fresh)
            if not found[system].first_ms:
                found[system] = ask_twice(arm, texts[:_REPEATED])
    return found


def ask_twice(arm: Arm, texts: Sequence[str]) -> Repeats:
    """Ask each question twice in a row; those that are not answered twice are left out."""
    twice = [(arm.ask(text, K), arm.ask(text, K)) for text in texts]
    good = [(a.ms, b.ms) for a, b in twice if None not in (a.ranking, b.ranking)]
    return Repeats(tuple(a for a, _ in good), tuple(b for _, b in good))


class Loading:
    """The load of one climb: questions at random times, none twice as long as there are others."""

    def __init__(
        self, climb: Climb, plan: LoadPlan, texts: Sequence[str], means: Mapping[str, float]
    ) -> None:
        self._climb = climb
        self._plan = plan
        self._texts = texts
        self._means = means
        self._chance = Random(climb.options.seed)
        self._deck = without_repetition(texts, self._chance)
        self._at_most = climb.workload.objectives.error_rate.at_most

    def load_levels(self) -> list[dict[str, Load]]:
        """Return what came of each level; a system that is saturated is spared those above."""
        found: list[dict[str, Load]] = []
        systems = set(BOTH)
        with self._crew() as crew:
            for level in self._plan.levels:
                found.append(self._load(crew, level, systems))
                systems -= {
                    s
                    for s, load in found[-1].items()
                    if saturation(load, found[0][s], self._at_most)
                }
                if "candidate" not in systems or is_late(found):
                    break
        return found

    def go_on(self, before: Mapping[str, Load], pairs: int) -> dict[str, Load]:
        """Ask so many more blocks of a level; return it with those it had before."""
        level = replace(before["baseline"].level, pairs=pairs)
        with self._crew() as crew:
            more = self._load(crew, level, set(BOTH))
        return {
            s: replace(load, blocks=(*load.blocks, *more[s].blocks)) for s, load in before.items()
        }

    def _crew(self) -> Crew[Question, Answer]:
        slower = max(self._means.values())
        workers = max(workers_for(level.rate, slower) for level in self._plan.levels)
        climb, first = self._climb, self._texts[0]
        return Crew(lambda: ask_either(climb.baseline, climb.candidate, first), workers)

    def _load(
        self, crew: Crew[Question, Answer], level: Level, systems: set[str]
    ) -> dict[str, Load]:
        blocks = _Blocks(crew, level, self._deck, self._chance, self._at_most)
        return {s: Load(level, tuple(b), self._means[s]) for s, b in blocks.run(systems).items()}


@contextmanager
def ask_either(
    baseline: OpenArm, candidate: OpenArm, first: str
) -> Iterator[Callable[[Question], Answer]]:
    """Open both systems for one thread; a first question opens what it keeps open."""
    with ExitStack() as stack:
        arms: dict[str, Arm] = {
            s: stack.enter_context(opened())
            for s, opened in zip(BOTH, (baseline, candidate), strict=True)
        }
        for arm in arms.values():
            arm.ask(first, K)
        yield lambda question: arms[question[0]].ask(question[1], K)


@dataclass
class _Blocks:
    """The blocks of one level."""

    crew: Crew[Question, Answer]
    level: Level
    deck: Iterator[str]
    chance: Random
    at_most_errors: float

    def run(self, systems: set[str]) -> dict[str, list[Block]]:
        """Send the blocks in turns; end early where going on would only do harm."""
        level, found = self.level, {s: list[Block]() for s in BOTH if s in systems}
        requests: list[tuple[float, str]] = []
        spent, pair = 0.0, -1
        for system, number in turns(level.pairs):
            if number != pair:  # both systems of a pair get the same questions at the same times
                pair = number
                due = list(poisson(level.rate, level.block_s, self.chance))
                requests = list(zip(due, islice(self.deck, len(due)), strict=True))
                if pair >= 2 and spent > _LONGEST * level.block_s * len(systems) * pair:
                    break
            if system not in systems:
                continue
            block = self._send(system, requests, found[system])
            found[system].append(block)
            spent += block.seconds + block.overrun_s
            if self._broken(found[system]):
                break
        return found

    def _broken(self, blocks: Sequence[Block], sent: int = 0, errors: int = 0) -> bool:
        sent += sum(b.sent for b in blocks)
        errors += sum(b.errors for b in blocks)
        return too_many_errors(sent, errors, self.at_most_errors)

    def _send(
        self, system: str, requests: Sequence[tuple[float, str]], before: Sequence[Block]
    ) -> Block:
        answers: list[Sent[Question, Answer]] = []
        errors: list[Answer] = []

        def questions() -> Iterator[tuple[float, Question]]:
            for due, text in requests:
                if self._broken(before, len(answers), len(errors)):
                    return
                yield due, (system, text)

        def tell(sent: Sent[Question, Answer]) -> None:
            answers.append(sent)
            if sent.result.ranking is None:
                errors.append(sent.result)

        self.crew.load(questions(), tell)
        answers.sort(key=lambda s: s.due_s)
        ended = max((s.due_s + s.ms / 1000 for s in answers), default=0.0)
        return Block(
            times=tuple(None if s.result.ranking is None else s.ms for s in answers),
            late_ms=tuple(s.late_ms for s in answers if s.late_ms is not None),
            seconds=self.level.block_s,
            overrun_s=max(0.0, ended - self.level.block_s),
        )


def latency_finding(
    plan: LoadPlan,
    loads: Sequence[Mapping[str, Load]],
    judged: JudgedLoad,
    repeats: Mapping[str, Repeats],
    at_most_errors: float,
    *,
    longer_s: float = 0.0,
) -> Finding:
    """Return what was found, in words and figures; ``longer_s`` are those after the first look."""
    saturated = {s: saturated_at(loads, s, at_most_errors) for s in BOTH}
    said = [judged.judgement.sentence, f"{plan.said}."]
    if longer_s:
        said += [f"A first look left it open: both were asked {longer_s:.0f} s longer."]
    said += [f"The {s} saturates at {why}." for s, why in saturated.items() if why]
    if is_late(loads) and len(loads) > 1:
        said += [f"At {loads[-1]['candidate'].level.name} the load generator itself was late."]
    elif not any(saturated.values()):
        said += [f"Neither saturates up to {loads[-1]['candidate'].level.name}."]
    said += [cache for s, r in repeats.items() if (cache := r.said(s))]
    least = smallest_ratio(judged.ratio)
    lowest = loads[0]
    return Finding(
        Rung.LATENCY,
        Judgement(judged.judgement.verdict, " ".join(said), judged.judgement.numbers),
        compared="the 95th percentile with the baseline's, in blocks that take turns, from the "
        "moment each request was due",
        on=f"{sum(x.sent for level in loads for x in level.values()):,} requests at "
        f"{len(loads)} rates"
        if len(loads) > 1
        else f"{sum(x.sent for x in lowest.values()):,} requests",
        smallest_effect="" if least is None else f"a p95 {least:.2f} times the baseline's",
        parts=judged.parts,
        details=[Detail("Milliseconds from when a request was due", load_rows(loads))],
        figures={
            "latency": {
                "real_rate_per_s": plan.real.per_s,
                "rate_from": plan.said,
                "longer_s": longer_s,
                "ratio": None if judged.ratio is None else judged.judgement.numbers,
                "saturated": saturated,
                "cached": {s: r.cached for s, r in repeats.items()},
                "systems": {
                    s: {"p50_ms": load.percentile(0.5), "p95_ms": load.percentile(0.95)}
                    for s, load in lowest.items()
                    if load.ms
                },
                "levels": [
                    {
                        "rate": lo["candidate"].level.rate,
                        "multiple": lo["candidate"].level.multiple,
                        "systems": {s: load.summary() for s, load in lo.items()},
                    }
                    for lo in loads
                ],
            }
        },
        series={"percentiles": percentile_points(loads)},
    )


def is_late(loads: Sequence[Mapping[str, Load]]) -> bool:
    """Say whether the generator was late at the highest level so far."""
    return generator_late(loads[-1].values(), loads[0]["baseline"])


def saturated_at(
    loads: Sequence[Mapping[str, Load]], system: str, at_most_errors: float
) -> str | None:
    """Return the lowest rate at which a system is saturated, and how it shows; None: it is not."""
    for level in loads:
        if system in level and (why := saturation(level[system], loads[0][system], at_most_errors)):
            return f"{level[system].level.name} ({why})"
    return None


def load_rows(loads: Sequence[Mapping[str, Load]]) -> list[dict[str, object]]:
    """Return one row a level and system."""
    return [
        {
            "rate": f"{load.level.rate:.3g}/s",
            "system": system,
            "requests": load.sent,
            "errors": load.errors,
            **{
                f"p{100 * s:g}": "–" if (v := load.percentile(s)) is None else f"{v:.1f}"
                for s in SHARES
            },
            "answered of arriving": "–" if (t := load.throughput) is None else f"{t:.0%}",
        }
        for level in loads
        for system, load in level.items()
    ]


def percentile_points(loads: Sequence[Mapping[str, Load]]) -> list[dict[str, object]]:
    """Return points of ms over the share of requests, as far as the counts allow."""
    return [
        {"system": system, "rate": f"{load.level.rate:.3g}/s", "share": share, "ms": ms}
        for level in loads
        for system, load in level.items()
        for share in _DRAWN
        if load.ms and (ms := load.percentile(share)) is not None
    ]
