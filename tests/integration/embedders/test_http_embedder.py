"""The embedder over HTTP: every fault of a provider, by a real server, and what becomes of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.embedders import requests as requesting
from qafila.embedders.careful import NOT_FINITE, UNKNOWN, Embedded, embed_carefully
from qafila.embedders.governor import Purse
from qafila.embedders.openai_compatible import OpenAIEmbedder
from qafila.errors import BackfillHalted, QafilaError, Refused, SpendCapReached
from qafila.workload.corpus import OpenAIEmbedder as Settings
from tests.support.embedding_provider import KEY, MODEL, Limiter, Provider, serving

TEXTS = [f"number {n} of some short texts about buckets and queues" for n in range(40)]
Open = Callable[..., OpenAIEmbedder]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requesting, "backoff_seconds", lambda attempt, chance: 0.01)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider(64)) as provider:
        yield provider


@pytest.fixture
def open_embedder(provider: Provider, ledger_url: str) -> Iterator[Open]:
    """Return a function that opens a worker's embedder with other settings than the default."""
    with ExitStack() as stack:

        def opened(
            connection: Mapping[str, Any] | None = None,
            cap: str = "5",
            wait: Callable[[float], None] = time.sleep,
            price: str = "1",
            **settings: Any,
        ) -> OpenAIEmbedder:
            reach = {"url": provider.url, "api_key": KEY, "timeout_seconds": 10}
            embedder = OpenAIEmbedder(
                Settings(
                    **{
                        "kind": "openai",
                        "block": "provider-x",
                        "model": MODEL,
                        "dimensions": 64,
                        "price_per_million_tokens": float(price),
                        "batch_texts": 10,
                        **settings,
                    }
                ),
                {**reach, **(connection or {})},
                ledger_url,
                Purse("docs", 1, "run-1", Decimal(cap), "USD", Decimal(price)),
                wait,
            )
            stack.callback(embedder.close)
            return embedder

        yield opened


def assert_right(provider: Provider, made: Embedded, texts: list[str] = TEXTS) -> None:
    """Every text that was not rejected has its own vector."""
    expected = provider.model.embed(texts)
    np.testing.assert_allclose(made.vectors[made.kept], expected[made.kept], atol=1e-6)


def statuses(provider: Provider) -> list[int]:
    return [a.status for a in provider.asked]


@pytest.mark.parametrize(
    "fault",
    [
        "500",
        "502",
        "503",
        "503 1",
        "504",
        "408",
        "529",
        "garbled",
        "fewer",
        "duplicate",
        "shuffled",
        "429",
        "429 1",
        "no usage",
        "unnormalised",
    ],
)
def test_a_passing_fault_costs_no_row(provider: Provider, open_embedder: Open, fault: str) -> None:
    provider.faults.extend([fault, fault])
    made = embed_carefully(open_embedder(), TEXTS)
    assert not made.rejected
    assert_right(provider, made)


def test_what_it_waits_for_is_told_until_it_is_answered(
    provider: Provider, open_embedder: Open
) -> None:
    told = []

    def wait(seconds: float) -> None:
        if embedder.waiting not in told:
            told.append(embedder.waiting)
        time.sleep(seconds)

    provider.faults.extend(["500", "fewer"])
    embedder = open_embedder(wait=wait)
    embedder.service.in_flight = 1  # of two that fail at the same moment the later one is told
    assert not embed_carefully(embedder, TEXTS).rejected
    name = embedder.service.name
    assert told == ["", f"{name}: HTTP 500: fault 500", f"{name}: 9 vectors for 10 texts"]
    assert embedder.waiting == ""


def test_a_timeout_is_tried_again_and_counted_as_expected(
    provider: Provider, open_embedder: Open, ledger: psycopg.Connection
) -> None:
    provider.faults.append("slow 1.6")
    embedder = open_embedder({"timeout_seconds": 1})
    made = embed_carefully(embedder, TEXTS[:5])
    assert not made.rejected
    assert_right(provider, made, TEXTS[:5])
    rows = ledger.execute("SELECT outcome, actual, expected FROM qafila.cost_entry ORDER BY id")
    (lost, paid, wanted), (answered, less, _) = rows.fetchall()
    assert (lost, paid, answered) == ("not answered", wanted, "answered")
    assert made.cost == paid + less  # the service may have read it, so it counts


@pytest.mark.parametrize(("fault", "reason"), [("nan", NOT_FINITE), ("zero", UNKNOWN)])
def test_a_vector_that_is_none_is_rejected_alone(
    provider: Provider, open_embedder: Open, fault: str, reason: str
) -> None:
    provider.faults.append(fault)
    made = embed_carefully(open_embedder(), TEXTS)
    assert list(made.rejected.values()) == [reason]
    assert_right(provider, made)


