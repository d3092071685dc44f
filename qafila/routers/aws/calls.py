"""Calls to AWS by a router: its errors, told by their code, become ours at this boundary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from qafila.errors import Refused, Unavailable

_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "UnrecognizedClientException",
    }
)
# An answer that botocore cannot read has no code: a gateway's or a proxy's page.
_WORDLESS_DENIED = frozenset({"HTTP 401", "HTTP 403"})


def code_of(error: ClientError) -> str:
    """Return the service's own word for what went wrong, for instance ``RuleNotFound``."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def calling(router: str, doing: str, page: str) -> Iterator[None]:
    """Turn what boto3 raises inside into ours; ``page`` is the how-to page with the policy.

    Raises:
        Refused: the account may not do this.
        Unavailable: anything else; the service's code and sentence are kept.
    """
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = code_of(error) or f"HTTP {status}"
        said = str(error.response.get("Error", {}).get("Message", "")) or "it said no more."
        if code in _DENIED or code in _WORDLESS_DENIED:
            raise Refused(
                f"router {router}: AWS does not let this account {doing} ({code}): {said}",
                kept="what AWS holds.",
                remedy=f"give the connection's role the policy in {page}",
            ) from error
        raise Unavailable(
            f"router {router}: AWS did not {doing} ({code}): {said}",
            kept="what AWS holds; read it with the same command again.",
            remedy="qafila status",
        ) from error
    except BotoCoreError as error:
        raise Unavailable(
            f"router {router}: AWS does not answer when asked to {doing}: {error}",
            kept="what AWS holds.",
            remedy="check region, keys and endpoint_url of the connection, then: qafila doctor",
        ) from error


def version_spoken(client: Any, ask: Callable[[], object]) -> str | None:
    """Return service and API version of a boto3 client; None when ``ask`` gets no answer by it."""
    try:
        ask()
    except Unavailable:
        return None
    return f"{client.meta.service_model.service_name} {client.meta.service_model.api_version}"
