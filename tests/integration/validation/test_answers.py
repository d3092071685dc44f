"""Rung 11 in the ladder: paid through the ledger, prompts from file and table, and a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from blocks import LanguageModelEndpoint, PostgresDatabase
from qafila.connections.settings import LanguageModelConnection
from qafila.demo import language_model
from qafila.demo.golden_prompts import golden_prompts
from qafila.endpoints import blocks_of
from qafila.errors import BadInput, Refused
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation
from qafila.llm_eval.accounts import OwnAccount, Purse
from qafila.llm_eval.golden import read_prompts
from qafila.llm_eval.service import LanguageModelService
from qafila.validation.checks.answers import judge_answers
from qafila.validation.checks.model_answers import Compared, compare_models, load_refusals
from qafila.validation.model import Finding, NotApplicable
from qafila.validation.options import LadderOptions
from qafila.validation.suite import Climb
from qafila.workload.inference import AnswerObjectives, Inference, LanguageModel
from qafila.workload.model import Workload
from qafila.workload.verdict import Verdict
from qafila.workload_file import read_file
from tests.support.chat_service import KEY, MODEL, ChatService, serving
from tests.support.corpus import demo_workload
from tests.support.local_model import local_model

GENERATION = Generation("docs", 3, 1, "", "backfilled", datetime.now(UTC))


@pytest.fixture
def services(
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    home: Path,  # first: it keeps the addresses that the keys are for
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[ChatService, ChatService]]:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    with serving(ChatService()) as one, serving(ChatService()) as two:
        for name, service in (("old-model", one), ("new-model", two)):
            endpoint = LanguageModelEndpoint(url=service.url, api_key=SecretStr(KEY))
            record_connection(ledger, name, endpoint)
        yield one, two


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAFILA_SECRET_OLD_MODEL", KEY)
    monkeypatch.setenv("QAFILA_SECRET_NEW_MODEL", KEY)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    lines = [
        {
            "id": f"p{i}",
            "prompt": f"Say it. => {i} ok",
            "grader": {"kind": "exact", "expected": f"{i} ok"},
        }
        for i in range(80)
    ]
    (tmp_path / "golden.jsonl").write_text("\n".join(json.dumps(one) for one in lines))
    return tmp_path


def workload(**more: Any) -> Workload:
    prices = {"input_price_per_million": 100, "output_price_per_million": 200}
    section = {
        "baseline": {"block": "old-model", "model": MODEL, **prices},
        "candidate": {"block": "new-model", "model": MODEL, **prices},
        "prompts": {"kind": "file", "path": "golden.jsonl"},
        **more,
    }
    patient = {"answers": {"first_token": 100, "per_token": 100}}
    known = demo_workload().model_dump(mode="json", by_alias=True)
    return Workload.model_validate({**known, "inference": section, "objectives": patient})


def climbed(one: Workload) -> Any:
    generation = replace(GENERATION, workload=one.name)
    nobody: Any = None
    return judge_answers(Climb(one, generation, LadderOptions(), [], nobody, nobody))


def test_without_the_section_there_is_nothing_to_measure() -> None:
    found = climbed(demo_workload())
    assert isinstance(found, NotApplicable)
    assert "no section `inference`" in found.because


def test_the_same_model_passes_and_every_call_is_paid(
    services: tuple[ChatService, ChatService], home: Path, ledger: psycopg.Connection[Any]
) -> None:
    one = workload()
    found = climbed(one)
    assert isinstance(found, Finding)
    assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
    assert found.on == "80 golden prompts"
    kept = json.loads(json.dumps(found.figures))["answers"]
    assert kept["systems"]["candidate"]["score"] == 1.0
    assert float(kept["systems"]["candidate"]["cost_per_answer"]) > 0
    row = ledger.execute(
        "SELECT count(*), sum(actual), count(*) FILTER (WHERE settled_at IS NULL), min(what)"
        " FROM qafila.cost_entry WHERE workload = %s AND generation = 3",
        [one.name],
    ).fetchone()
    assert row is not None
    assert row[0] == 160
    assert row[2] == 0
    assert row[3].startswith("answers http://127.0.0.1")
    each = [Decimal(kept["systems"][s]["cost_per_answer"]) for s in ("baseline", "candidate")]
    assert float(row[1]) == pytest.approx(float(80 * sum(each)), rel=1e-4)


def test_a_worse_model_fails_and_names_the_prompts(
    services: tuple[ChatService, ChatService], home: Path
) -> None:
    services[1].answer = lambda text: "no idea"
    found = climbed(workload())
    assert found.judgement.verdict is Verdict.FAIL
    assert "First of the lost: p0" in found.judgement.sentence
    assert found.details[0].rows[0]["candidate"] == "no idea"


def test_a_broken_service_is_an_error_and_a_cap_ends_as_too_few(
    services: tuple[ChatService, ChatService], home: Path
) -> None:
    services[1].key = "another"
    found = climbed(workload())
    assert found.judgement.verdict is Verdict.ERROR
    assert "does not let us in" in found.judgement.sentence
    services[1].key = KEY
    poor = workload()
    poor = poor.model_copy(update={"budget": poor.budget.model_copy(update={"spend_cap": 0.0})})
    asked = len(services[0].asked)
    capped = climbed(poor)
    assert capped.judgement.verdict is Verdict.INCONCLUSIVE
    assert "spend cap" in capped.judgement.sentence
    assert len(services[0].asked) == asked


def test_prompts_from_a_table_and_mistakes_in_it(
    services: tuple[ChatService, ChatService], ledger: psycopg.Connection[Any], ledger_url: str
) -> None:
    record_connection(ledger, "prompts", PostgresDatabase(url=ledger_url))
    one = workload(prompts={"kind": "table", "table": "golden", "block": "prompts"})
    with pytest.raises(BadInput, match="prompt_id"):
        climbed(one)
    ledger.execute("CREATE TABLE golden (prompt_id text, prompt jsonb)")
    prompt = {"prompt": "say => x", "grader": {"kind": "exact", "expected": "x"}}
    for key in range(80):
        ledger.execute("INSERT INTO golden VALUES (%s, %s)", [f"{key:03}", Jsonb(prompt)])
    assert climbed(one).judgement.verdict is Verdict.PASS
    ledger.execute("UPDATE golden SET prompt = '{}' WHERE prompt_id IN ('003', '004')")
    with pytest.raises(BadInput) as caught:
        climbed(one)
    assert {p.split(":")[0] for p in caught.value.problems} == {"prompt 003", "prompt 004"}


def test_what_is_not_there_is_refused(
    services: tuple[ChatService, ChatService], home: Path
) -> None:
    with pytest.raises(BadInput, match=r"nothing\.jsonl"):
        climbed(workload(prompts={"kind": "file", "path": "nothing.jsonl"}))
    with pytest.raises(Refused, match="no connection 'nobody'"):
        climbed(workload(baseline={"block": "nobody", "model": MODEL}))


def test_the_section_in_a_file(tmp_path: Path) -> None:
    one = workload()
    assert {n for n, kind in blocks_of(one) if kind is LanguageModelConnection} == {
        "old-model",
        "new-model",
    }
    section = Inference.model_validate(one.model_dump()["inference"])
    assert section.prompts.kind == "file"
    file = tmp_path / "w.yaml"
    content = one.model_dump(mode="json", by_alias=True)
    content["inference"]["prompts"] = {"kind": "file"}
    content["inference"]["candidate"]["temprature"] = 1
    file.write_text(json.dumps(content, indent=1))
    with pytest.raises(BadInput) as caught:
        read_file(file)
    said = " ".join(caught.value.problems)
    assert "inference.candidate.temprature is not a field" in said
    assert "inference.prompts.path is missing" in said


@pytest.mark.skipif(
    bool(language_model.missing()), reason=f"no local model: {language_model.missing()}"
)
def test_a_real_model_is_told_from_a_degraded_setting_of_itself() -> None:
    """Higher temperature and a shorter context FAIL; itself does not; too few prompts say so."""
    prompts = read_prompts("demo", [(str(n), p) for n, p in enumerate(golden_prompts(80))])
    with local_model() as url, local_model(keep_tokens=24) as forgetful:

        def compared(count: int, candidate: str, **settings: Any) -> Compared:
            purse = Purse(Decimal(0), "USD")
            with ExitStack() as stack:
                services = [
                    stack.enter_context(
                        LanguageModelService(
                            LanguageModel.model_validate(
                                {"url": at, "model": language_model.MODEL, "max_tokens": 16, **more}
                            ),
                            {"url": at},
                            lambda name, limits: OwnAccount(name, limits, purse),
                        )
                    )
                    for at, more in ((url, {}), (candidate, settings))
                ]
                return compare_models(prompts[:count], *services, refusals=load_refusals())

        def verdict(found: Compared) -> Verdict:
            judged = found.judge(AnswerObjectives(), errors_at_most=0.001, seed=7)
            return judged.judgement.verdict

        assert verdict(compared(12, url)) is Verdict.INCONCLUSIVE
        assert verdict(compared(40, url, temperature=1.5)) is Verdict.FAIL
        assert verdict(compared(40, forgetful)) is Verdict.FAIL
        # times on a busy machine may stay undecided; what it answers may not
        itself = compared(80, url).judge(
            AnswerObjectives(first_token=100, per_token=100), errors_at_most=0.001, seed=7
        )
        assert itself.judgement.verdict is Verdict.PASS, itself.judgement.sentence
