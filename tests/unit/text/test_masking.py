"""No password leaves, whatever text it stands in; what holds none is left as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.text.masking import mask_text, masked, passwords_in

SECRET = st.text(alphabet="abcXYZ0189_-.~$!", min_size=6, max_size=30)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "no answer from postgresql://me:s3cr:et@h:5/db",
            "no answer from postgresql://me:***@h:5/db",
        ),
        ("redis://:pw@h", "redis://:***@h"),
        ("host=h password=hunter2 dbname=x", "host=h password=*** dbname=x"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("https://h/x?token=abc123&y=1", "https://h/x?token=***&y=1"),
        ("about 12 tokens: 5, http://127.0.0.1:80/ and a@b.org", None),
        ("8.2 ms at 12:00:05; E = 812 ≥ 400", None),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, shown: str | None) -> None:
    assert mask_text(text) == (text if shown is None else shown)


@given(st.text(max_size=40), SECRET, st.text(max_size=40))
def test_a_known_secret_never_stays(before: str, secret: str, after: str) -> None:
    assert secret not in mask_text(before + secret + after, [secret]).replace("***", "")
    kept = masked({"a": [f"{before}{secret}"], secret: {"b": (secret,)}, "n": 5}, [secret])
    assert secret not in str(kept).replace("***", "")
    assert kept["n"] == 5


@given(SECRET)
def test_passwords_are_found_in_settings_however_deep(secret: str) -> None:
    address = f"postgresql://user:{secret}@host:5432/db"
    assert secret in passwords_in({"url": address, "more": [{"x": address}], "n": 1})
    assert secret not in mask_text(f"cannot reach {address}")


def test_a_password_that_is_the_users_name_hides_nothing() -> None:
    assert passwords_in("postgresql://postgres:postgres@h/db") == set()
    assert passwords_in(["http://h", "not://[an address", 5, None]) == set()
