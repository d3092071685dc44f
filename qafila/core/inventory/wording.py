"""How the audit writes sizes."""

from __future__ import annotations


def size_text(size_bytes: int | None) -> str:
    """Return a size for a reader, in binary units; "not known" when it was not measured."""
    if size_bytes is None:
        return "not known"
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
