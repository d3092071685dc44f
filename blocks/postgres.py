"""A PostgreSQL database: source, target or ledger."""

from __future__ import annotations

from prefect.blocks.core import Block

from qafila.connections.settings import PostgresConnection


class PostgresDatabase(PostgresConnection, Block):
    """A PostgreSQL database, 15 or newer; pgvector 0.8.4 or newer where vectors are kept."""

    _block_type_name = "Qafila PostgreSQL"
    _block_type_slug = PostgresConnection.kind
    _description = "A PostgreSQL database that Qafila reads from or writes to."
