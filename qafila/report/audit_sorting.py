"""The script that sorts the audit's tables, and the one policy that lets it run."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from markupsafe import Markup


@cache
def script() -> Markup:
    """Return the script as it stands in the page: our own text, with nothing of the audit in it."""
    return Markup((files("qafila.report") / "audit_sorting.js").read_text("utf-8"))


def script_source() -> Markup:
    """Return the source for a Content-Security-Policy that runs this script, to the letter."""
    digest = hashlib.sha256(script().encode()).digest()
    return Markup(f"'sha256-{base64.b64encode(digest).decode()}'")
