"""A large bucket's size by its inventory report: which one, how old, and when another source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.aws_answers import spelled
from qafila.audit.collectors import aws_s3, aws_s3_inventory, read_only_policy
from qafila.audit.collectors.aws_s3_manifest import Unusable, folder_of, manifest_of
from qafila.audit.estate import Outcome, Resource
from tests.support.aws import protocol_of_request, running_moto
from tests.support.aws_reading import REGION, World, kinds, seen_by, told
from tests.support.s3_inventory import (
    CSV_CURRENT,
    PARQUET_SCHEMA,
    Entry,
    Report,
    configure,
    csv_file,
    parquet_file,
)

_serial = count(1)
KEYS = ("a b/café.txt", 'quote"comma,.json', "dir/.md", "photo.JPG", "notes.MD", "plain")
# current: 7 + 11 + 13 + 1000 + 17 + 19; earlier versions: 500 + 23; a delete marker has no size
ENTRIES = [
    *(Entry(key, size) for key, size in zip(KEYS, (7, 11, 13, 1000, 17, 19), strict=True)),
    Entry("a b/café.txt", 500, latest=False),
    Entry("gone.txt", 23, latest=False),
    Entry("gone.txt", None),
]
CURRENT, EARLIER = 1067, 523
TEXT = 7 + 11 + 17  # a file that is only a suffix has none


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_moto() as url:
        yield World(url)


@dataclass
class Place:
    """A bucket that is too large to be listed, and where its reports go."""

    world: World
    name: str
    reports: str

    @property
    def s3(self) -> Any:
        return self.world.client("s3")

    def deliver(self, *reports: Report, **configured: Any) -> None:
        folder = configure(self.s3, self.name, self.reports, **configured)
        for report in reports:
            report.put(self.s3, self.reports, folder)

    def seen(self, session: Any = None) -> tuple[Outcome, Resource, str]:
        found = seen_by("s3", self.world.url, with_session=session)
        return found.outcome, kinds(found)["s3:bucket"][self.name], found.missed


def new_place(world: World) -> Place:
    number = next(_serial)
    place = Place(world, f"shop-{number}", f"reports-{number}")
    for name in (place.name, place.reports):
        place.s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
    for key in ("1.txt", "2.txt", "3.txt", "4.txt"):
        place.s3.put_object(Bucket=place.name, Key=key, Body=b"12345")
    return place


def clear(place: Place) -> None:
    """Take its buckets away: each look lists every bucket there is."""
    for name in (place.name, place.reports):
        for item in place.s3.list_objects_v2(Bucket=name).get("Contents", []):
            place.s3.delete_object(Bucket=name, Key=item["Key"])
        place.s3.delete_bucket(Bucket=name)


@pytest.fixture
def place(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(aws_s3, "_EXACT", 2)
    place = new_place(world)
    yield place
    clear(place)


def ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def report(place: Place, hours: float = 30, **more: Any) -> Report:
    files = more.pop("files", None)
    halves = (ENTRIES[:4], ENTRIES[4:])
    return Report(
        place.name,
        ago(hours),
        [csv_file(place.name, half) for half in halves] if files is None else files,
        **more,
    )


def test_a_report_in_csv_counts_versions_and_text_and_tells_its_age(place: Place) -> None:
    place.deliver(report(place))
    outcome, bucket, missed = place.seen()
    assert (outcome, missed) == (Outcome.COMPLETE, "")
    assert bucket.size_bytes == CURRENT + EARLIER
    facts = bucket.facts
    assert (facts["size_is"], facts["objects"]) == ("inventory report", 6)
    assert (facts["earlier_objects"], facts["earlier_measured_bytes"]) == (2, EARLIER)
    assert (facts["text_objects"], facts["text_bytes"]) == (3, TEXT)
    assert "text_is" not in facts  # of all, and not of the first ones
    assert facts["age_hours"] == pytest.approx(30, abs=0.5)
    assert datetime.fromisoformat(facts["measured_at"]) == pytest.approx(
        ago(30), abs=timedelta(minutes=30)
    )
    assert "inventory_not_used" not in facts
    assert "café" not in repr(bucket)


def test_a_report_in_parquet_counts_the_same(place: Place) -> None:
    files = [parquet_file(place.name, ENTRIES[:4]), parquet_file(place.name, ENTRIES[4:])]
    place.deliver(
        report(place, files=files, format="Parquet", schema=PARQUET_SCHEMA), file_format="Parquet"
    )
    _, bucket, _ = place.seen()
    assert (bucket.size_bytes, bucket.facts["size_is"]) == (CURRENT + EARLIER, "inventory report")
    assert (bucket.facts["text_bytes"], bucket.facts["objects"]) == (TEXT, 6)


def test_a_report_of_current_versions_has_no_earlier_ones(place: Place) -> None:
    files = [csv_file(place.name, ENTRIES[:6], versions=False)]
    place.deliver(report(place, files=files, schema=CSV_CURRENT))
    _, bucket, _ = place.seen()
    assert (bucket.size_bytes, bucket.facts["earlier_objects"]) == (CURRENT, 0)


@pytest.mark.parametrize("prefix", ["", "deep/down", "ends-with/"])
def test_reports_are_found_under_any_prefix(place: Place, prefix: str) -> None:
    place.deliver(report(place), prefix=prefix)
    _, bucket, _ = place.seen()
    assert bucket.facts["size_is"] == "inventory report"


def test_the_newest_whole_report_counts(place: Place) -> None:
    small = [csv_file(place.name, [Entry("only.txt", 999)])]
    place.deliver(
        report(place, 50, files=small),
        report(place, 30),
        report(place, 5, files=small, checksum=False),  # its last file is not there yet
    )
    place.deliver(report(place, 40, files=small), name="weekly")
    _, bucket, _ = place.seen()
    assert bucket.size_bytes == CURRENT + EARLIER
    assert bucket.facts["age_hours"] == pytest.approx(30, abs=0.5)


UNUSED: dict[str, tuple[Callable[[Place], None], str]] = {
    "old": (lambda p: p.deliver(report(p, 9 * 24)), "no inventory report of the last 8 days"),
    "none yet": (lambda p: p.deliver(), "no inventory report of the last 8 days"),
    "not whole": (lambda p: p.deliver(report(p, checksum=False)), "a file is missing"),
    "no data": (lambda p: p.deliver(report(p, data=False)), "a file is missing"),
    "spoilt": (lambda p: p.deliver(report(p, spoilt=True)), "not what the manifest says"),
    "part": (lambda p: p.deliver(report(p), part="logs/"), "of a part of it"),
    "off": (lambda p: p.deliver(report(p), enabled=False), "switched off"),
    "orc": (lambda p: p.deliver(report(p, format="ORC"), file_format="ORC"), "ORC"),
    "no sizes": (lambda p: p.deliver(report(p, schema="Bucket, Key")), "does not hold sizes"),
    "no rows": (lambda p: p.deliver(report(p, files=[b"no gzip"])), "not in the published form"),
    "others": (
        lambda p: p.deliver(report(p, files=[csv_file("another", ENTRIES)])),
        "of other buckets",
    ),
    "less": (
        lambda p: p.deliver(report(p, files=[csv_file(p.name, [Entry("1.txt", 5)])])),
        "less than stands there now",
    ),
}


@pytest.fixture(scope="module")
def unused(world: World) -> dict[str, Resource]:
    """One bucket for each case, and one look at all of them."""
    places = {case: new_place(world) for case in UNUSED}
    for case, (deliver, _) in UNUSED.items():
        deliver(places[case])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(aws_s3, "_EXACT", 2)
        seen = seen_by("s3", world.url)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    buckets = kinds(seen)["s3:bucket"]
    for place in places.values():
        clear(place)
    return {case: buckets[place.name] for case, place in places.items()}


@pytest.mark.parametrize("case", UNUSED)
def test_what_cannot_be_used_is_said_and_another_source_tells_the_size(
    unused: dict[str, Resource], case: str
) -> None:
    facts = unused[case].facts
    assert UNUSED[case][1] in facts["inventory_not_used"]
    assert facts["size_is"] == "storage metric"
    assert unused[case].size_bytes != CURRENT + EARLIER
    assert "earlier_objects" not in facts


def test_a_report_larger_than_is_fetched_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_s3_inventory, "MOST_BYTES", 100)
    place.deliver(report(place))
    _, bucket, _ = place.seen()
    assert "more than 100" in bucket.facts["inventory_not_used"]


def test_a_bucket_without_an_inventory_says_nothing_of_one(place: Place) -> None:
    _, bucket, _ = place.seen()
    assert "inventory_not_used" not in bucket.facts


@pytest.mark.parametrize("closed", ["inventory", "manifest.json", "data"])
def test_no_leave_to_read_a_report_is_named_and_spoils_nothing(place: Place, closed: str) -> None:
    place.deliver(report(place))

    def refuse(request: Any) -> tuple[int, bytes] | None:
        path, _, query = request.url.partition("?")
        asked = query == "inventory" if closed == "inventory" else f"/{closed}" in path
        return spelled(protocol_of_request(request), 403, "AccessDenied") if asked else None

    outcome, bucket, missed = place.seen(told(refuse))
    assert outcome is Outcome.COMPLETE
    assert bucket.facts["size_is"] == "storage metric"
    assert "AccessDenied" in bucket.facts["inventory_not_used"]
    assert "s3 inventory of shop-" in missed


def test_credentials_that_expire_there_end_the_look(place: Place) -> None:
    place.deliver(report(place))

    def expire(request: Any) -> tuple[int, bytes] | None:
        expired = "manifest.checksum" in request.url
        return spelled(protocol_of_request(request), 400, "ExpiredToken") if expired else None

    seen = seen_by("s3", place.world.url, with_session=told(expire))
    assert seen.outcome is Outcome.DENIED
    assert "expired" in seen.missed


def test_a_small_bucket_is_listed_whatever_a_report_says(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_s3, "_EXACT", 100)
    place.deliver(report(place))
    _, bucket, _ = place.seen()
    assert (bucket.size_bytes, bucket.facts["size_is"]) == (20, "listed")


def test_the_policy_opens_where_reports_go_and_no_other_object() -> None:
    [alone] = read_only_policy()["Statement"]  # type: ignore[misc]
    assert "s3:GetInventoryConfiguration" in alone["Action"]
    assert "s3:GetObject" not in alone["Action"]
    [_, opened] = read_only_policy(inventories=("reports/of/shop", "more"))["Statement"]  # type: ignore[misc]
    assert opened == {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": ["arn:aws:s3:::more/*", "arn:aws:s3:::reports/of/shop/*"],
    }


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)) | st.binary(max_size=200))
def test_what_is_no_manifest_is_never_one(content: Any) -> None:
    raw = content if isinstance(content, bytes) else repr(content).encode()
    with pytest.raises(Unusable):
        manifest_of(raw, b"0" * 32, "shop", "shop/all/")
    digest = hashlib.md5(raw).hexdigest().encode()
    with pytest.raises(Unusable):
        manifest_of(raw, digest, "shop", "shop/all/")


@given(key=st.text(min_size=1, max_size=40))
def test_nothing_outside_the_reports_own_folder_is_ever_read(key: str) -> None:
    content = json.dumps(
        {
            "sourceBucket": "shop",
            "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, Size",
            "creationTimestamp": "1795773600000",
            "files": [{"key": key, "size": 1, "MD5checksum": "0" * 32}],
        }
    ).encode()
    folder = folder_of({"Prefix": "p"}, "shop", "all")
    digest = hashlib.md5(content).hexdigest().encode()
    try:
        [file] = manifest_of(content, digest, "shop", folder).files
    except Unusable:
        return
    assert file.key.startswith("p/shop/all/data/")
    assert "/" not in file.key.removeprefix("p/shop/all/data/")
