"""Keep secrets out of what is printed, logged or stored: those that are known, and those that show.

One function, ``mask_text``, for logs, errors, evidence and artifacts. Its time grows with the
length of the text and not faster, since some of that text comes from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

MASK = "***"
LEAST = 6  # characters: a shorter secret would mask half of the language

_NAME = (
    r"(?:password|passwd|pwd|passphrase|secret|secret[_-]?access[_-]?key|secret[_-]?key"
    r"|api[_-]?key|access[_-]?key|private[_-]?key|[_-]token|accesstoken|refreshtoken|authtoken)"
)
# The password of an address, up to the last @ before its path. The search is for "://", a fixed
# text: one for a scheme would begin anew at each of its letters.
_IN_ADDRESS = re.compile(r"(://[^\s/:@\"'<>]*:)[^\s/\"'<>]+(?=@)")
# A token in the place of a user, which only http takes.
_TOKEN_IN_ADDRESS = re.compile(r"(://(?i:(?<=http://)|(?<=https://)))[^\s/:@\"'<>]+(?=@)")
_IN_QUERY = re.compile(
    rf"(?i)([?&](?:[\w-]{{0,40}}{_NAME}|token|key|sig|x-amz-(?:signature|credential)|signature)=)"
    r"[^\s&#\"'<>]+"
)
_QUOTED = re.compile(
    rf"(?i)(?<![?&\w-])[\w-]{{0,40}}?(?:{_NAME}|\btoken|\bauthorization)"
    r"(?:\\{0,7}[\"'])?\s{0,8}[:=]\s{0,8}(?P<escapes>\\{0,7})(?P<quote>[\"'])"
)
_BARE = re.compile(
    rf"(?i)((?<![?&\w-])[\w-]{{0,40}}?(?:{_NAME}\s{{0,8}}[=:]\s{{0,8}}|\btoken=))"
    r"(?!(?:true|false|null|none)\b)[^\s\"'\\<>{\[(&][^\s\"'<>]*"
)
_HEADER = re.compile(
    r"(?i)(\bauthorization\s{0,8}[:=]\s{0,8}(?:(?:bearer|basic|token|apikey)[ \t]{1,8})?)"
    r"(?!(?:bearer|basic|token|apikey|digest|aws4)\b)[^\s\"'\\<>{\[(][^\s\"'<>]*"
)
_SIGNED = re.compile(r"(?i)(\bauthorization\s{0,8}[:=]\s{0,8}(?:digest|aws4[\w-]*)[ \t])[^\r\n]+")
_BEARER = re.compile(r"(?i)(\bbearer\s{1,8})[A-Za-z0-9._~+/=-]{8,}")
_BASIC = re.compile(r"(\b(?i:basic)\s{1,8})(?=[a-z._~-]{0,400}[A-Z0-9+/=])[A-Za-z0-9._~+/=-]{8,}")
_AWS_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_KEY = re.compile(rf"(?i)[\w-]*(?:{_NAME}|\btoken|\bauthorization)")
# Most texts need few rules: those of the first two groups only match around these characters.
_IN_ADDRESSES = (_IN_ADDRESS, _TOKEN_IN_ADDRESS)
_NAMED = (_IN_QUERY, _SIGNED, _HEADER, _BARE)
_UNNAMED = (_BEARER, _BASIC)
_DSN = re.compile(r"(?i)(?:^|\s)(?:sslpassword|password)\s*=\s*[^\s'\"]|password\s*=\s*'[^']")
_DSN_WORD = re.compile(r"(?i)(?:^|\s)(?:host|hostaddr|dbname|user|port)\s*=")


def mask_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without the secrets given and without what looks like one.

    Looks like one: the password or token of an address; the value of a name such as ``password``,
    ``api_key`` or ``secret``, bare or quoted, in a DSN, a query string, JSON (also inside a JSON
    string) or a header; ``Authorization`` and bearer tokens; an AWS access key. Masking twice is
    masking once.
    """
    for secret in sorted({s for s in secrets if len(s) >= LEAST}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    named = ":" in text or "=" in text
    if named:
        text = _without_quoted(text)
    rules = (
        *(_IN_ADDRESSES if "://" in text and "@" in text else ()),
        *(_NAMED if named else ()),
        *_UNNAMED,
    )
    for rule in rules:
        text = rule.sub(rf"\g<1>{MASK}", text)
    return _AWS_KEY_ID.sub(MASK, text)


def masked(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return a value with every text in it masked, also the names of a mapping.

    A text under the name of a secret is masked whole, as it would be in the value's JSON.
    """
    known = tuple(secrets)
    if isinstance(value, str):
        return mask_text(value, known)
    if isinstance(value, Mapping):
        return {
            masked(k, known): MASK if _is_secret(k, v) else masked(v, known)
            for k, v in value.items()
        }
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


def holds_secret(address: str) -> bool:
    """Say whether a secret stands in an address or a DSN: a password, a token, a key.

    Unlike masking it looks at addresses only: a sentence about passwords holds none.
    """
    if _DSN.search(address) and _DSN_WORD.search(address):
        return True
    rules = (*_IN_ADDRESSES, _IN_QUERY)
    return "://" in address and any(rule.search(address) for rule in rules)


def places_of_secrets(value: Any, at: str = "") -> list[str]:
    """Return where in nested settings an address holds a secret, as dotted paths."""
    if isinstance(value, str):
        return [at] if holds_secret(value) else []
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[object, Any]] = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return []
    return [p for key, v in pairs for p in places_of_secrets(v, f"{at}.{key}" if at else str(key))]


def _is_secret(name: object, value: object) -> bool:
    named = isinstance(name, str) and isinstance(value, str) and value != ""
    return named and _KEY.fullmatch(str(name)) is not None


def _without_quoted(text: str) -> str:
    """Mask quoted values of secret names, up to the quote that really ends each."""
    parts, at = [], 0
    while (found := _QUOTED.search(text, at)) is not None:
        end = _end_of_quoted(text, found.end(), found["quote"], len(found["escapes"]))
        filled = end > found.end()
        parts += [text[at : found.end()], MASK if filled else ""]
        at = end
    return "".join([*parts, text[at:]])


def _end_of_quoted(text: str, start: int, quote: str, escapes: int) -> int:
    """Return where a quoted value ends.

    A quote that opened behind n backslashes (JSON within JSON) ends at one behind n, or behind n
    and whole multiples of 2(n + 1): what is more escapes a quote of the value itself.
    """
    at = text.find(quote, start)
    while at != -1:
        run = at
        while run > start and text[run - 1] == "\\":
            run -= 1
        if (at - run) % (2 * (escapes + 1)) == escapes:
            return at - escapes
        at = text.find(quote, at + 1)
    return len(text)
