"""What AWS means when it refuses a call, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from qafila.audit.estate import Outcome, outcome_of_error

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_SKEWED = frozenset({"RequestTimeTooSkewed"})
# Either of the two, or a wrong key: the server's own clock tells.
_SIGNED = frozenset(
    {
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "RequestExpired",
        "AuthFailure",
        *_EXPIRED,
        *_SKEWED,
    }
)
_UNKNOWN_KEY = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "AuthFailure",
    }
)
_NOT_ENABLED = frozenset({"OptInRequired", "RegionDisabledException"})
_NO_KEYS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    NoAuthTokenError,
    SSOError,
    ProfileNotFound,
)
_TOLERATED = timedelta(minutes=5)  # what AWS lets a signature's time be off


class RegionNotEnabled(Exception):
    """The region is switched off for the account; becomes an outcome as a refusal does."""


@dataclass(frozen=True)
class Standing:
    """What is known of an account before a region is read.

    ``keys_work``: the same keys were accepted elsewhere a moment ago. ``enabled``: whether the
    region is switched on for the account; None: it could not be found out.
    """

    keys_work: bool = False
    enabled: bool | None = None


@dataclass(frozen=True)
class Refusal:
    """What an error means; ``over``: every further call here would end the same way."""

    outcome: Outcome
    said: str
    over: bool = False


def not_enabled(region: str) -> str:
    """Return what is said of a region that is switched off."""
    return (
        f"region {region} is not enabled for this account; what was made there before still "
        "costs: enable it (AWS console, Account, Regions), or take it off the list"
    )


def refusal_of(
    error: Exception, *, region: str, answered: int, standing: Standing, now: datetime
) -> Refusal | None:
    """Return what an error of AWS means; None: it is none of AWS's.

    ``answered``: how many calls were answered before it. Judged by error code, status and the
    server's ``Date`` header, never by the text of a message.
    """
    if isinstance(error, ClientError):
        return _of_answer(error, region, answered, standing, now)
    if isinstance(error, RegionNotEnabled):
        return Refusal(Outcome.UNSUPPORTED, not_enabled(region), over=True)
    if isinstance(error, _NO_KEYS):
        return Refusal(
            Outcome.DENIED,
            f"there are no usable credentials ({type(error).__name__}): give the connection a "
            "key, or renew the session of the profile",
            over=True,
        )
    if isinstance(error, BotoCoreError | ResponseParserError):
        return Refusal(Outcome.UNSUPPORTED, f"no usable answer ({type(error).__name__})")
    if isinstance(error, KeyError):  # a collector looks into answers, and one is not whole
        return Refusal(Outcome.UNSUPPORTED, f"an answer without {error}")
    return None


def code_and_status(answer: Any) -> tuple[str, int | None]:
    """Return error code and HTTP status of a parsed answer; the code is empty where all is well."""
    return (
        str(answer.get("Error", {}).get("Code", "")),
        answer.get("ResponseMetadata", {}).get("HTTPStatusCode"),
    )


def _of_answer(
    error: ClientError, region: str, answered: int, standing: Standing, now: datetime
) -> Refusal:
    code, status = code_and_status(error.response)
    said = f"{error.operation_name} said {code}"
    skew = _skew(error.response, now)
    if code in _SKEWED or (code in _SIGNED and skew is not None and abs(skew) > _TOLERATED):
        return Refusal(Outcome.DENIED, _clock(skew, said), over=True)
    if code in _EXPIRED or code == "RequestExpired":
        return Refusal(
            Outcome.DENIED,
            f"the credentials expired after {answered} calls; what was read before is kept. "
            "Renew them, or use a role (assume_roles), which renews itself",
            over=True,
        )
    if code in _NOT_ENABLED and standing.enabled is not True:
        return Refusal(Outcome.UNSUPPORTED, not_enabled(region), over=True)
    if code in _UNKNOWN_KEY and standing.keys_work and standing.enabled is None and not answered:
        return Refusal(
            Outcome.UNSUPPORTED,
            f"{not_enabled(region)} (by all appearances: {said}, though the same keys work "
            "elsewhere)",
            over=True,
        )
    return Refusal(outcome_of_error(code, status), said)


def _skew(response: Any, now: datetime) -> timedelta | None:
    """Return how far the server's clock is ahead of ours; None: it did not say."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        server = None if date is None else parsedate_to_datetime(date)
    except ValueError:
        return None
    if server is None:
        return None
    return (server if server.tzinfo else server.replace(tzinfo=UTC)) - now


def _clock(skew: timedelta | None, said: str) -> str:
    if skew is None:
        off = "differs from AWS's by more than it accepts"
    else:
        minutes = round(abs(skew).total_seconds() / 60)
        off = f"is {minutes} min {'behind' if skew > timedelta(0) else 'ahead of'} AWS's"
    return (
        f"the clock of this machine {off} ({said}): set it (timedatectl set-ntp true), "
        "then run the audit again"
    )
