"""The ladder's measurements: rows, recall of the index, services over HTTP; and their record."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from psycopg import sql

from blocks import PostgresDatabase
from qafila.core import ladder
from qafila.core.corpus import EVERYBODY
from qafila.core.judged import (
    Answer,
    ArmMeasurement,
    Change,
    JudgedQuery,
    K,
    both_measured,
    measure_arm,
    ndcg_scores,
    worst_changes,
)
from qafila.core.metrics import mean
from qafila.core.phases import Event, Phase
from qafila.core.statistics import PairedComparison, compare_paired, mean_share
from qafila.core.verdict import Judgement, Verdict
from qafila.core.workload import Workload
from qafila.errors import BadInput, Refused
from qafila.sql import statement
from tasks.connections import connection
from tasks.decision import load_price_book
from tasks.embedders.careful import embed_carefully
from tasks.evidence import record_evidence
from tasks.ledger import (
    Generation,
    move_phase,
    open_ledger,
    read_workload,
    require_generation,
)
from tasks.opening import open_embedder, open_store, reach_of
from tasks.runs import current_run_id
from tasks.search_service import SearchService
from tasks.verifying import verify_generation

SYSTEMS = ("baseline", "vector_only", "candidate")
CHALLENGERS = ("vector_only", "candidate")
_WARM_UP = 10  # questions a service answers before its time counts
_WORST = 15


@dataclass(frozen=True)
class Recall:
    """How many of the exact ten nearest the index finds; None: it could not be measured."""

    queries: int
    recall_at_10: float | None
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Result:
    """Everything that one climb measured and judged. Rungs that were not reached are missing."""

    verdict: Verdict
    sentence: str
    verdicts: Mapping[str, Judgement]
    rungs: Mapping[str, Judgement]
    systems: Mapping[str, ArmMeasurement]
    paired: Mapping[str, PairedComparison]
    costs: Mapping[str, Decimal]
    currency: str
    recall: Recall | None
    queries: int
    worst: Sequence[Change]

    def body(self) -> dict[str, Any]:
        """Return what the evidence keeps."""
        return {
            "queries": self.queries,
            "systems": {name: asdict(arm) for name, arm in self.systems.items()},
            "paired": {name: asdict(pair) for name, pair in self.paired.items()},
            "verdicts": {name: j.verdict.value for name, j in self.verdicts.items()},
            "rungs": {name: _judged(j) for name, j in self.rungs.items()},
            "recall_at_10": None if self.recall is None else self.recall.recall_at_10,
            "recall_ci": None if self.recall is None else [self.recall.ci_low, self.recall.ci_high],
            "recall_queries": 0 if self.recall is None else self.recall.queries,
            "cost_per_1000_queries": {
                **{name: str(cost) for name, cost in self.costs.items()},
                "currency": self.currency,
            },
        }


def _judged(judgement: Judgement) -> dict[str, str]:
    return {"verdict": judgement.verdict.value, "sentence": judgement.sentence}


# --- ports -------------------------------------------------------------------------------------


def read_judged_queries(source: psycopg.Connection[Any], table: str) -> list[JudgedQuery]:
    """Return the judged queries of a table, ordered by id.

    Raises:
        BadInput: the table or one of its four columns is missing, or it is empty.
    """
    query = sql.SQL(statement("validation", "judged_queries"))
    try:
        rows = source.execute(query.format(table=sql.Identifier(*table.split(".")))).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise BadInput(
            "the judged queries cannot be read:",
            [f"{str(error).splitlines()[0]}; {table} needs query_id, text, relevant, grade"],
        ) from error
    if not rows:
        raise BadInput("the judged queries cannot be read:", [f"{table} is empty"])
    texts: dict[str, str] = {}
    grades: dict[str, dict[str, float]] = {}
    for query_id, text, relevant, grade in rows:
        texts[query_id] = text
        grades.setdefault(query_id, {})[relevant] = float(grade)
    return [JudgedQuery(key, text, grades[key]) for key, text in texts.items()]


def ask_both(
    baseline_url: str, candidate_url: str, queries: Sequence[JudgedQuery], *, concurrency: int
) -> dict[str, list[Answer]]:
    """Ask every query of all three systems, in turn, so that all meet the same load.

    A closed loop of ``concurrency`` users: the times are service times under whatever other load
    there is, not a capacity. The order of the systems rotates from query to query.
    """

    def work(first: int) -> dict[int, dict[str, Answer]]:
        with ExitStack() as stack:
            baseline = stack.enter_context(SearchService(baseline_url))
            candidate = stack.enter_context(SearchService(candidate_url))
            asks: dict[str, Callable[[str], Answer]] = {
                "baseline": partial(baseline.ask, k=K),
                "vector_only": partial(candidate.ask, k=K, mode="vector"),
                "candidate": partial(candidate.ask, k=K),
            }
            for query in queries[:_WARM_UP]:
                for ask in asks.values():
                    ask(query.text)
            found = {}
            for number in range(first, len(queries), concurrency):
                turn = number % len(SYSTEMS)
                order = SYSTEMS[turn:] + SYSTEMS[:turn]
                found[number] = {s: asks[s](queries[number].text) for s in order}
            return found

    with ThreadPoolExecutor(concurrency, thread_name_prefix="ask") as pool:
        merged = {n: a for part in pool.map(work, range(concurrency)) for n, a in part.items()}
    return {s: [merged[n][s] for n in range(len(queries))] for s in SYSTEMS}


# --- steps -------------------------------------------------------------------------------------


@task(task_run_name="find generation of {name}", cache_policy=NO_CACHE)
def find_generation(name: str) -> Generation:
    """Return the generation to validate; its services must be up and serve it.

    Raises:
        Refused: it is in another phase, or the candidate serves another generation.
        Unavailable: a service does not answer.
    """
    with open_ledger() as ledger:
        generation = require_generation(ledger, name, Phase.BACKFILLED, Phase.VALIDATED)
        workload, _ = read_workload(ledger, name)
    with SearchService(workload.service.baseline.url) as baseline:
        baseline.generation()
    with SearchService(workload.service.candidate.url) as candidate:
        serving = candidate.generation()
    if serving is not None and serving != generation.number:
        raise Refused(
            f"the candidate at {workload.service.candidate.url} serves generation {serving}, "
            f"generation {generation.number} is to be validated.",
            kept="everything; nothing was measured.",
            remedy=f"qafila run embedding-backfill {name}",
        )
    return generation


@task(task_run_name="compare rows with g{generation.number}", cache_policy=NO_CACHE)
def judge_rows(generation: Generation) -> Judgement:
    """Compare counts, keys and digests of the whole source with the target."""
    with open_ledger() as ledger:
        comparison = verify_generation(ledger, generation)
    verdict = Verdict.PASS if comparison.complete else Verdict.FAIL
    return Judgement(verdict, comparison.sentence(), {"examples": list(comparison.examples)})


@task(task_run_name="read judged queries of {name}", cache_policy=NO_CACHE)
def read_queries(name: str, max_queries: int | None, seed: int) -> list[JudgedQuery]:
    """Return all judged queries, or a seeded sample of them, in a stable order."""
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, name)
        block = connection(ledger, workload.queries_block, PostgresDatabase)
    with block.connect() as source:
        queries = read_judged_queries(source, workload.queries.judged.table)
    if max_queries is None or len(queries) <= max_queries:
        return queries
    return sorted(random.Random(seed).sample(queries, max_queries), key=lambda q: q.query_id)


@task(task_run_name="recall of g{generation.number} against exact search", cache_policy=NO_CACHE)
def measure_recall(
    generation: Generation, queries: Sequence[JudgedQuery], sample: int, seed: int
) -> Recall:
    """Compare the index with exact search on a sample of the queries, through the store's port."""
    chosen = random.Random(seed).sample(list(queries), min(sample, len(queries)))
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, generation.workload)
        reach = reach_of(ledger, workload)
        with open_embedder(None, workload, reach, generation=generation.number) as embedder:
            vectors = embed_carefully(embedder, [q.text for q in chosen]).vectors
        shares = []
        with open_store(ledger, workload, generation) as store:
            for vector in vectors:
                if not vector.any():
                    continue  # the model knows no word of it: nothing is near
                exact = {(h.source_key, h.chunk_number)
                         for h in store.search_exact(vector, K, [EVERYBODY])}  # fmt: skip
                found = {(h.source_key, h.chunk_number)
                         for h in store.search(vector, K, [EVERYBODY])}  # fmt: skip
                if exact:
                    shares.append(len(exact & found) / len(exact))
    low, high = mean_share(shares, seed=seed)
    return Recall(len(shares), mean(shares), low, high)


