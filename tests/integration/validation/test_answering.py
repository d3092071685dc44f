"""Asking language models over real HTTP: streams, faults, limits, money, and the comparison."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks import answers
from qafila.errors import BadInput, SpendCapReached
from qafila.llm_eval.accounts import OwnAccount, Purse
from qafila.llm_eval.golden import Message, Prompt, read_prompts
from qafila.llm_eval.service import LanguageModelService, Said, Unsaid
from qafila.validation.checks.model_answers import Compared, compare_models, load_refusals
from qafila.workload.inference import AnswerObjectives, LanguageModel
from qafila.workload.verdict import Verdict
from tests.support.chat_service import KEY, MODEL, ChatService, last_words, serving
from tests.support.edges import free_port

ASK = [Message(role="user", content="say => one two three")]


@dataclass
class World:
    """Two services, one purse, and what was slept through."""

    baseline: ChatService
    candidate: ChatService
    stack: ExitStack
    purse: Purse = field(default_factory=lambda: Purse(Decimal(100), "USD"))
    slept: list[float] = field(default_factory=list)

    def model(
        self, service: ChatService | str, key: str = KEY, timeout: float = 5.0, **settings: Any
    ) -> LanguageModelService:
        url = service if isinstance(service, str) else service.url
        return self.stack.enter_context(
            LanguageModelService(
                LanguageModel.model_validate({"url": url, "model": MODEL, **settings}),
                {"url": url, "api_key": key, "timeout_seconds": timeout},
                lambda name, limits: OwnAccount(name, limits, self.purse),
                wait=self.wait,
                chance=lambda: 0.0,
            )
        )

    def wait(self, seconds: float) -> None:
        self.slept.append(seconds)
        time.sleep(seconds)

    def compare(self, prompts: list[Prompt], **more: Any) -> Compared:
        pair = self.model(self.baseline), self.model(self.candidate)
        return compare_models(prompts, *pair, refusals=load_refusals(), **more)


@pytest.fixture
def world() -> Iterator[World]:
    with serving(ChatService()) as one, serving(ChatService()) as two, ExitStack() as stack:
        yield World(one, two, stack)


def golden(n: int, **more: Any) -> list[Prompt]:
    lines = [
        {
            "id": f"p{i}",
            "prompt": f"Say it. => {i} ok",
            "class": "even" if i % 2 == 0 else "odd",
            "grader": {"kind": "exact", "expected": f"{i} ok"},
            **more,
        }
        for i in range(n)
    ]
    return read_prompts("test", [(str(i), line) for i, line in enumerate(lines)])


def said(answer: Said | Unsaid) -> Said:
    assert isinstance(answer, Said), answer
    return answer


@pytest.mark.parametrize("interface", ["chat", "completions"])
def test_a_stream_is_read_timed_and_counted(world: World, interface: str) -> None:
    world.baseline.first_token_s, world.baseline.per_token_s = 0.1, 0.05
    found = said(world.model(world.baseline, interface=interface, system="Be short.").ask(ASK))
    reply = found.reply
    assert (reply.text, reply.finish) == ("one two three", "stop")
    assert (found.tokens_in, found.tokens_out, found.estimated) == (7, 3, False)
    assert reply.first_s is not None
    assert reply.last_s is not None
    assert 0.1 <= reply.first_s < reply.last_s <= reply.total_s
    assert reply.last_s - reply.first_s >= 0.09
    assert found.cost is None  # no price, no cost
    asked = world.baseline.asked[0].body
    assert asked["temperature"] == 0
    assert asked["stream_options"] == {"include_usage": True}


def test_letters_and_line_ends_of_all_kinds_survive_the_stream(world: World) -> None:
    text = "é\u2028ligne\u0085 عربى 😀"
    world.baseline.answer = lambda asked: text
    assert said(world.model(world.baseline).ask(ASK)).reply.text == text


def test_without_a_stream_times_to_the_first_token_are_not_known(world: World) -> None:
    world.baseline.streams = False
    found = said(world.model(world.baseline).ask(ASK))
    assert found.reply.text == "one two three"
    assert found.reply.first_s is None
    assert found.tokens_out == 3


def test_tokens_that_a_service_does_not_count_are_estimated_and_called_so(world: World) -> None:
    world.baseline.faults.append("no usage")
    found = said(world.model(world.baseline).ask(ASK))
    assert found.estimated
    assert found.tokens_in > 0
    assert found.tokens_out == 3
    world.baseline.knows_stream_options = False
    model = world.model(world.baseline)
    assert said(model.ask(ASK)).estimated  # asked again without, once
    assert said(model.ask(ASK)).reply.text == "one two three"
    assert "stream_options" not in world.baseline.asked[-1].body


def test_a_refused_question_does_not_lose_the_count_of_tokens(world: World) -> None:
    world.baseline.faults.extend(["400", "400"])
    model = world.model(world.baseline)
    assert isinstance(model.ask(ASK), Unsaid)
    assert not said(model.ask(ASK)).estimated


@pytest.mark.parametrize(
    "fault", ["500", "503 0", "cut stream", "no end", "half event", "error event"]
)
def test_what_breaks_is_asked_again(world: World, fault: str) -> None:
    world.baseline.faults.append(fault)
    found = said(world.model(world.baseline).ask(ASK))
    assert found.reply.text == "one two three"
    assert found.tries == 2


def test_half_of_an_answer_in_one_piece_is_asked_again(world: World) -> None:
    world.baseline.streams = False
    world.baseline.faults.append("garbled")
    assert said(world.model(world.baseline).ask(ASK)).tries == 2


def test_retry_after_is_honoured(world: World) -> None:
    world.baseline.faults.extend(["429 1", "429 1"])
    found = said(world.model(world.baseline).ask(ASK))
    assert found.tries == 3
    times = [a.at for a in world.baseline.asked]
    assert all(b - a >= 1.0 for a, b in pairwise(times))


def test_what_no_second_try_mends_is_final_and_tells_no_key(world: World) -> None:
    for wrong, reason in (
        (world.model(world.baseline, key="wrong"), "does not let us in"),
        (world.model(world.baseline, model="nobody"), "does not know the model"),
    ):
        found = wrong.ask(ASK)
        assert isinstance(found, Unsaid)
        assert found.final
        assert reason in found.reason
    world.baseline.faults.append("429 quota")
    quota = world.model(world.baseline).ask(ASK)
    assert isinstance(quota, Unsaid)
    assert quota.final
    assert KEY not in quota.reason
    world.baseline.faults.append("429 5000")
    assert world.model(world.baseline).ask(ASK) == Unsaid("it asks us to wait 5000 s", 1, True)


def test_a_service_that_stays_broken_is_given_up(world: World) -> None:
    world.baseline.faults.extend(["500"] * 5)
    found = world.model(world.baseline).ask(ASK)
    assert isinstance(found, Unsaid)
    assert not found.final
    assert (found.tries, KEY in found.reason) == (5, False)
    nobody = world.model(f"http://127.0.0.1:{free_port()}/v1").ask(ASK)
    assert isinstance(nobody, Unsaid)
    assert "no connection" in nobody.reason


def test_an_answer_that_takes_too_long_is_no_answer(world: World) -> None:
    world.baseline.faults.extend(["slow 3"] * 5)
    begun = time.monotonic()
    found = world.model(world.baseline, timeout=0.2).ask(ASK)
    assert isinstance(found, Unsaid)
    assert time.monotonic() - begun < 14


def test_every_call_is_paid_and_the_cap_holds(world: World) -> None:
    prices = {"input_price_per_million": 1000, "output_price_per_million": 2000}
    model = world.model(world.baseline, max_tokens=10, **prices)
    found = said(model.ask(ASK))
    # 5 words read at 0.001, 3 written at 0.002
    assert found.cost == Decimal("0.011")
    assert world.purse.spent == Decimal("0.011")
    assert world.purse.reserved == 0
    world.baseline.faults.append("cut stream")
    said(model.ask(ASK))  # the broken one counts as expected: more than 0.011
    assert world.purse.spent > Decimal("0.033")
    world.baseline.faults.append("429 0")
    before = world.purse.spent
    said(model.ask(ASK))
    assert world.purse.spent - before == Decimal("0.011")  # a refusal costs nothing
    world.purse.cap = world.purse.spent + Decimal("0.02")
    asked = len(world.baseline.asked)
    with pytest.raises(SpendCapReached):
        model.ask(ASK)
    assert len(world.baseline.asked) == asked
    assert world.purse.reserved == 0


def test_a_limit_of_the_account_paces_the_questions(world: World) -> None:
    model = world.model(world.baseline, requests_per_minute=60)
    for _ in range(3):
        said(model.ask(ASK))
    assert sum(world.slept) > 1.0


def test_a_model_against_itself_passes_and_against_a_worse_one_fails(world: World) -> None:
    prompts = golden(90)
    same = world.compare(prompts).judge(
        AnswerObjectives(first_token=100, per_token=100), errors_at_most=0.001, seed=7
    )
    assert same.judgement.verdict is Verdict.PASS, same.judgement.sentence
    world.candidate.answer = lambda text: last_words(text) if "3" not in text else "no idea"
    worse = world.compare(prompts).judge(AnswerObjectives(), errors_at_most=0.001, seed=7)
    assert worse.judgement.verdict is Verdict.FAIL
    assert "is not" in worse.judgement.sentence
    few = world.compare(prompts[:20]).judge(AnswerObjectives(), errors_at_most=0.001, seed=7)
    assert few.judgement.verdict is Verdict.INCONCLUSIVE
    assert "20 of 20 prompts" in few.judgement.sentence
    assert "74 are needed" in few.judgement.sentence
    refusing = world.candidate
    refusing.answer = lambda text: "Je ne peux pas répondre."
    refused = world.compare(prompts).judge(AnswerObjectives(), errors_at_most=0.001, seed=7)
    assert refused.systems["candidate"].refusals == 90


def test_both_are_asked_in_turn_over_one_connection_each(world: World) -> None:
    world.compare(golden(10))
    first = [a.at for a in world.baseline.asked]
    second = [a.at for a in world.candidate.asked]
    assert [a < b for a, b in zip(first, second, strict=True)] == [True, False] * 5
    assert len({a.port for a in world.baseline.asked}) == 1


def test_a_service_that_goes_down_is_an_error_and_not_asked_for_ever(world: World) -> None:
    world.candidate.faults.extend(["400"] * 30)  # refused at once, thrice
    compared = world.compare(golden(60))
    judged = compared.judge(AnswerObjectives(), errors_at_most=0.001, seed=7)
    assert judged.judgement.verdict is Verdict.ERROR
    assert "3 prompts in a row" in judged.judgement.sentence
    assert len(world.baseline.asked) <= 4
    assert KEY not in judged.judgement.sentence


def test_the_spend_cap_ends_it_as_too_few(world: World) -> None:
    world.purse.cap = Decimal(0)
    prices = {"input_price_per_million": 1, "output_price_per_million": 1}
    compared = compare_models(
        golden(40),
        world.model(world.baseline, **prices),
        world.model(world.candidate),
        refusals=(),
    )
    judged = compared.judge(AnswerObjectives(), errors_at_most=0.001, seed=7)
    assert judged.judgement.verdict is Verdict.INCONCLUSIVE
    assert "The spend cap ended it" in judged.judgement.sentence
    assert world.baseline.asked == []


def test_a_grading_model_is_held_against_people_first(world: World) -> None:
    with serving(ChatService()) as grader:
        people = [{"answer": f"{i} ok", "good": True} for i in range(20)] + [
            {"answer": f"{i} bad", "good": False} for i in range(20)
        ]
        rubric = [{"kind": "model", "rubric": "says ok"}]
        graded = {"id": "p", "prompt": "x => 1 ok", "graders": rubric, "human": people}
        prompts = read_prompts("test", [("1", graded)]) + golden(80)
        grader.answer = lambda text: "Yes." if " ok\n\nRule" in text else "no"
        compared = world.compare(prompts, grader=world.model(grader))
        assert compared.calibration is not None
        assert compared.calibration.usable
        assert compared.calibration.kappa == 1.0
        assert len(grader.asked) == 42  # 40 of people, and one answer of each system
        assert compared.baseline[0].by_model == 1.0
        grader.asked.clear()
        grader.answer = lambda text: "Perhaps."
        deaf = world.compare(prompts, grader=world.model(grader))
        assert deaf.calibration is not None
        assert not deaf.calibration.usable
        assert deaf.calibration.ungraded == 40
        assert len(grader.asked) == 40  # grades that decide nothing are not paid for
        judged = deaf.judge(
            AnswerObjectives(first_token=100, per_token=100), errors_at_most=0.001, seed=7
        )
        assert judged.judgement.verdict is Verdict.PASS
        assert "decide nothing" in judged.parts["grade by a model"].sentence
    alone = world.compare(prompts)
    assert alone.calibration is not None
    assert alone.calibration.because == "no grading model is named"


def test_the_shell_prints_tables_and_one_json_object(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    prompts = tmp_path / "golden.jsonl"
    lines = [p.model_dump(mode="json", by_alias=True) for p in golden(80)]
    prompts.write_text("\n".join(json.dumps(line) for line in lines))
    monkeypatch.setenv("MODEL_KEY", KEY)
    command = [
        "answers",
        "--prompts",
        str(prompts),
        "--model",
        MODEL,
        "--baseline",
        world.baseline.url,
        "--baseline-key",
        "MODEL_KEY",
        "--candidate",
        world.candidate.url,
        "--first-token",
        "100",
        "--per-token",
        "100",
    ]

    def run(*more: str) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        with pytest.raises(SystemExit) as ended:
            answers.main()
        out, err = capsys.readouterr()
        assert KEY not in out + err
        return int(ended.value.code or 0), json.loads(out), err

    code, found, err = run("--candidate-key", "MODEL_KEY", "--candidate-prices", "1", "2")
    assert (code, found["verdict"], found["prompts"]) == (0, "PASS", 80)
    assert found["systems"]["baseline"]["cost_per_answer"] is None
    assert float(found["systems"]["candidate"]["cost_per_answer"]) > 0
    assert Decimal(found["spent"]["amount"]) > 0
    assert "candidate   1.000" in err
    assert run("--candidate-key", "MODEL_KEY", "--limit", "10")[0] == 3
    assert run()[0] == 4  # no key for the candidate
    world.candidate.answer = lambda text: "no idea"
    assert run("--candidate-key", "MODEL_KEY")[0] == 1
    monkeypatch.setattr(
        sys, "argv", [*command, "--baseline", "nowhere", "--candidate-key", "NO_KEY"]
    )
    with pytest.raises(BadInput) as caught:
        answers.main()
    assert len(caught.value.problems) == 2
