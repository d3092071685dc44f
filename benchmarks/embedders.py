"""Rank embedders on a sample of your own corpus: quality, time, price and storage of each.

    qafila bench embedders --collection DIR
    qafila bench embedders --workload W --endpoint small=https://host/v1,model=small-1,\\
dimensions=512,price_per_million_tokens=0.02,key_env=SMALL_KEY

DIR holds docs.jsonl (id, text, optional title) and, where somebody has judged, queries.jsonl and
qrels.tsv; without these two, questions are generated. Search is exact. Embedders in this process
cost nothing; before a service is paid, the plan is shown and you are asked (--yes). What was paid
for is kept in the home folder, so that a second run pays nothing. With --workload the result is
kept as evidence, which target-architecture reads.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.embedders_table import table
from benchmarks.machine import NotMeasured, show, surroundings
from benchmarks.setting import setting
from qafila.compare.embedders.candidates import IN_PROCESS, Candidate, in_process, parse_endpoint
from qafila.compare.embedders.comparison import Compared, Means, compare_embedders
from qafila.compare.embedders.purchase import is_paid, purchase_lines, refuse_unasked, require_room
from qafila.compare.embedders.sample import Sample, sample_collection, sample_workload
from qafila.compare.embedders.vector_cache import VectorCache
from qafila.compare.embedders.vectors import Purchase, plan_purchase
from qafila.connections.postgres import connect_postgres
from qafila.connections.settings import EmbeddingConnection
from qafila.decision.embedder_comparison import record_comparison
from qafila.embedders.governor import Purse, read_spending, read_token_ratio
from qafila.endpoints import Reach, reach_of
from qafila.errors import BadInput
from qafila.ledger.connections import connection
from qafila.ledger.ledger import Connection, open_ledger, read_workload
from qafila.settings import home, ledger_url
from qafila.stores.vector_cache import EmbeddingCache
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload

_OWN = "bench-embedders"  # the purse of a comparison without a workload


@dataclass(frozen=True)
class Prepared:
    """What will be measured, checked; ``left`` is what may still be spent."""

    sample: Sample
    candidates: Sequence[Candidate]
    current: str
    workload: Workload | None
    reach: Reach | None
    currency: str
    cap: Decimal
    left: Decimal


def main() -> None:
    """Check, plan, ask, measure, print; keep the result of a workload."""
    given = options().parse_args()
    with ExitStack() as stack:
        ledger = None
        if given.workload is not None:
            ledger = stack.enter_context(open_ledger(address := ledger_url()))
        prepared = prepare(given, ledger)
        target = stack.enter_context(ExitStack())
        caches = partial(cache_of, prepared, beside=_beside(prepared, target))
        agree(given, plan(prepared, ledger, caches), prepared)
        with setting() as here, here.target() as database:
            compared = measure(
                given,
                prepared,
                database,
                here.ledger_url if given.workload is None else address,
                caches,
            )
        figures = compared.figures
        compares = len(figures["candidates"]) > 1
        if compares and ledger is not None and prepared.workload is not None:
            about = {k: v for k, v in surroundings().items() if k != "command"}
            body = {**figures, "seed": given.seed, **about}
            figures["evidence"] = record_comparison(ledger, prepared.workload.name, body)
    if given.json:
        show("embedders", figures, seed=given.seed, raw_seconds=compared.query_seconds)
    else:
        print("\n".join(table(figures, given.seed)))
    if figures["not_measured"]:
        raise NotMeasured(
            "; ".join(f"{name}: {why}" for name, why in figures["not_measured"].items())
        )


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="qafila bench embedders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpus = parser.add_mutually_exclusive_group(required=True)
    corpus.add_argument("--collection", type=Path, metavar="DIR")
    corpus.add_argument("--workload", metavar="W")
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="NAME=URL,model=…,dimensions=…,price_per_million_tokens=…,key_env=VARIABLE",
        help="an OpenAI-compatible service; block:BLOCK in the place of URL names a connection",
    )
    parser.add_argument(
        "--in-process",
        default=",".join(IN_PROCESS),
        metavar="NAMES",
        help="which of them, with commas between; none: no one (default: all)",
    )
    parser.add_argument("--current", metavar="NAME", help="with whom all others are compared")
    parser.add_argument(
        "--rank-by",
        choices=["vector", "hybrid"],
        default="vector",
        help="vectors alone, or fused with keywords as the product serves",
    )
    parser.add_argument("--sample-documents", type=int, default=5000)
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--spend-cap", type=Decimal, default=Decimal(1), help="of this run")
    parser.add_argument("--currency", default="USD", help="of the prices; a workload has its own")
    parser.add_argument("--yes", action="store_true", help="pay without being asked")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object, not a table")
    return parser


def prepare(given: argparse.Namespace, ledger: Connection | None) -> Prepared:
    """Return the sample and the candidates.

    Raises:
        BadInput: options, endpoints or the collection are wrong; names every problem at once.
        Refused: there is no such workload, or a connection of it was never recorded.
    """
    problems: list[str] = []
    for name, least in (("sample_documents", 10), ("max_queries", 2), ("spend_cap", 0)):
        if not getattr(given, name) >= least:
            problems.append(f"--{name.replace('_', '-')} must be at least {least}")
    workload = reach = None
    if ledger is not None:
        workload, _ = read_workload(ledger, given.workload)
        reach = reach_of(ledger, workload)
    candidates = _candidates(given, ledger, workload, reach, problems)
    names = [c.name for c in candidates]
    if not problems and len(candidates) < 2:
        problems.append("there is no other to compare with: name at least two embedders")
    current = given.current or (names[0] if names else "")
    if names and current not in names:
        problems.append(f"--current {current}: there is only {', '.join(names)}")
    sample = None
    try:
        size = {
            "queries": max(2, given.max_queries),
            "documents": max(10, given.sample_documents),
            "seed": given.seed,
        }
        if workload is None:
            sample = sample_collection(given.collection, **size)
        elif not problems:  # reading a source may take long
            assert ledger is not None
            sample = sample_workload(ledger, workload, **size)
    except BadInput as error:
        problems += error.problems
    if problems or sample is None:
        raise BadInput(
            "embedders cannot be compared:",
            problems,
            remedy="correct this; docs/how-to/choose-an-embedder.md has examples",
        )
    currency, cap = given.currency, given.spend_cap
    left = cap
    if ledger is not None and workload is not None:
        currency = workload.budget.currency
        spent = sum(read_spending(ledger, workload.name, None))
        cap = min(Decimal(str(workload.budget.spend_cap)), spent + cap)
        left = max(Decimal(0), cap - spent)
    return Prepared(sample, candidates, current, workload, reach, currency, cap, left)


def _candidates(
    given: argparse.Namespace,
    ledger: Connection | None,
    workload: Workload | None,
    reach: Reach | None,
    problems: list[str],
) -> list[Candidate]:
    """Return who is compared, the one in use first."""

    def block(name: str) -> dict[str, Any]:
        assert ledger is not None
        found = connection(ledger, name, EmbeddingConnection)
        key = None if found.api_key is None else found.api_key.get_secret_value()
        return {"url": found.url, "api_key": key, "timeout_seconds": found.timeout_seconds}

    named = [] if given.in_process == "none" else given.in_process.split(",")
    found = in_process([n.strip() for n in named], problems)
    if workload is not None and reach is not None:
        settings = workload.corpus.embedder
        if settings.kind == "wordllama":
            used = next(Candidate(n, s) for n, s in IN_PROCESS.items() if s == settings)
        else:
            used = Candidate(
                settings.block, settings, reach.embedder, f"the block {settings.block!r}"
            )
        found = [used, *(c for c in found if c.name != used.name)]
    for written in given.endpoint:
        one = parse_endpoint(written, os.environ, None if ledger is None else block, problems)
        if one is not None and one.name in [c.name for c in found]:
            problems.append(f"--endpoint {one.name}: this name is there twice")
        elif one is not None:
            found.append(one)
    return found


def _beside(prepared: Prepared, stack: ExitStack) -> psycopg.Connection[Any] | None:
    """Return a connection to the target where the workload keeps vectors beside it."""
    workload, reach = prepared.workload, prepared.reach
    if workload is None or reach is None or not workload.corpus.cache:
        return None
    assert isinstance(workload.corpus.target, PgvectorTarget)  # the file was checked
    return stack.enter_context(connect_postgres(**reach.target))


def cache_of(
    prepared: Prepared, candidate: Candidate, beside: psycopg.Connection[Any] | None = None
) -> VectorCache:
    """Return what was paid for before.

    The target's own cache serves the embedder in use alone: it knows models by name, and another
    service's model of one name must not get in there.
    """
    workload, there = prepared.workload, None
    in_use = workload is not None and candidate.settings == workload.corpus.embedder
    if beside is not None and in_use:
        there = EmbeddingCache(beside, candidate.vectors)
    return VectorCache(home(), candidate, there)


def plan(prepared: Prepared, ledger: Connection | None, caches: Any) -> list[Purchase]:
    """Return what each service would be asked."""
    sample = prepared.sample
    return [
        plan_purchase(
            c,
            [*sample.texts, *sample.questions],
            caches(c),
            None if ledger is None else read_token_ratio(ledger, c.service),
        )
        for c in prepared.candidates
        if c.connection is not None
    ]


def agree(given: argparse.Namespace, purchases: Sequence[Purchase], prepared: Prepared) -> None:
    """Show what would be paid and ask, unless nothing would or it was agreed to already.

    Raises:
        Refused: it may cost more than is left, or nobody has said yes.
    """
    for line in purchase_lines(purchases, prepared.currency, prepared.left):
        print(line, file=sys.stderr)
    require_room(purchases, prepared.currency, prepared.left)
    if given.yes or not is_paid(purchases):
        return
    if not sys.stdin.isatty():
        raise refuse_unasked()
    print("Pay that? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise refuse_unasked()


def measure(
    given: argparse.Namespace,
    prepared: Prepared,
    database: psycopg.Connection[Any],
    ledger_address: str,
    caches: Any,
) -> Compared:
    """Measure every candidate; ``database`` gets a scratch table for keywords."""
    workload = prepared.workload

    def purse(candidate: Candidate) -> Purse:
        return Purse(
            _OWN if workload is None else workload.name,
            None,
            None,
            prepared.cap,
            prepared.currency,
            Decimal(repr(candidate.price)),
        )

    return compare_embedders(
        prepared.sample,
        prepared.candidates,
        prepared.current,
        Means(database, ledger_address, purse, caches, prepared.currency),
        seed=given.seed,
        by=given.rank_by,
        tell=_tell,
    )


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        print(f"measuring {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
