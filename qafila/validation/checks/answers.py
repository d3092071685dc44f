"""Rung 11: what a language model answers to prompts whose right answers are known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from qafila.connections.settings import LanguageModelConnection, PostgresConnection
from qafila.embedders.governor import Governor, Purse
from qafila.embedders.limit_arithmetic import Limits
from qafila.errors import BadInput
from qafila.ledger.connections import connection
from qafila.ledger.ledger import Connection, open_ledger
from qafila.llm_eval.accounts import Account
from qafila.llm_eval.golden import Prompt, numbered, read_prompts
from qafila.llm_eval.service import LanguageModelService
from qafila.settings import home
from qafila.sql import statement
from qafila.validation.checks.model_answers import Compared, compare_models, load_refusals
from qafila.validation.model import Finding, NotApplicable, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check
from qafila.workload.inference import Inference, LanguageModel, TablePrompts


@check(Rung.ANSWERS, "ask golden prompts")
def judge_answers(climb: Climb) -> Climbed:
    """Ask both language models every golden prompt, grade the answers, and judge the difference.

    Raises:
        BadInput: the golden prompts cannot be read; every mistake at once.
        Refused: a connection was never recorded.
    """
    inference, objectives = climb.workload.inference, climb.workload.objectives
    if inference is None:
        return NotApplicable(Rung.ANSWERS, "the workload file has no section `inference`")
    if climb.original != climb.generation:
        return NotApplicable(
            Rung.ANSWERS, "no fault of a rehearsal is in a language model, and asking one is paid"
        )
    with open_ledger() as ledger:
        prompts = read_golden_prompts(ledger, inference)
        compared = ask_models(ledger, climb, inference, prompts)
    judged = compared.judge(
        objectives.answers, errors_at_most=objectives.error_rate.at_most, seed=climb.options.seed
    )
    calibration = compared.calibration
    return Finding(
        Rung.ANSWERS,
        judged.judgement,
        compared=f"answers of {inference.candidate.model} with those of "
        f"{inference.baseline.model}, asked in turn",
        on=f"{len(compared.prompts):,} golden prompts",
        smallest_effect=judged.smallest_effect,
        parts=judged.parts,
        details=judged.details,
        figures={
            "answers": {
                **judged.figures(),
                "calibration": None if calibration is None else asdict(calibration),
            }
        },
    )


def ask_models(
    ledger: Connection, climb: Climb, inference: Inference, prompts: list[Prompt]
) -> Compared:
    """Ask both, each call paid from the generation's purse."""
    budget, generation = climb.workload.budget, climb.original
    purse = Purse(
        climb.workload.name,
        generation.number,
        climb.run_id,
        Decimal(repr(budget.spend_cap)),
        budget.currency,
        Decimal(0),
        what="answers",
        run="benchmark-validation",
    )
    with ExitStack() as stack:

        def opened(settings: LanguageModel) -> LanguageModelService:
            reach = reach_of(ledger, settings)
            return stack.enter_context(LanguageModelService(settings, reach, open_account))

        def open_account(service: str, limits: Limits) -> Account:
            return Governor(None, service, limits, purse, time.sleep)

        grader = inference.grader
        return compare_models(
            prompts,
            opened(inference.baseline),
            opened(inference.candidate),
            refusals=load_refusals(),
            grader=None if grader is None else opened(grader.service),
            at_least_kappa=0.0 if grader is None else grader.at_least_kappa,
        )


def reach_of(ledger: Connection, settings: LanguageModel) -> Mapping[str, Any]:
    """Return address, key and timeout of a service; never logged.

    Raises:
        Refused: its connection was never recorded.
    """
    if settings.block is None:
        return {"url": settings.url}
    block = connection(ledger, settings.block, LanguageModelConnection)
    key = block.api_key.get_secret_value() if block.api_key is not None else None
    return {"url": block.url, "api_key": key, "timeout_seconds": block.timeout_seconds}


def read_golden_prompts(ledger: Connection, inference: Inference) -> list[Prompt]:
    """Return the golden prompts of a workload, from its file or its table.

    Raises:
        BadInput: they are not there, or have mistakes; every one at once.
    """
    if isinstance(inference.prompts, TablePrompts):
        return _of_table(ledger, inference.prompts)
    return read_prompt_file(home() / inference.prompts.path)


def read_prompt_file(path: Path) -> list[Prompt]:
    """Return the golden prompts of a JSONL file.

    Raises:
        BadInput: it cannot be read, or has mistakes; every one with its line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"the golden prompts cannot be read: {error.strerror or error}: {path}",
            remedy="name a JSONL file; a relative path in a workload file starts at QAFILA_HOME.",
        ) from error
    return read_prompts(str(path), numbered(content))


def _of_table(ledger: Connection, prompts: TablePrompts) -> list[Prompt]:
    block = connection(ledger, prompts.block, PostgresConnection)
    query = sql.SQL(statement("validation", "golden_prompts"))
    try:
        with block.connect() as database:
            rows = database.execute(
                query.format(table=sql.Identifier(*prompts.table.split(".")))
            ).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise BadInput(
            "the golden prompts cannot be read:",
            [f"{str(error).splitlines()[0]}; {prompts.table} needs prompt_id and prompt (jsonb)"],
        ) from error
    return read_prompts(
        prompts.table, [(f"prompt {key}", _with_id(key, value)) for key, value in rows]
    )


def _with_id(key: object, value: object) -> object:
    return {"id": str(key), **value} if isinstance(value, dict) else value
