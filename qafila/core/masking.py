"""Keep secrets out of what leaves the house: passwords in addresses, and those that are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

MASK = "***"
LEAST = 6  # characters: a shorter secret would mask half of the language

_IN_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"'<>]*:)[^\s/@\"'<>]+(?=@)")
_NAMED = re.compile(
    r"(?i)\b((?:password|passwd|secret|api[_-]?key)\s*[=:]\s*|\btoken=)[^\s\"',;&<>]+"
)
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")


def mask_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without the secrets given and without what looks like one.

    Looks like one: the password of an address, ``password=…`` and its like, a bearer token.
    """
    for secret in sorted({s for s in secrets if len(s) >= LEAST}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _IN_ADDRESS.sub(rf"\g<1>{MASK}", text)
    text = _NAMED.sub(rf"\g<1>{MASK}", text)
    return _BEARER.sub(rf"\g<1>{MASK}", text)


def masked(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return a value with every text in it masked, also the names of a mapping."""
    known = tuple(secrets)
    if isinstance(value, str):
        return mask_text(value, known)
    if isinstance(value, Mapping):
        return {masked(k, known): masked(v, known) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [masked(v, known) for v in value]
    return value


def passwords_in(value: Any) -> set[str]:
    """Return the passwords of all addresses in a value, as they stand there and decoded.

    One that is the user's own name hides nothing, and is left out.
    """
    if isinstance(value, Mapping):
        return set().union(*(passwords_in(v) for v in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(passwords_in(v) for v in value))
    if not isinstance(value, str) or "://" not in value:
        return set()
    try:
        address = urlsplit(value)
        password = address.password
    except ValueError:
        return set()
    return {password, unquote(password)} if password and password != address.username else set()
