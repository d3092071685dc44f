"""What AWS says to a router: always a sentence with a reason, also where it gave no word."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from qafila.errors import Refused, Unavailable
from qafila.routers.aws.calls import calling


def said(code: str, message: str, status: int) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },  # type: ignore[typeddict-item]
        "ListResourceRecordSets",
    )


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (
            said("AccessDenied", "not yours.", 403),
            Refused,
            "router edge: AWS does not let this account list the records (AccessDenied): "
            "not yours.",
        ),
        (
            said("", "", 403),
            Refused,
            "router edge: AWS does not let this account list the records (HTTP 403): it said "
            "no more.",
        ),
        (
            said("", "", 502),
            Unavailable,
            "router edge: AWS did not list the records (HTTP 502): it said no more.",
        ),
        (
            said("Throttling", "Rate exceeded.", 400),
            Unavailable,
            "router edge: AWS did not list the records (Throttling): Rate exceeded.",
        ),
    ],
)
def test_a_refusal_has_a_reason(
    error: ClientError, kind: type[Refused] | type[Unavailable], sentence: str
) -> None:
    with pytest.raises(kind) as caught, calling("edge", "list the records", "a page"):
        raise error
    assert caught.value.what == sentence
