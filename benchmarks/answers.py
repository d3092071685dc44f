"""Compare two language models by golden prompts, without a workload and without a ledger.

    qafila bench answers --prompts golden.jsonl --model small-1 \\
        --baseline http://127.0.0.1:8091/v1 --candidate http://127.0.0.1:8092/v1

Both services speak OpenAI's interface (/chat/completions). They are asked in turn, one question at
a time. Prints tables on stderr and one JSON object on stdout; exits as the verdict says: 0 PASS,
1 FAIL, 3 INCONCLUSIVE, 4 ERROR. The same comparison is rung 11 of the ladder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qafila.errors import BadInput
from qafila.llm_eval.accounts import OwnAccount, Purse
from qafila.llm_eval.service import LanguageModelService
from qafila.validation.checks.answers import read_prompt_file
from qafila.validation.checks.judge_answers import JudgedAnswers
from qafila.validation.checks.model_answers import Compared, compare_models, load_refusals
from qafila.workload.inference import AnswerObjectives, LanguageModel
from qafila.workload.verdict import EXIT_CODES

_SIDES = ("baseline", "candidate", "grader")


def main() -> None:
    """Measure, print, and exit as the verdict says."""
    given = options().parse_args()
    compared, judged, spent = compare(given)
    show(judged)
    calibration = compared.calibration
    print(
        json.dumps(
            {
                "benchmark": "answers",
                "prompts": len(compared.prompts),
                **judged.figures(),
                "smallest_effect": judged.smallest_effect,
                "lost": list(judged.lost),
                "calibration": None if calibration is None else asdict(calibration),
                "spent": {"amount": str(spent.spent), "currency": spent.currency},
                "seed": given.seed,
            },
            ensure_ascii=False,
            indent=2,
        )
    )
    sys.exit(EXIT_CODES[judged.judgement.verdict])


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="qafila bench answers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prompts", type=Path, required=True, help="JSONL, a prompt a line")
    parser.add_argument("--model", help="model of every service that has none of its own")
    parser.add_argument("--system", default="", help="system prompt of both")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--limit", type=int, help="ask the first so many prompts only")
    for side in _SIDES:
        needed = side != "grader"
        parser.add_argument(f"--{side}", metavar="URL", required=needed)
        parser.add_argument(f"--{side}-model")
        parser.add_argument(f"--{side}-temperature", type=float, default=0.0)
        parser.add_argument(f"--{side}-key", metavar="VARIABLE", help="variable that holds its key")
        parser.add_argument(
            f"--{side}-prices",
            nargs=2,
            type=float,
            metavar=("IN", "OUT"),
            help="of a million tokens read and written",
        )
    parser.add_argument("--at-least-kappa", type=float, default=0.6)
    parser.add_argument("--spend-cap", type=Decimal, default=Decimal(1))
    parser.add_argument("--currency", default="USD")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one answer")
    parser.add_argument("--delta", type=float, default=-0.05, help="loss in mean score allowed")
    parser.add_argument("--first-token", type=float, default=1.25, help="ratio allowed")
    parser.add_argument("--per-token", type=float, default=1.25, help="ratio allowed")
    parser.add_argument("--errors", type=float, default=0.001, help="share of errors allowed")
    parser.add_argument("--seed", type=int, default=7)
    return parser


def compare(given: argparse.Namespace) -> tuple[Compared, JudgedAnswers, Purse]:
    """Ask and judge.

    Raises:
        BadInput: the prompts or the options are wrong; every problem at once.
    """
    settings, objectives = _checked(given)
    prompts = read_prompt_file(given.prompts)[: given.limit]
    purse = Purse(given.spend_cap, given.currency)
    with ExitStack() as stack:
        services = {
            side: stack.enter_context(
                LanguageModelService(
                    one,
                    _reach(given, side, one),
                    lambda name, limits: OwnAccount(name, limits, purse),
                )
            )
            for side, one in settings.items()
        }
        compared = compare_models(
            prompts,
            services["baseline"],
            services["candidate"],
            refusals=load_refusals(),
            grader=services.get("grader"),
            at_least_kappa=given.at_least_kappa,
            tell=_tell,
        )
    judged = compared.judge(objectives, errors_at_most=given.errors, seed=given.seed)
    return compared, judged, purse


def show(judged: JudgedAnswers) -> None:
    """Print the verdict and the tables on stderr."""
    print(f"{judged.judgement.verdict}: {judged.judgement.sentence}", file=sys.stderr)
    parts = [
        {"part": name, "verdict": j.verdict.value, "what was found": j.sentence}
        for name, j in judged.parts.items()
    ]
    for caption, rows in [("Parts", parts), *((d.caption, d.rows) for d in judged.details)]:
        if rows:
            print(f"\n{caption}\n{_table(rows)}", file=sys.stderr)


def _checked(
    given: argparse.Namespace,
) -> tuple[dict[str, LanguageModel], AnswerObjectives]:
    problems: list[str] = []
    found: dict[str, LanguageModel] = {}
    for side in _SIDES:
        if getattr(given, side) is None:
            continue
        prices: Sequence[float | None] = getattr(given, f"{side}_prices") or (None, None)
        values = {
            "url": getattr(given, side),
            "model": getattr(given, f"{side}_model") or given.model or "",
            "system": "" if side == "grader" else given.system,
            "temperature": getattr(given, f"{side}_temperature"),
            "max_tokens": 8 if side == "grader" else given.max_tokens,
            "input_price_per_million": prices[0],
            "output_price_per_million": prices[1],
        }
        try:
            found[side] = LanguageModel.model_validate(values)
        except ValidationError as error:
            problems += [
                f"{side} {e['loc'][-1] if e['loc'] else ''}: {e['msg']}" for e in error.errors()
            ]
        variable = getattr(given, f"{side}_key")
        if variable is not None and not os.environ.get(variable):
            problems.append(f"the variable {variable}, for the key of {side}, is not set")
    try:
        objectives = AnswerObjectives(
            at_least_delta=given.delta, first_token=given.first_token, per_token=given.per_token
        )
    except ValidationError as error:
        problems += [f"{e['loc'][0]}: {e['msg']}" for e in error.errors()]
    if given.limit is not None and given.limit < 1:
        problems.append("--limit must be at least 1")
    if problems:
        raise BadInput("the options cannot be used:", problems)
    return found, objectives


def _reach(given: argparse.Namespace, side: str, one: LanguageModel) -> Mapping[str, Any]:
    variable = getattr(given, f"{side}_key")
    key = None if variable is None else os.environ[variable]
    return {"url": one.url, "api_key": key, "timeout_seconds": given.timeout}


def _tell(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{of} prompts", end="" if done < of else "\n", file=sys.stderr, flush=True)


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    table = [list(rows[0]), *([str(v) for v in row.values()] for row in rows)]
    widths = [max(len(line[n]) for line in table) for n in range(len(table[0]))]
    return "\n".join(
        "   ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


if __name__ == "__main__":
    main()
