"""The blocks, and connections.md."""

from __future__ import annotations

import inspect

import blocks
from docs.reference_pages.fields import default_of, described
from docs.reference_pages.markdown import cell, grid


def connections_page() -> str:
    """Return docs/reference/connections.md."""
    parts = [
        "# Connections",
        "",
        "A connection is a Prefect block, made in the Prefect UI under *Blocks* and named by the "
        "workload file. `qafila apply` copies its settings, without secrets, into the ledger. A "
        "secret is taken from the variable `QAFILA_SECRET_<NAME>` (upper case, `-` becomes `_`), "
        "or else from the block, and goes only to the address that `qafila apply` bound it to, or "
        "that `QAFILA_ADDRESS_<NAME>` says.",
    ]
    for kind in blocks.ALL:
        rows = []
        for name, field in kind.model_fields.items():
            secret = "SecretStr" in str(field.annotation)
            type_, bounds = described(kind, name)
            default, meaning = (
                default_of(field.get_default(call_default_factory=True)),
                cell(field.description or ""),
            )
            rows.append([f"`{name}`", "secret" if secret else type_, default, bounds, meaning])
        title, slug = kind.get_block_type_name(), kind.get_block_type_slug()
        parts += ["", f"## {title} (`{slug}`)", "", inspect.getdoc(kind) or "", ""]
        parts += [grid(["setting", "type", "default", "bounds", "meaning"], rows)]
    return "\n".join(parts)
