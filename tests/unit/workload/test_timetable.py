"""Business hours and freezes: when a weight may rise, and when the next moment for it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from qafila.workload.model import Rollout
from qafila.workload.timetable import Closed, Freeze, Windows, after_open_time, closed

CASABLANCA = Windows.model_validate(
    {
        "timezone": "Africa/Casablanca",
        "days": ["mon", "tue", "wed", "thu", "fri"],
        "from": "08:00",
        "to": "18:00",
    }
)
NIGHT = Windows.model_validate(
    {"timezone": "Europe/Paris", "days": ["sat"], "from": "22:00", "to": "04:00"}
)
SALE = Freeze.model_validate(
    {"from": "2026-11-27T00:00:00+01:00", "to": "2026-11-30T12:00:00+01:00", "why": "the sale"}
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "freezes", "at", "until"),
    [
        # Morocco is at UTC+1: 08:00 there is 07:00 UTC, a Wednesday
        (CASABLANCA, [], "2026-11-25T07:00", None),
        (CASABLANCA, [], "2026-11-25T06:59", "2026-11-25T07:00"),
        (CASABLANCA, [], "2026-11-25T16:59", None),
        (CASABLANCA, [], "2026-11-25T17:00", "2026-11-26T07:00"),
        (CASABLANCA, [], "2026-11-27T17:00", "2026-11-30T07:00"),  # Friday evening: Monday
        # in Ramadan (here from 15 February 2026) at UTC+0: 08:00 there is 08:00 UTC
        (CASABLANCA, [], "2026-02-18T07:30", "2026-02-18T08:00"),
        (CASABLANCA, [], "2026-02-18T17:30", None),
        # over midnight: begins on Saturday 22:00 in Paris (UTC+1), ends on Sunday 04:00
        (NIGHT, [], "2026-11-28T20:59", "2026-11-28T21:00"),
        (NIGHT, [], "2026-11-29T02:59", None),
        (NIGHT, [], "2026-11-29T03:00", "2026-12-05T21:00"),
        # the night in which Paris loses an hour: 04:00 is already 02:00 UTC
        (NIGHT, [], "2026-03-29T01:59", None),
        (NIGHT, [], "2026-03-29T02:00", "2026-04-04T20:00"),
        # a freeze alone, and one that ends while the hours are open
        (None, [SALE], "2026-11-26T23:00", "2026-11-30T11:00"),
        (None, [SALE], "2026-11-30T11:00", None),
        (CASABLANCA, [SALE], "2026-11-28T12:00", "2026-11-30T11:00"),
        (None, [], "2026-11-28T12:00", None),
    ],
)
def test_open_or_until(
    windows: Windows | None, freezes: list[Freeze], at: str, until: str | None
) -> None:
    shut = closed(utc(at), windows, freezes)
    if until is None:
        assert shut is None
    else:
        assert shut is not None
        assert shut.until == utc(until)


def test_the_sentence_says_why_and_until_when() -> None:
    evening = closed(utc("2026-11-25T18:00"), CASABLANCA, [])
    assert evening is not None
    assert evening.sentence == "outside business hours until Thu 26 Nov 08:00 +01"
    sale = closed(utc("2026-11-28T12:00"), None, [SALE])
    assert sale is not None
    assert sale.sentence == "frozen (the sale) until Mon 30 Nov 11:00 UTC"
    assert Closed("frozen", None).sentence == "frozen, and no opening is in sight"


moments = st.datetimes(datetime(2025, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))
clocks = st.builds(lambda h, m: f"{h:02}:{m:02}", st.integers(0, 23), st.integers(0, 59))
some_windows = st.builds(
    lambda zone, days, begin, end: Windows.model_validate(
        {"timezone": zone, "days": days, "from": begin, "to": end}
    ),
    st.sampled_from(
        ["UTC", "Africa/Casablanca", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"]
    ),
    st.lists(
        st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1, unique=True
    ),
    clocks,
    clocks,
)
some_freezes = st.lists(
    st.builds(
        lambda at, hours: Freeze.model_validate(
            {"from": at, "to": at + timedelta(hours=hours), "why": "frozen"}
        ),
        moments,
        st.integers(1, 2000),
    ),
    max_size=3,
)


@given(moments, some_windows, some_freezes)
def test_an_opening_is_open_and_nothing_before_it_is(
    at: datetime, windows: Windows, freezes: list[Freeze]
) -> None:
    shut = closed(at, windows, freezes)
    if shut is None:
        return
    assert shut.until is not None
    assert shut.until > at
    assert closed(shut.until, windows, freezes) is None
    for part in (0.25, 0.5, 0.99):
        between = at + (shut.until.astimezone(UTC) - at) * part
        assert closed(between, windows, freezes) is not None


@given(moments, some_windows)
def test_open_is_what_the_clock_on_the_wall_says(at: datetime, windows: Windows) -> None:
    there = at.astimezone(ZoneInfo(windows.timezone))
    clock, names = there.strftime("%H:%M"), ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    today, yesterday = names[there.weekday()], names[there.weekday() - 1]
    begin, end = windows.from_, windows.to
    if begin < end:
        expected = today in windows.days and begin <= clock < end
    else:
        expected = (today in windows.days and clock >= begin) or (
            yesterday in windows.days and clock < end
        )
    offsets = {
        (there + timedelta(hours=h)).astimezone(UTC).astimezone(there.tzinfo).utcoffset()
        for h in (-3, 3)
    }
    if len(offsets) == 1:  # an hour that comes twice or never is nobody's to argue about
        assert (closed(at, windows, []) is None) == expected


@settings(deadline=None, max_examples=40)  # minutes a week take many steps
@given(moments, st.floats(1, 100_000), some_windows, some_freezes)
def test_a_deadline_counts_open_time_only(
    at: datetime, seconds: float, windows: Windows, freezes: list[Freeze]
) -> None:
    end = after_open_time(at, seconds, windows, freezes)
    assert end >= at + timedelta(seconds=seconds) - timedelta(milliseconds=1)
    assert after_open_time(at, seconds, None, []) == at + timedelta(seconds=seconds)


def test_a_deadline_skips_the_night() -> None:
    # 30 minutes before closing, an hour is left: half of it counts tomorrow morning
    assert after_open_time(utc("2026-11-25T16:30"), 3600, CASABLANCA, []) == utc("2026-11-26T07:30")


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"windows": {"timezone": "Africa/Atlantis"}}, "not a time zone"),
        ({"windows": {"from": "8 am"}}, "from"),
        ({"windows": {"days": []}}, "days"),
        ({"windows": {"opens": "08:00"}}, "opens"),
        (
            {
                "freezes": [
                    {
                        "from": "2026-12-24T00:00:00",
                        "to": "2026-12-26T00:00:00+01:00",
                        "why": "no offset",
                    }
                ]
            },
            "timezone",
        ),
        (
            {
                "freezes": [
                    {
                        "from": "2026-12-26T00:00:00+01:00",
                        "to": "2026-12-24T00:00:00+01:00",
                        "why": "back to front",
                    }
                ]
            },
            "to must be after from",
        ),
    ],
)
def test_what_a_file_may_not_say(part: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Rollout.model_validate(part)


def test_what_the_ledger_keeps_is_read_back() -> None:
    rollout = Rollout(windows=CASABLANCA, freezes=[SALE], approve_above=[50, 5])
    kept = rollout.model_dump(mode="json")
    assert kept["windows"]["from"] == "08:00"
    assert Rollout.model_validate(kept) == rollout
    assert rollout.approval_weights == (5, 50)