@task(task_run_name="ask {name} {concurrency} at a time", cache_policy=NO_CACHE)
def ask_services(
    name: str, queries: Sequence[JudgedQuery], concurrency: int
) -> dict[str, list[Answer]]:
    """Ask the services of the workload file directly, past the router."""
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, name)
    service = workload.service
    return ask_both(service.baseline.url, service.candidate.url, queries, concurrency=concurrency)


@task(task_run_name="judge g{generation.number}", cache_policy=NO_CACHE)
def judge_climb(
    generation: Generation,
    rows: Judgement,
    recall: Recall | None,
    queries: Sequence[JudgedQuery],
    answers: Mapping[str, Sequence[Answer]] | None,
    machine: str,
    seed: int,
) -> Result:
    """Turn what was measured into verdicts; rungs that were not reached stay out."""
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, generation.workload)
    price = load_price_book()[machine]
    rungs: dict[str, Judgement] = {"rows": rows}
    if recall is not None:
        rungs["recall"] = judge_recall(workload, recall)
    systems: dict[str, ArmMeasurement] = {}
    paired: dict[str, PairedComparison] = {}
    verdicts: dict[str, Judgement] = {}
    costs: dict[str, Decimal] = {}
    worst: Sequence[Change] = ()
    if answers is None:
        verdicts["candidate"] = ladder.judge_arm("candidate", list(rungs.values()))
    else:
        systems = {s: measure_arm(queries, answers[s]) for s in SYSTEMS}
        scores = {s: ndcg_scores(queries, answers[s]) for s in SYSTEMS}
        worst = worst_changes(queries, answers["baseline"], answers["candidate"], _WORST)
        costs = {
            s: ladder.cost_per_thousand(price.amount, arm.mean_ms, price.vcpus)
            for s, arm in systems.items() if arm.mean_ms is not None
        }  # fmt: skip
        for name in CHALLENGERS:
            pair = both_measured(scores[name], scores["baseline"])
            if len(pair[0]) >= ladder.FEWEST_QUERIES:
                paired[name] = compare_paired(*pair, seed=seed)
            arm = _judge_service(workload, name, systems, paired.get(name), len(pair[0]))
            if name == "candidate":
                rungs.update(arm)
            verdicts[name] = ladder.judge_arm(
                name, [*rungs.values()] if name == "candidate" else [*arm.values()]
            )
    decided = verdicts["candidate"]
    return Result(
        verdict=decided.verdict, sentence=decided.sentence, verdicts=verdicts, rungs=rungs,
        systems=systems, paired=paired, costs=costs, currency=price.currency, recall=recall,
        queries=len(queries) if answers is not None else 0, worst=worst,
    )  # fmt: skip


