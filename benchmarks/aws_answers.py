"""Refusals as AWS writes them, in the protocol of the request that is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

Protocol = Literal["json", "cbor", "query", "ec2", "rest-xml", "rest-json"]
Answer = tuple[int, bytes, dict[str, str]]
_REST_XML = frozenset({"s3", "route53", "cloudfront"})
_CODES: dict[str, dict[str, tuple[int, str]]] = {
    "throttled": {
        "ec2": (503, "RequestLimitExceeded"),
        "rest-xml": (503, "SlowDown"),
        "query": (400, "Throttling"),
        "rest-json": (429, "TooManyRequestsException"),
        "": (400, "ThrottlingException"),
    },
    "denied": {
        "ec2": (403, "UnauthorizedOperation"),
        "rest-xml": (403, "AccessDenied"),
        "query": (403, "AccessDenied"),
        "": (403, "AccessDeniedException"),
    },
}


def signing_service(authorization: str) -> str:
    """Return the service that a signature (version 4) is made for; empty without one."""
    scope = authorization.partition("Credential=")[2].split(",")[0].split("/")
    return scope[3] if len(scope) > 3 else ""


def protocol_of(service: str, headers: Mapping[str, str]) -> Protocol:
    """Return the protocol of a request. ``headers``: with names in lower case."""
    kind = headers.get("content-type", "")
    if headers.get("smithy-protocol") or "cbor" in kind:
        return "cbor"
    if kind.startswith("application/x-amz-json"):
        return "json"
    if kind.startswith("application/x-www-form-urlencoded"):
        return "ec2" if service == "ec2" else "query"
    return "rest-xml" if service in _REST_XML else "rest-json"


def refusal(protocol: Protocol, why: Literal["throttled", "denied"]) -> Answer:
    """Return status, body and headers of a call that is throttled or denied."""
    codes = _CODES[why]
    status, code = codes.get(protocol, codes[""])
    return spelled(protocol, status, code)


def spelled(protocol: Protocol, status: int, code: str) -> Answer:
    """Return an error code as the protocol spells it."""
    if protocol == "ec2":
        body = f"<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>"
    elif protocol == "query":
        body = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"
    elif protocol == "rest-xml":
        body = f"<Error><Code>{code}</Code></Error>"
    elif protocol == "cbor":
        pairs = b"\xa2" + _cbor("__type") + _cbor(code) + _cbor("message") + _cbor("")
        return status, pairs, {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}
    else:
        body = json.dumps({"__type": code, "message": ""})
        return (
            status,
            body.encode(),
            {
                "x-amzn-errortype": code,
                "Content-Type": "application/json",
            },
        )
    return status, body.encode(), {"Content-Type": "text/xml"}


def _cbor(text: str) -> bytes:
    """Return a text of less than 256 bytes in CBOR (RFC 8949, major type 3)."""
    content = text.encode()
    length = len(content)
    return (bytes([0x60 + length]) if length < 24 else bytes([0x78, length])) + content
