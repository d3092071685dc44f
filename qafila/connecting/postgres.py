"""Connect to PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg

from qafila.errors import Unavailable
from qafila.session_name import session_name


def connect_postgres(
    url: str, password: str | None = None, connect_timeout_seconds: int = 5
) -> psycopg.Connection[Any]:
    """Return an autocommit connection with a plan of its own for every caller.

    Its application name says what it is for, unless the address or PGAPPNAME has one.

    Raises:
        Unavailable: the server does not answer, or refuses us.
    """
    secret: dict[str, Any] = {} if password is None else {"password": password}
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=connect_timeout_seconds,
            fallback_application_name=session_name(),
            **secret,
        )
    except psycopg.OperationalError as error:
        first = str(error).strip().splitlines()[0]
        raise Unavailable(
            f"the database {url} does not answer: {first}",
            kept="nothing was touched.",
            remedy="check the address in the block, then: qafila doctor",
        ) from error
