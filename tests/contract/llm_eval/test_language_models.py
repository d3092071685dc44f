"""What a language model service promises here: the one that tests use, and a real model."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from qafila.demo import language_model
from qafila.llm_eval.accounts import OwnAccount, Purse
from qafila.llm_eval.golden import Message
from qafila.llm_eval.service import LanguageModelService, Said, Unsaid
from qafila.workload.inference import LanguageModel
from tests.support import chat_service
from tests.support.local_model import local_model

ASK = [Message(role="user", content="Count from one to ten in words. => one two three four five")]


@pytest.fixture(params=["test service", "real model"], scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    if request.param == "test service":
        with chat_service.serving(chat_service.ChatService()) as one:
            one.key = None
            yield {"url": one.url, "model": chat_service.MODEL}
    elif language_model.missing():
        pytest.skip(f"no local language model: {language_model.missing()}")
    else:
        with local_model() as url:
            yield {"url": url, "model": language_model.MODEL}


def opened(service: dict[str, Any], **settings: Any) -> LanguageModelService:
    purse = Purse(Decimal(1), "USD")
    one = LanguageModel.model_validate({**service, **settings})
    return LanguageModelService(
        one, {"url": service["url"]}, lambda name, limits: OwnAccount(name, limits, purse)
    )


def said(answer: Said | Unsaid) -> Said:
    assert isinstance(answer, Said), answer
    return answer


def test_an_answer_streams_with_its_usage(service: dict[str, Any]) -> None:
    with opened(service, max_tokens=16) as model:
        found = said(model.ask(ASK))
    assert found.reply.text.strip()
    assert not found.estimated
    assert found.tokens_in > 4
    assert 1 <= found.tokens_out <= 16
    assert found.reply.first_s is not None
    assert found.reply.last_s is not None
    assert 0 < found.reply.first_s <= found.reply.last_s <= found.reply.total_s


def test_at_temperature_zero_the_answer_is_the_same(service: dict[str, Any]) -> None:
    with opened(service, max_tokens=8) as model:
        assert said(model.ask(ASK)).reply.text == said(model.ask(ASK)).reply.text


def test_the_most_tokens_cut_an_answer_and_say_so(service: dict[str, Any]) -> None:
    with opened(service, max_tokens=2) as model:
        found = said(model.ask(ASK))
    assert found.reply.finish == "length"
    assert found.tokens_out == 2


def test_an_unknown_model_is_said_to_be_unknown(service: dict[str, Any]) -> None:
    with opened({**service, "model": "nobody"}) as model:
        found = model.ask(ASK)
    assert isinstance(found, Unsaid)
    assert found.final


def test_without_a_stream_the_answer_comes_whole(service: dict[str, Any]) -> None:
    body = {
        "model": service["model"],
        "max_tokens": 4,
        "temperature": 0,
        "messages": [{"role": "user", "content": ASK[0].content}],
    }
    whole = httpx.post(f"{service['url']}/chat/completions", json=body, timeout=60).json()
    assert whole["choices"][0]["message"]["content"].strip()
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 4


def test_without_the_model_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(language_model, "missing", lambda: "pip install it")
    monkeypatch.setattr("sys.argv", ["language_model", "--port", "1"])
    with pytest.raises(SystemExit) as ended:
        language_model.main()
    assert ended.value.code == 4
    assert "Next:  pip install it" in capsys.readouterr().err