def judge_recall(workload: Workload, recall: Recall) -> Judgement:
    """Judge recall@10 against the workload's objective."""
    return ladder.judge_recall(
        recall.recall_at_10,
        recall.ci_low,
        recall.ci_high,
        workload.objectives.recall_at_10,
        queries=recall.queries,
    )


def _judge_service(
    workload: Workload,
    name: str,
    systems: Mapping[str, ArmMeasurement],
    pair: PairedComparison | None,
    pairs: int,
) -> dict[str, Judgement]:
    objectives = workload.objectives
    measured, baseline = systems[name], systems["baseline"]
    rungs = {
        "baseline errors": ladder.judge_errors("baseline", baseline, objectives.error_rate.at_most),
        "errors": ladder.judge_errors(name, measured, objectives.error_rate.at_most),
    }
    if any(r.verdict is Verdict.ERROR for r in rungs.values()):
        return rungs  # what is left after errors is no fair sample: nothing more is judged
    rungs["quality"] = (
        ladder.too_few(name, pairs)
        if pair is None
        else ladder.judge_quality(name, pair, objectives.ndcg_at_10.at_least_delta)
    )
    rungs["latency"] = ladder.judge_latency(
        name, measured, baseline, objectives.latency_p95.at_most_ratio
    )
    return rungs