def test_poison_is_found_by_halves_and_everything_else_gets_in(
    provider: Provider, open_embedder: Open
) -> None:
    texts = [f"POISON {t}" if n in (3, 17, 18, 39) else t for n, t in enumerate(TEXTS)]
    made = embed_carefully(open_embedder(batch_texts=40), texts)
    assert list(made.rejected) == [3, 17, 18, 39]
    assert all("HTTP 400: input[0] is not acceptable" in r for r in made.rejected.values())
    assert_right(provider, made, texts)
    assert len(provider.asked) <= 1 + 4 * 2 * 7  # log2(40) levels of halves a row, and a probe


def test_a_service_that_refuses_everything_stops_the_load_instead_of_emptying_it(
    provider: Provider, open_embedder: Open
) -> None:
    provider.poison = ""  # is in every text
    with pytest.raises(BackfillHalted, match="even a harmless text"):
        embed_carefully(open_embedder(), TEXTS)


def test_a_service_without_base64_is_asked_in_its_own_way(
    provider: Provider, open_embedder: Open
) -> None:
    provider.base64 = False
    made = embed_carefully(open_embedder(), TEXTS)
    assert_right(provider, made)
    assert {a.encoding for a in provider.admitted} == {None}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"connection": {"api_key": "sk-wrong-9876543210"}}, Refused, "QAFILA_SECRET_PROVIDER_X"),
        ({"connection": {"api_key": None}}, Refused, "does not let us in"),
        ({"model": "large-9"}, Refused, "no such model"),
        ({"dimensions": 63}, BackfillHalted, "64 dimensions instead of 63"),
    ],
)
def test_what_no_second_try_mends_is_said_once_and_clearly(
    provider: Provider,
    open_embedder: Open,
    change: dict[str, Any],
    error: type[QafilaError],
    says: str,
) -> None:
    with pytest.raises(error) as caught:
        embed_carefully(open_embedder(**change), TEXTS[:5])
    assert says in caught.value.render()
    assert caught.value.kept
    assert caught.value.remedy
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("403", "does not let us in"),
        ("402", "nothing left"),
        ("429 quota", "nothing left"),
        ("418", "unexpected"),
        ("308", "no such model or address .HTTP 308: it moved"),
        ("429 1000000", "stay away for 278 hours"),
        ("503 1000000", "stay away for 278 hours"),
    ],
)
def test_other_refusals_stop_at_once(
    provider: Provider, open_embedder: Open, fault: str, says: str
) -> None:
    provider.faults.append(fault)
    with pytest.raises(QafilaError, match=says):
        embed_carefully(open_embedder(), TEXTS[:5])
    assert len(provider.asked) == 1


def test_a_model_that_changes_its_dimension_halts_the_load(
    provider: Provider, open_embedder: Open
) -> None:
    embedder = open_embedder()
    embed_carefully(embedder, TEXTS)
    provider.faults.append("dimension")
    with pytest.raises(BackfillHalted, match="changed the length"):
        embed_carefully(embedder, TEXTS[:5])


def test_a_service_that_stays_down_halts_the_load_after_a_bounded_number_of_tries(
    provider: Provider, open_embedder: Open
) -> None:
    provider.faults.extend(["503"] * 100)
    with pytest.raises(BackfillHalted, match="8 tries in a row") as caught:
        embed_carefully(open_embedder(), TEXTS[:5])
    assert "qafila run embedding-backfill docs" in caught.value.remedy
    assert len(provider.asked) == requesting.MOST_FAILURES


def test_nobody_there_is_a_fault_as_well(open_embedder: Open) -> None:
    with pytest.raises(BackfillHalted, match="no connection"):
        embed_carefully(open_embedder({"url": "http://127.0.0.1:9/v1"}), TEXTS[:5])


def test_a_text_that_is_too_long_is_rejected_never_cut(
    provider: Provider, open_embedder: Open
) -> None:
    provider.most_tokens, provider.cuts = 100, True  # cuts in silence what it does not read
    texts = ["short", "bucket " * 90, "bucket " * 120, "bucket " * 5000, "short too"]
    made = embed_carefully(open_embedder(text_tokens=100), texts)
    assert list(made.rejected) == [1, 2, 3]
    assert "may have been cut" in made.rejected[2]
    assert "the model reads 100 at most" in made.rejected[3]
    assert "bucket " * 5000 not in [t for a in provider.asked for t in a.texts]  # never sent
    provider.cuts = False
    refused = embed_carefully(open_embedder(text_tokens=100), texts)
    assert "HTTP 400: 135 tokens, the most is 100" in refused.rejected[2]


