"""Named statements and numbered schema files; the loader applies each file once."""

from qafila.sql.loader import apply_schema, statement

__all__ = ["apply_schema", "statement"]
