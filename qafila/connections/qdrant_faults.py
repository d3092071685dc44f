"""What Qdrant and its client raise, as errors of ours: what happened, what was kept, what next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from qdrant_client import models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from qafila.connections.qdrant import NoQdrantError
from qafila.errors import BackfillHalted, Refused, Unavailable

NOTHING = "nothing was changed."
CORRECT_ADDRESS = (
    "correct the url of the connection: it is that of Qdrant's REST interface, by default port "
    "6333, with no other service or proxy's page in front."
)
FAULTS = (
    ApiException,
    httpx.HTTPError,
    json.JSONDecodeError,
    UnicodeDecodeError,  # an answer that was cut short
)
"""What the client raises of a server, beside ``QdrantException`` and ``NoQdrantError``."""
_LONGEST_REASON = 300


@contextmanager
def asking_qdrant(doing: str, *, kept: str = NOTHING) -> Iterator[None]:
    """Translate what goes wrong while asking Qdrant; a second try is the caller's decision.

    Raises:
        Unavailable: no answer, an answer cut short, too many requests, a fault of the server, or
            something answers that is no Qdrant.
        Refused: the server does not know us, or our key may not do this.
        BackfillHalted: the server understood the request and says no.
    """
    try:
        yield
    except UnexpectedResponse as error:
        raise _of_status(doing, kept, error) from error
    except NoQdrantError as error:
        raise Unavailable(f"{error}, while {doing}.", kept=kept, remedy=CORRECT_ADDRESS) from error
    except QdrantException as error:
        raise Unavailable(
            f"{come_back(error)} while {doing}.",
            kept=kept,
            remedy="run it again then, with fewer workers.",
        ) from error
    except FAULTS as error:
        raise Unavailable(
            f"Qdrant gave no answer that can be read while {doing}: {first_line(error)}",
            kept=kept,
            remedy="see that the server is up and has disk and memory left, then run it again.",
        ) from error


def come_back(error: QdrantException) -> str:
    """Return what a server that had too many requests asks for; only seconds are understood."""
    when = "later"
    if isinstance(error, ResourceExhaustedResponse):
        when = f"in {error.retry_after_s} s"
    return f"Qdrant asks us to come back {when} (429)"


def first_line(error: Exception) -> str:
    """Return what an error of the client says first, or of what kind it is."""
    lines = str(getattr(error, "source", error)).strip().splitlines()
    return lines[0][:_LONGEST_REASON] if lines else type(error).__name__


def require_completed(result: models.UpdateResult, doing: str, *, kept: str = NOTHING) -> None:
    """Refuse an answer that says less than: it is applied.

    Raises:
        BackfillHalted: accepted into the log, or waited for in vain; it may still fail.
    """
    if result.status != models.UpdateStatus.COMPLETED:
        raise BackfillHalted(
            f"Qdrant accepted a request and did not confirm it ({result.status}) while {doing}.",
            kept=kept,
            remedy="see the server's log, then run it again: what did arrive overwrites itself.",
        )


def _of_status(doing: str, kept: str, error: UnexpectedResponse) -> Exception:
    code, reason = error.status_code or 0, _server_reason(error.content)
    said = f"Qdrant answered {code} while {doing}: {reason}"
    if code >= 500 or code == 429:
        return Unavailable(said, kept=kept, remedy="see the server's log, then run it again.")
    if code in (401, 403):
        return Refused(said, kept=kept, remedy="set a key that may write in the connection.")
    return BackfillHalted(said, kept=kept, remedy="do what the answer asks for, then run it again.")


def _server_reason(content: bytes) -> str:
    try:
        body: Any = json.loads(content)
        reason = body["status"]["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = content.decode(errors="replace")
    return " ".join(str(reason).split())[:_LONGEST_REASON] or "no reason given"