def test_requests_are_packed_by_tokens_over_few_connections(
    provider: Provider, open_embedder: Open
) -> None:
    texts = [f"bucket {n} " * (1 + n % 90) for n in range(200)]
    made = embed_carefully(open_embedder(batch_texts=64, batch_tokens=1000), texts)
    assert_right(provider, made, texts)
    assert all(a.tokens <= 1000 and len(a.texts) <= 64 for a in provider.asked)
    assert len({a.port for a in provider.asked}) <= 4
    assert made.tokens == sum(a.tokens for a in provider.admitted)


def test_the_cap_stops_before_it_is_crossed_and_says_what_was_spent(
    provider: Provider, open_embedder: Open, ledger: psycopg.Connection
) -> None:
    embedder = open_embedder(cap="0.001")  # a thousand tokens
    with pytest.raises(SpendCapReached) as caught:
        embed_carefully(embedder, TEXTS * 10)
    asked = Decimal(sum(a.tokens for a in provider.admitted)) / 1_000_000
    assert 0 < asked == caught.value.spent <= caught.value.cap == Decimal("0.001")
    assert "budget.spend_cap" in caught.value.remedy
    row = ledger.execute("SELECT settled, reserved FROM qafila.spending").fetchone()
    assert row == (asked, 0)
    entries = "SELECT sum(actual), min(run_id), count(*) - count(settled_at) FROM qafila.cost_entry"
    assert ledger.execute(entries).fetchone() == (asked, "run-1", 0)


@pytest.mark.timing
def test_a_stop_is_heard_within_a_second_while_the_service_hangs(
    provider: Provider, open_embedder: Open
) -> None:
    class Stopped(Exception):
        pass

    began = time.monotonic()

    def wait(seconds: float) -> None:
        if time.monotonic() - began > 0.5:
            raise Stopped
        time.sleep(min(seconds, 0.05))

    provider.faults.extend(["slow 3"] * 10)
    with pytest.raises(Stopped):
        embed_carefully(open_embedder(wait=wait), TEXTS)
    assert time.monotonic() - began < 1.5


def test_a_stop_while_it_waits_for_the_limit_gives_the_money_back(
    open_embedder: Open, ledger: psycopg.Connection
) -> None:
    class Stopped(Exception):
        pass

    def wait(seconds: float) -> None:
        if seconds > 0.2:
            raise Stopped

    embedder = open_embedder(wait=wait, tokens_per_minute=2000, text_tokens=100)
    with pytest.raises(Stopped):
        embed_carefully(embedder, TEXTS)
    assert embedder.waiting == ""
    query = "SELECT outcome, sum(actual) > 0 FROM qafila.cost_entry GROUP BY 1 ORDER BY 1"
    outcomes = dict(ledger.execute(query).fetchall())
    assert outcomes.pop("not sent") is False
    assert outcomes in ({"answered": True}, {None: None})  # the first was sent at once


def test_a_pause_by_retry_after_is_kept_by_every_worker(
    provider: Provider, open_embedder: Open
) -> None:
    one, two = open_embedder(), open_embedder()
    embed_carefully(one, TEXTS[:3])
    provider.faults.append("429 1")
    embed_carefully(one, TEXTS[:3])
    refused = next(a.at for a in provider.asked if a.status == 429)
    assert min(a.at for a in provider.asked if a.at > refused) >= refused + 0.95
    provider.asked.clear()
    one.service.governor.pause(1)
    paused = time.monotonic()
    embed_carefully(two, TEXTS[:3])  # was not told by the service, but by the ledger
    assert provider.asked[0].at >= paused + 0.95


@pytest.mark.parametrize("hint", ["seconds", "date", "none"])
def test_a_limit_that_we_were_not_told_of_is_found_and_kept(
    provider: Provider, open_embedder: Open, hint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requesting, "backoff_seconds", lambda attempt, chance: 0.1 * attempt)
    # Four requests: however slow the machine is, two of them come within a second.
    provider.limiter = Limiter("fixed", 1, 10**9, window_seconds=1.0, hint=hint)
    made = embed_carefully(open_embedder(), TEXTS)
    assert not made.rejected
    assert_right(provider, made)
    assert 429 in statuses(provider)


def test_the_key_is_nowhere(
    provider: Provider,
    open_embedder: Open,
    ledger: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.faults.extend(["400", "500"])
    embedder = open_embedder()
    embed_carefully(embedder, TEXTS)
    provider.key = "another"
    with pytest.raises(Refused) as caught:
        embed_carefully(embedder, TEXTS)
    tables = ("governor", "cost_entry", "spending", "dead_letter")
    kept = [ledger.execute(f"SELECT t::text FROM qafila.{t} AS t").fetchall() for t in tables]  # type: ignore[arg-type]
    seen = f"{caplog.text} {caught.value} {kept} {embedder.service!r} {vars(embedder.service.ask)}"
    assert KEY not in seen
    assert "sk-ve" not in seen  # nor the part of it that the service repeats
