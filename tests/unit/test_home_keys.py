"""A key of a home is made once, is private, and is the same for whoever asks."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qafila.errors import BadInput, Unavailable
from qafila.home_keys import ensure_key, key_path, read_key


def test_no_key_is_none_and_reading_makes_none(tmp_path: Path) -> None:
    assert read_key("rollback-card", tmp_path) is None
    assert not (tmp_path / "keys").exists()


def test_a_key_is_private_and_stays(tmp_path: Path) -> None:
    key = ensure_key("rollback-card", tmp_path)
    assert len(key) == 64
    assert ensure_key("rollback-card", tmp_path) == read_key("rollback-card", tmp_path) == key
    assert stat.S_IMODE(key_path("rollback-card", tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["rollback-card"]


def test_everybody_who_asks_at_once_gets_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: ensure_key("evidence-head", tmp_path), range(32)))
    assert len(keys) == 1


def test_purposes_have_keys_of_their_own(tmp_path: Path) -> None:
    assert ensure_key("evidence-head", tmp_path) != ensure_key("rollback-card", tmp_path)


def test_a_damaged_key_is_an_error_and_is_never_replaced(tmp_path: Path) -> None:
    ensure_key("rollback-card", tmp_path)
    key_path("rollback-card", tmp_path).write_text("\n")
    with pytest.raises(Unavailable, match="64 hexadecimal digits"):
        ensure_key("rollback-card", tmp_path)


@pytest.mark.parametrize("purpose", ["", "../up", "a/b", "A", "x" * 60])
def test_a_purpose_is_a_plain_name(purpose: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        ensure_key(purpose, tmp_path)
