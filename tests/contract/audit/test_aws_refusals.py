"""What happens to an audit of AWS that is refused, cut off or fed with nonsense on the way."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.exceptions import NoRegionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.aws_answers import refusal, spelled
from blocks.aws import AwsAccount
from qafila.audit.collectors import COLLECTORS, Account, Collector, Limits
from qafila.audit.collectors.aws_refusals import Standing
from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.read import aws_places, read_places
from qafila.audit.estate import Collected, Outcome, Resource
from qafila.demo.estate import Estate, seed_estate
from qafila.embedders.request_rate import DEFAULT, Rate
from tests.support.aws import (
    Answer,
    answering,
    protocol_of_request,
    running_moto,
    saying,
    session_of,
    session_with,
)

BY_NAME = {c.name: c for c in COLLECTORS}
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
UNPAGED = {"opensearch"}  # its lists come whole
each = pytest.mark.parametrize("collector", COLLECTORS, ids=lambda c: c.name)


@pytest.fixture(scope="module")
def estate() -> Iterator[Estate]:
    with running_moto() as url:
        yield seed_estate(url)


def unhurried() -> Pacing:
    """Return a pacing that waits for nothing."""
    return Pacing({DEFAULT: Rate(1e6, 10_000)}, sleep=lambda _: None)


def collect(
    name: str,
    estate: Estate,
    answer: Callable[[Any], Answer | None] = lambda _: None,
    **more: Any,
) -> Collected:
    look = Account(
        answering(session_of(estate), answer),
        estate.regions[0],
        **{"endpoint_url": estate.endpoint_url, "pacing": unhurried(), "now": lambda: NOW} | more,
    )
    return BY_NAME[name].collect(look)


def after(calls: int, then: Callable[[Any], Answer]) -> Callable[[Any], Answer | None]:
    """Let the service answer so many calls, and ``then`` every further one."""
    made = iter(range(calls))
    return lambda request: None if next(made, None) is not None else then(request)


def test_credentials_that_expire_in_the_middle_keep_what_was_read(estate: Estate) -> None:
    whole = collect("sqs", estate)
    # the list, then two calls for each queue
    one_by_one = Limits(at_once=1)
    part = collect("sqs", estate, after(5, saying(400, "ExpiredToken")), limits=one_by_one)
    assert part.outcome is Outcome.DENIED
    assert "the credentials expired after 5 calls" in part.missed
    assert 0 < len(part.resources) < len(whole.resources)
    assert part.calls <= 7  # it ends there, and asks the others nothing
    side_by_side = collect("sqs", estate, after(5, saying(400, "ExpiredToken")))
    assert side_by_side.missed.count("the credentials expired") == 1
    assert side_by_side.calls <= 5 + 4


@each
def test_no_collector_goes_on_once_its_credentials_are_gone(
    collector: Collector, estate: Estate
) -> None:
    seen = collect(collector.name, estate, saying(400, "ExpiredTokenException"))
    assert (seen.outcome, seen.calls) == (Outcome.DENIED, 1)
    assert seen.missed.count("the credentials expired after 0 calls") == 1


def test_an_audit_whose_credentials_expire_on_the_way_has_an_outcome_for_every_collector(
    estate: Estate,
) -> None:
    some = [BY_NAME[name] for name in ("sqs", "lambda", "dynamodb", "s3", "rds")]
    whole = {c.name: collect(c.name, estate) for c in some}
    block = block_of(estate)
    session = answering(block.session(), after(20, saying(400, "ExpiredTokenException")))
    block.__dict__["session"] = lambda: session
    places = aws_places(block, [estate.regions[0]], pacing=unhurried(), collectors=some)
    seen = read_places(places, concurrency=2)
    assert [s.collector for s in seen] == [c.name for c in some]
    ended = [s for s in seen if "the credentials expired after" in s.missed]
    assert {s.outcome for s in ended} == {Outcome.DENIED}
    assert all("Renew them, or use a role" in s.missed for s in ended)
    kept = [s for s in seen if s not in ended]
    assert min(len(ended), len(kept)) > 0
    for part in seen:
        read = {r.id for r in whole[part.collector].resources}
        assert {r.id for r in part.resources} <= read
        assert part in ended or {r.id for r in part.resources} == read


@each
@pytest.mark.parametrize(
    ("status", "code", "outcome", "says"),
    [
        (429, "Throttling", Outcome.THROTTLED, "Throttling"),
        (403, "OptInRequired", Outcome.UNSUPPORTED, "is not enabled for this account"),
        (403, "RequestTimeTooSkewed", Outcome.DENIED, "the clock of this machine"),
    ],
)
def test_what_is_refused_for_good_ends_and_is_never_an_empty_account(
    collector: Collector, status: int, code: str, outcome: Outcome, says: str, estate: Estate
) -> None:
    seen = collect(collector.name, estate, saying(status, code), limits=Limits(retries=2))
    assert (seen.outcome, seen.resources) == (outcome, ())
    assert says in seen.missed
    if outcome is not Outcome.THROTTLED:
        assert seen.calls == 1  # every further call would end the same way


@each
def test_a_list_that_is_cut_is_never_complete(collector: Collector, estate: Estate) -> None:
    whole, cut = (collect(collector.name, estate, limits=Limits(pages=n)) for n in (200, 0))
    assert {r.id for r in cut.resources} <= {r.id for r in whole.resources}
    if collector.name in UNPAGED:
        assert cut.outcome is whole.outcome
    elif whole.outcome is Outcome.COMPLETE:
        assert cut.outcome is Outcome.TRUNCATED
        assert "more than 0 pages" in cut.missed


@pytest.mark.parametrize(
    ("code", "minutes", "says"),
    [
        ("RequestTimeTooSkewed", 17, "is 17 min behind AWS's"),
        ("SignatureDoesNotMatch", -40, "is 40 min ahead of AWS's"),
        ("InvalidSignatureException", 12, "is 12 min behind AWS's"),
        ("ExpiredToken", 90, "is 90 min behind AWS's"),
    ],
)
def test_a_wrong_clock_is_told_with_what_to_do(
    code: str, minutes: int, says: str, estate: Estate
) -> None:
    date = format_datetime(NOW + timedelta(minutes=minutes), usegmt=True)
    answer = (*spelled("query", 403, code)[:2], {"Date": date})
    seen = collect("rds", estate, lambda _: answer)
    assert (seen.outcome, seen.calls) == (Outcome.DENIED, 1)
    assert says in seen.missed
    assert "timedatectl set-ntp true" in seen.missed


def test_a_wrong_secret_is_no_wrong_clock(estate: Estate) -> None:
    date = format_datetime(NOW, usegmt=True)
    answer = (*spelled("query", 403, "SignatureDoesNotMatch")[:2], {"Date": date})
    seen = collect("rds", estate, lambda _: answer)
    assert seen.outcome is Outcome.DENIED
    assert "clock" not in seen.missed


def test_a_region_that_is_known_to_be_off_is_not_asked(estate: Estate) -> None:
    seen = collect("rds", estate, standing=Standing(True, enabled=False))
    assert (seen.outcome, seen.calls) == (Outcome.UNSUPPORTED, 0)
    assert f"region {estate.regions[0]} is not enabled for this account" in seen.missed


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "InvalidClientTokenId"])
def test_keys_that_work_elsewhere_point_at_the_region(code: str, estate: Estate) -> None:
    answer = saying(403, code)
    here = collect("rds", estate, answer, standing=Standing(keys_work=True))
    assert here.outcome is Outcome.UNSUPPORTED
    assert "is not enabled for this account" in here.missed
    assert "the same keys work elsewhere" in here.missed
    unknown = collect("rds", estate, answer)
    assert unknown.outcome is Outcome.DENIED
    assert "region" not in unknown.missed


@each
def test_a_fifth_of_the_calls_throttled_loses_nothing(collector: Collector, estate: Estate) -> None:
    chance = random.Random(collector.name)
    refused = 0

    def answer(request: Any) -> Answer | None:
        nonlocal refused
        if chance.random() >= 0.2:
            return None
        refused += 1
        return refusal(protocol_of_request(request), "throttled")

    whole = collect(collector.name, estate)
    seen = collect(collector.name, estate, answer)
    assert seen.outcome is whole.outcome
    assert seen.resources == whole.resources
    if whole.outcome is not Outcome.UNSUPPORTED:  # a fault of the server is asked again, too
        assert seen.calls == whole.calls + refused


def test_an_endless_throttle_ends_by_itself(estate: Estate) -> None:
    seen = collect("sqs", estate, saying(429, "Throttling"), limits=Limits(retries=4))
    assert (seen.outcome, seen.calls) == (Outcome.THROTTLED, 5)


def test_a_tag_of_ten_megabytes_is_cut_and_noted(estate: Estate) -> None:
    huge = b'{"Tags": {"note": "%s", "app": "orders"}}' % (b"x" * 10_000_000)
    seen = collect("sqs", estate, lambda r: (200, huge) if b"ListQueueTags" in target(r) else None)
    assert seen.outcome is Outcome.COMPLETE
    assert "tag note of arn:aws:sqs" in seen.missed
    assert "cut, with a mark" in seen.missed
    for queue in seen.resources:
        assert len(queue.tags["note"]) < 1100
        assert queue.tags["note"].endswith("(cut: 10000000 characters)")
        assert queue.tags["app"] == "orders"


def test_a_tag_of_ten_megabytes_in_a_list_is_cut_too(estate: Estate) -> None:
    key, value = "k" * 1000, "x" * 10_000_000
    tag = f"<item><key>{key}</key><value>&lt;b&gt;{value}</value></item>"
    huge = (
        "<DescribeVolumesResponse><volumeSet><item><volumeId>vol-1</volumeId><size>8</size>"
        "<volumeType>gp3</volumeType><status>available</status><availabilityZone>eu-west-3a"
        f"</availabilityZone><tagSet>{tag}</tagSet></item></volumeSet></DescribeVolumesResponse>"
    ).encode()
    seen = collect("ec2", estate, lambda r: (200, huge) if "DescribeVolumes" in body(r) else None)
    [disk] = [r for r in seen.resources if r.id == "vol-1"]
    [(kept_key, kept)] = disk.tags.items()
    assert kept_key.endswith("(cut: 1000 characters)")
    assert kept.startswith("<b>x")
    assert kept.endswith("(cut: 10000003 characters)")
    assert len(kept_key) + len(kept) < 1400
    assert "of vol-1: longer than is kept" in seen.missed


def body(request: Any) -> str:
    """Return the form that a request carries; the SDK keeps it as bytes or as text."""
    sent = request.body or b""
    return sent.decode() if isinstance(sent, bytes) else str(sent)


def target(request: Any) -> bytes:
    name = request.headers.get("X-Amz-Target", b"")
    return name if isinstance(name, bytes) else name.encode()


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503]), max_size=12))
def test_whatever_is_answered_a_collector_never_raises_nor_loses_what_it_read(
    statuses: list[int],
) -> None:
    def read(look: Account) -> None:
        client = look.client("sqs")
        for number in range(len(statuses)):
            with look.tolerating(f"thing {number}"):
                client.list_queues()
                look.found.append(Resource(str(number), "k", "n", "r"))

    session = session_with("k", "s", "eu-west-3")
    given_ = iter(statuses)
    answering(session, lambda _: (next(given_, 200), b"{}"))
    look = Account(session, "eu-west-3", pacing=unhurried(), limits=Limits(attempts=1))
    seen = Collector("any", "aws", "region", (), read).collect(look)
    assert len(seen.resources) == statuses.count(200)
    assert (seen.outcome is Outcome.COMPLETE) == (set(statuses) <= {200})
    assert seen.calls == len(statuses)


def block_of(estate: Estate, **more: Any) -> AwsAccount:
    return AwsAccount(
        regions=list(estate.regions),
        endpoint_url=estate.endpoint_url,
        access_key_id=estate.access_key_id,
        secret_access_key=estate.secret_access_key,
        **more,
    )


def test_all_collectors_at_once_see_what_they_see_one_by_one(estate: Estate) -> None:
    patient = Limits(timeout_s=120)  # a busy machine is no refusal
    places = aws_places(block_of(estate), pacing=unhurried(), limits=patient)
    threads = set()
    at_once = read_places(places, concurrency=16, done=lambda _: threads.add(threading.get_ident()))
    assert len(threads) > 1
    for seen in at_once:
        alone = BY_NAME[seen.collector].collect(places[0].look())
        assert seen.resources == alone.resources
        assert seen.calls == alone.calls
        assert seen.account == "123456789012"
        assert {r.account for r in seen.resources} <= {"123456789012"}
        assert (seen.outcome, seen.missed) == (alone.outcome, alone.missed)


def test_a_region_that_is_switched_off_is_named_without_a_call(estate: Estate) -> None:
    off = "me-south-1"  # opt-in, as moto lists it
    places = aws_places(block_of(estate), [off, estate.regions[0]], pacing=unhurried())
    seen = read_places([p for p in places if p.region == off])
    assert {(s.outcome, s.calls) for s in seen} == {(Outcome.UNSUPPORTED, 0)}
    assert all(f"region {off} is not enabled" in s.missed for s in seen)
    once = [c.name for p in places if p.region != off for c in p.collectors]
    assert {"s3", "iam"} <= set(once)


def test_an_account_is_asked_in_another_region_where_the_first_is_off(estate: Estate) -> None:
    block = block_of(estate)
    session = answering(
        block.session(),
        lambda r: saying(403, "AuthFailure")(r) if b"me-south-1" in signature(r) else None,
    )
    block.__dict__["session"] = lambda: session
    places = aws_places(block, ["me-south-1", estate.regions[0]], pacing=unhurried())
    assert {p.account for p in places} == {"123456789012"}
    assert "is not enabled" in BY_NAME["rds"].collect(places[0].look()).missed


def signature(request: Any) -> bytes:
    signed = request.headers["Authorization"]
    return signed if isinstance(signed, bytes) else signed.encode()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["read", "refused", "raises"]), max_size=30), st.integers(1, 6))
def test_items_side_by_side_are_always_what_they_are_one_by_one(
    items: list[str], at_once: int
) -> None:
    def work(look: Account, item: tuple[int, str]) -> None:
        number, what = item
        with look.tolerating(f"thing {number}"):
            if what == "refused":
                raise NoRegionError
        if what == "raises":
            raise NoRegionError
        look.found.append(Resource(str(number), "k", "n", "r"))

    def seen(limits: Limits) -> Collected:
        look = Account(None, "eu-west-3", pacing=unhurried(), limits=limits)
        collector = Collector(
            "any", "aws", "region", (), lambda look: look.each(enumerate(items), work)
        )
        return collector.collect(look)

    one_by_one, side_by_side = seen(Limits(at_once=1)), seen(Limits(at_once=at_once))
    until = items.index("raises") if "raises" in items else len(items)
    expected = [str(n) for n, what in enumerate(items[:until]) if what != "raises"]
    for collected in (one_by_one, side_by_side):
        assert [r.id for r in collected.resources][: len(expected)] == expected
        assert (collected.outcome is Outcome.COMPLETE) == (set(items) <= {"read"})
