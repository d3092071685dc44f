"""A secret never survives masking, in whatever supported form it stands; the rest does."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.text.masking import MASK, holds_secret, mask_text, masked, places_of_secrets
from tests.support.hostile_input import assert_linear, repeated

WORD = string.ascii_letters + string.digits
SECRET = st.text(alphabet=WORD + "_-.~$!%^,;:/+=@#?|*()[]\"'\\ ", min_size=6, max_size=30).map(
    lambda drawn: f"Zq7{drawn}Xv9"
)


def only(allowed: str) -> Callable[[str], str]:
    """Return what leaves of a secret the characters that a form can hold unquoted."""
    return lambda secret: "".join(c for c in secret if c in allowed)


TOKEN = only(WORD + "_-.~+/=")
BARE = only(WORD + "_-.~$!%^,;:/+=@#?|*()[]")
FORMS: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "address": (lambda s: quote(s, safe=""), lambda s: f"postgresql://me:{s}@db.example:5432/x"),
    "raw address": (only(WORD + "_-.~$!%,;:@"), lambda s: f"redis://:{s}@h"),
    "token as user": (lambda s: quote(s, safe=""), lambda s: f"https://{s}@db.example/x"),
    "query": (lambda s: quote(s, safe=""), lambda s: f"https://h/v1?a=1&api_key={s}&b=2"),
    "query token": (lambda s: quote(s, safe=""), lambda s: f"https://h/v1?token={s}"),
    "dsn": (BARE, lambda s: f"host=h password={s} dbname=x"),
    "dsn quoted": (
        lambda s: s.replace("\\", "\\\\").replace("'", "\\'"),
        lambda s: f"host=h password = '{s}' dbname=x",
    ),
    "json": (lambda s: json.dumps(s)[1:-1], lambda s: f'{{"a": 1, "password": "{s}", "b": 2}}'),
    "json in json": (
        lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
        lambda s: '{"sent": "{\\"api_key\\": \\"' + s + '\\"}"}',
    ),
    "repr": (
        lambda s: s.replace("\\", "\\\\").replace("'", "\\'"),
        lambda s: f"{{'client_secret': '{s}', 'n': 1}}",
    ),
    "yaml": (BARE, lambda s: f"api-key: {s}\nnext: 1"),
    "environment": (BARE, lambda s: f"PGPASSWORD={s} psql"),
    "bearer": (TOKEN, lambda s: f"Authorization: Bearer {s}\r\nHost: h"),
    "basic": (TOKEN, lambda s: f"authorization: Basic {s}\r\nHost: h"),
    "plain authorization": (TOKEN, lambda s: f"Authorization: {s}\r\nHost: h"),
    "x-api-key": (BARE, lambda s: f"x-api-key: {s}\r\nHost: h"),
    "api-key": (BARE, lambda s: f"api-key: {s}\r\nHost: h"),
    "headers in JSON": (
        lambda s: json.dumps(s)[1:-1],
        lambda s: f'{{"Authorization": "Bearer {s}", "x": 1}}',
    ),
    "aws secret": (TOKEN, lambda s: f"aws_secret_access_key = {s}"),
    "aws environment": (TOKEN, lambda s: f"AWS_SECRET_ACCESS_KEY={s} AWS_SESSION_TOKEN={s}"),
    "presigned": (lambda s: quote(s, safe=""), lambda s: f"https://b/k?X-Amz-Signature={s}&x=1"),
}


@pytest.mark.parametrize("form", FORMS)
@given(secret=SECRET, before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_secret_never_survives(form: str, secret: str, before: str, after: str) -> None:
    fit, write = FORMS[form]
    written = fit(secret)
    shown = mask_text(f"{before}\n{write(written)}\n{after}")
    assert written not in shown
    assert "Xv9" not in shown.removesuffix(after)
    assert MASK in shown
    assert mask_text(shown) == shown


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["password", "client_secret", "api-key", "Authorization"])
@given(secret=SECRET, beside=NESTED)
def test_a_secret_never_survives_in_a_value(name: str, secret: str, beside: object) -> None:
    """As a body of evidence holds it: by its name alone, since the text itself shows nothing."""
    value = {"beside": beside, "deep": [{name: secret, "n": 1}]}
    shown = masked(value)
    assert secret not in json.dumps(shown["deep"])
    assert "Xv9" not in repr(shown["deep"])
    assert shown["deep"] == [{name: MASK, "n": 1}]
    assert masked(shown) == shown


@pytest.mark.parametrize("form", FORMS)
@given(secret=SECRET, beside=NESTED)
def test_a_secret_never_survives_in_a_text_of_a_value(
    form: str, secret: str, beside: object
) -> None:
    fit, write = FORMS[form]
    shown = masked({"beside": beside, "deep": [(write(fit(secret)),)]})
    assert "Xv9" not in repr(shown["deep"])


@given(st.text(max_size=200))
def test_masking_twice_is_masking_once(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


PIECES = st.sampled_from(
    [
        "password",
        "token",
        "=",
        ":",
        " ",
        '"',
        "'",
        "\\",
        "authorization",
        "bearer ",
        "basic ",
        "a",
        "://",
        "@",
        "/",
        "?",
        "&",
        "http",
        "api_key",
        MASK,
        "AKIA",
        "ABCDEFGH12345678",
        "\n",
        "{",
    ]
)


@given(st.lists(PIECES, max_size=14).map("".join))
def test_masking_twice_is_masking_once_also_for_what_looks_like_secrets(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


@given(st.text(alphabet=string.ascii_lowercase + " .,\n()0123456789", max_size=300))
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "about 12 tokens: 5, http://127.0.0.1:80/ and a@b.org",
        '{"has_secret": true, "n": 1}',
        "a basic understanding of passwords",
        "postgresql://reader@db.example:5432/shop",
        "tokens_per_s: 812, price_per_million_tokens: 0.02",
        "8.2 ms at 12:00:05; E = 812 ≥ 400",
        "secret=None",
        '{"password": ""}',
        "qafila rollback docs --card FILE",
    ],
)
def test_ordinary_lines_are_left_as_they_are(text: str) -> None:
    assert mask_text(text) == text
    assert not holds_secret(text)


def test_an_access_key_of_aws_is_masked() -> None:
    assert mask_text("signed by AKIAIOSFODNN7EXAMPLE.") == "signed by ***."


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "a ",
        "://a:",
        "password",
        "password=",
        '"password": "',
        "\\",
        "- ",
        "?key=",
        "authorization: ",
        "basic ",
        "http://a:b",
        'token="\\',
        "a@",
        "x:y@",
    ],
)
@pytest.mark.parametrize("before", ["", "http://u:", "password='", "basic "])
def test_time_grows_with_the_length_alone(before: str, piece: str) -> None:
    assert_linear(mask_text, lambda size: before + repeated(piece, size))


def test_places_of_secrets_are_named() -> None:
    found = places_of_secrets(
        {
            "a": {"url": "https://h/v1?api_key=abc"},
            "b": ["x", "host=h user=u password=abc"],
            "c": "postgresql://me@h/x",
            "d": "the password = something that is said",
        }
    )
    assert found == ["a.url", "b.1"]
