"""When a rollout may go up: business hours and freezes. Pure: the moment is an argument.

Coming down is always allowed and asks nobody here. Hours are those of the wall clock in their time
zone: a change to summer time, or Morocco's change for Ramadan, moves them as it moves people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, ConfigDict, Field, field_validator, model_validator

from qafila.workload.corpus import Model

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOOK_AHEAD = 400  # changes from open to closed and back; beyond that nobody plans


class _Span(Model):
    """``from`` is a word of Python's, so the field has another name inside."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Windows(_Span):
    """Hours in which weights may rise."""

    timezone: str = Field("UTC", description="Name of a time zone, for instance Africa/Casablanca.")
    days: list[Day] = Field(
        ["mon", "tue", "wed", "thu", "fri"],
        min_length=1,
        description="Days on which the hours begin: mon, tue, wed, thu, fri, sat, sun.",
    )
    from_: Clock = Field("08:00", alias="from", description="First minute, HH:MM.")
    to: Clock = Field(
        "18:00", description="Last minute, excluded; not after `from`: it is of the next day."
    )

    @field_validator("timezone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"{name!r} is not a time zone") from error
        return name


class Freeze(_Span):
    """A time in which no weight rises, for instance a sale or a holiday."""

    from_: AwareDatetime = Field(
        alias="from", description="First moment, with its offset: 2026-12-20T00:00:00+01:00."
    )
    to: AwareDatetime = Field(description="Last moment, excluded, with its offset.")
    why: str = Field(min_length=3, max_length=200, description="Shown while the rollout holds.")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Freeze:
        if self.to <= self.from_:
            raise ValueError("to must be after from")
        return self


@dataclass(frozen=True)
class Closed:
    """Weights may not rise now; ``until`` is when they may, None when that is nowhere in sight."""

    because: str
    until: datetime | None

    @property
    def sentence(self) -> str:
        if self.until is None:
            return f"{self.because}, and no opening is in sight"
        return f"{self.because} until {self.until:%a %d %b %H:%M %Z}"


def closed(at: datetime, windows: Windows | None, freezes: Sequence[Freeze]) -> Closed | None:
    """Return why weights may not rise at that moment, and until when; None: they may.

    ``until`` is the next moment at which neither a freeze nor the hours forbid it, in the time
    zone of the hours (UTC without hours).
    """
    if (why := _shut(at, windows, freezes)) is None:
        return None
    zone = ZoneInfo(windows.timezone) if windows else UTC
    moment: datetime | None = at
    for _ in range(_LOOK_AHEAD):
        assert moment is not None
        shut = _shut(moment, windows, freezes)
        if shut is None:
            return Closed(why[0], moment.astimezone(zone))
        moment = shut[1]
        if moment is None:
            break
    return Closed(why[0], None)


def after_open_time(
    at: datetime, seconds: float, windows: Windows | None, freezes: Sequence[Freeze]
) -> datetime:
    """Return the moment by which that many seconds of open time have passed since ``at``.

    Where no opening is in sight the closed time is counted as open, so that there is an end.
    """
    left = timedelta(seconds=seconds)
    moment = at.astimezone(UTC)
    for _ in range(_LOOK_AHEAD):
        if (shut := closed(moment, windows, freezes)) is not None:
            if shut.until is None:
                break
            moment = shut.until.astimezone(UTC)
        end = _open_until(moment, windows, freezes)
        if end is None or end - moment >= left:
            break
        left -= end - moment
        moment = end
    return moment + left


# -- inside ------------------------------------------------------------------------------------


def _shut(
    at: datetime, windows: Windows | None, freezes: Sequence[Freeze]
) -> tuple[str, datetime | None] | None:
    """Return one reason that holds at this moment and when that reason ends."""
    for freeze in freezes:
        if freeze.from_ <= at < freeze.to:
            return f"frozen ({freeze.why})", freeze.to
    if windows is None or any(begin <= at < end for begin, end in _hours(windows, at)):
        return None
    later = [begin for begin, _ in _hours(windows, at) if begin > at]
    return "outside business hours", min(later, default=None)


def _open_until(
    at: datetime, windows: Windows | None, freezes: Sequence[Freeze]
) -> datetime | None:
    """Return when an open moment's opening ends; None: never."""
    ends = [freeze.from_ for freeze in freezes if freeze.from_ > at]
    if windows is not None:
        ends += [end for begin, end in _hours(windows, at) if begin <= at < end]
    return min(ends).astimezone(UTC) if ends else None


def _hours(windows: Windows, at: datetime) -> list[tuple[datetime, datetime]]:
    """Return the openings of the days around a moment, in UTC; empty ones left out.

    An hour that a change of the clocks skips is the one after it; one that comes twice, the first.
    """
    zone = ZoneInfo(windows.timezone)
    today = at.astimezone(zone).date()
    found = []
    for offset in range(-2, 9):
        day = today + timedelta(days=offset)
        if _DAYS[day.weekday()] not in windows.days:
            continue
        begin = _moment(day, windows.from_, zone)
        end = _moment(
            day + timedelta(days=_minutes(windows.to) <= _minutes(windows.from_)), windows.to, zone
        )
        if begin < end:
            found.append((begin, end))
    return found


def _moment(day: date, clock: str, zone: ZoneInfo) -> datetime:
    minutes = _minutes(clock)
    day += timedelta(days=minutes // 1440)
    at = time(minutes % 1440 // 60, minutes % 60)
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