@task(task_run_name="record verdict of g{generation.number}", cache_policy=NO_CACHE)
def record_result(generation: Generation, result: Result) -> Generation:
    """Write evidence, then move the phase on PASS; return the generation as it is now.

    Evidence is appended each time; the phase moves once, from ``backfilled`` only.
    """
    name, number, run_id = generation.workload, generation.number, current_run_id()
    with open_ledger() as ledger:
        for arm, judgement in result.verdicts.items():
            record_evidence(
                ledger, "validation-arm", judgement.sentence, verdict=judgement.verdict,
                workload=name, generation=number, run_id=run_id,
                body={"arm": arm, **judgement.numbers},
            )  # fmt: skip
        record_evidence(
            ledger, "validation", headline(result), verdict=result.verdict,
            workload=name, generation=number, run_id=run_id, body=result.body(),
        )  # fmt: skip
        if result.verdict is Verdict.PASS and generation.phase == Phase.BACKFILLED:
            return move_phase(ledger, generation, Event.LADDER_PASS)
    return generation


@task(task_run_name="show verdict of g{generation.number}", cache_policy=NO_CACHE)
def show_result(generation: Generation, result: Result) -> None:
    """Publish the sentence, the table and the queries that lost most as artifacts."""
    create_markdown_artifact(
        key="verdict", markdown=verdict_page(generation, result), description=headline(result)
    )
    create_table_artifact(
        key="validation", table=system_rows(result), description="What each system reached."
    )
    create_table_artifact(
        key="worst-queries",
        table=[_change_row(c) for c in result.worst],
        description="Where the candidate lost most against the baseline, for a person to judge.",
    )


# --- words -------------------------------------------------------------------------------------


def headline(result: Result) -> str:
    """Return the climb in one sentence."""
    pair, candidate = result.paired.get("candidate"), result.systems.get("candidate")
    if pair is None or candidate is None or result.verdict is not Verdict.PASS:
        return f"candidate {result.verdict}: {result.sentence}"
    alone = result.verdicts["vector_only"].verdict
    return (
        f"candidate PASS: nDCG@10 {pair.delta:+.3f} over the baseline "
        f"(95 % {pair.ci_low:+.3f}…{pair.ci_high:+.3f}, {pair.pairs} queries), "
        f"p95 {candidate.p95_ms:.1f} ms; vectors alone {alone}."
    )


def verdict_page(generation: Generation, result: Result) -> str:
    """Return the verdict as a page: the sentence, the systems, the rungs, the assumptions."""
    cells = system_rows(result)
    lines = [f"# {result.verdict}", "", headline(result), ""]
    if cells:
        lines += ["| " + " | ".join(cells[0]) + " |", "|" + "---|" * len(cells[0])]
        lines += ["| " + " | ".join(str(v) for v in row.values()) + " |" for row in cells]
        lines.append("")
    lines += ["| rung of the candidate | verdict | what was found |", "|---|---|---|"]
    lines += [f"| {n} | {j.verdict} | {j.sentence} |" for n, j in result.rungs.items()]
    lines += [
        "",
        "Latency through HTTP, past the router, under the load of the moment. Cost: list price an "
        "hour / 3 600 × mean service time × 1 000 / vCPUs, a fully used machine assumed.",
    ]
    if result.verdict is Verdict.PASS:
        lines += ["", f"Next: `qafila run rollback-drill {generation.workload}`"]
    return "\n".join(lines)


def system_rows(result: Result) -> list[dict[str, Any]]:
    """Return one row a system, ready to be shown."""
    rows = []
    for name, arm in result.systems.items():
        pair, verdict = result.paired.get(name), result.verdicts.get(name)
        rows.append(
            {
                "system": name,
                "verdict": "–" if verdict is None else verdict.verdict.value,
                "nDCG@10": _number(arm.ndcg_at_10, ".3f"),
                "minus baseline (95 %)": "–" if pair is None else
                f"{pair.delta:+.3f} ({pair.ci_low:+.3f}…{pair.ci_high:+.3f})",
                "p": "–" if pair is None else f"{pair.p_value:.4f}",
                "MRR": _number(arm.mrr, ".3f"),
                "p50 ms": _number(arm.p50_ms, ".1f"),
                "p95 ms": _number(arm.p95_ms, ".1f"),
                "errors": f"{arm.errors} of {arm.queries}",
                f"{result.currency} per 1 000 queries": str(result.costs.get(name, "–")),
            }
        )  # fmt: skip
    return rows


def _number(value: float | None, form: str) -> str:
    return "not measured" if value is None else format(value, form)


def _change_row(change: Change) -> dict[str, Any]:
    return {
        "query": change.query.text,
        "known answer": ", ".join(change.query.grades),
        "nDCG@10 lost": f"{-change.delta:.3f}",
        "baseline's first three": ", ".join(change.baseline[:3]),
        "candidate's first three": ", ".join(change.candidate[:3]),
    }
