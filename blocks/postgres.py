"""A PostgreSQL database: source, target or ledger."""

from __future__ import annotations

from typing import Any

import psycopg
from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from qafila.connecting import connect_postgres


class PostgresDatabase(Block):
    """A PostgreSQL database, 15 or newer; pgvector 0.8.4 or newer where vectors are kept."""

    _block_type_name = "Qafila PostgreSQL"
    _block_type_slug = "qafila-postgres"
    _description = "A PostgreSQL database that Qafila reads from or writes to."

    url: str = Field(description="Address without a password: postgresql://user@host:5432/name.")
    password: SecretStr | None = Field(None, description="Password, when the server asks for one.")
    connect_timeout_seconds: int = Field(5, ge=1, le=60, description="How long to wait.")

    def connect(self) -> psycopg.Connection[Any]:
        """Return an autocommit connection with a plan of its own for every caller.

        Raises:
            Unavailable: the server does not answer, or refuses us.
        """
        secret = None if self.password is None else self.password.get_secret_value()
        return connect_postgres(self.url, secret, self.connect_timeout_seconds)
