"""Where the secret of a connection is looked for, how often, and for how long."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from qafila.connections.settings import AwsConnection, PostgresConnection
from qafila.errors import Refused, Unavailable
from qafila.ledger import connections
from qafila.ledger.connections import (
    Recorded,
    adopt_block,
    adopted_connection,
    connection,
    open_postgres,
    secret_of,
)

URL = "postgresql://reader@127.0.0.1:5432/shop"
SHOP = Recorded("shop", "qafila-postgres", {"url": URL}, has_secret=True)
Load = Callable[[str, str], Mapping[str, Any]]


class Ledger:
    """A ledger with one connection; notes how often it was asked for it, and what was written."""

    def __init__(self, found: Recorded | None) -> None:
        self._row = found and (found.kind, found.settings, found.has_secret)
        self.asked = 0
        self.written: list[Mapping[str, Any]] = []

    def execute(self, _: str, given: Mapping[str, Any]) -> Any:
        if "settings" in given:
            self.written.append(given)
            self._row = (given["kind"], given["settings"].obj, given["has_secret"])
        else:
            self.asked += 1
        return SimpleNamespace(fetchone=lambda: self._row)


class Prefect:
    """What is installed to ask Prefect: notes what it was asked."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.asked: list[tuple[str, str]] = []

    def load(self) -> Load:
        return self._ask

    def _ask(self, slug: str, name: str) -> Mapping[str, Any]:
        self.asked.append((slug, name))
        return self._load(slug, name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    monkeypatch.delenv("QAFILA_SECRET_SHOP", raising=False)


def installed(monkeypatch: pytest.MonkeyPatch, *points: Any) -> None:
    def found(*, group: str, name: str) -> list[Any]:
        assert (group, name) == ("qafila.secrets", "prefect")
        return list(points)

    monkeypatch.setattr(connections, "entry_points", found)


def tells(slug: str, name: str) -> Mapping[str, Any]:
    return {"url": URL, "password": SecretStr("hush"), "connect_timeout_seconds": 5}


def never(slug: str, name: str) -> Mapping[str, Any]:
    raise AssertionError("nobody has to ask")


def test_one_question_asks_the_ledger_and_the_first_that_is_installed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, ledger = Prefect(tells), Prefect(never), Ledger(SHOP)
    installed(monkeypatch, first, second)
    found: Any = connection(ledger, "shop", PostgresConnection)
    assert type(found) is PostgresConnection
    assert found.password.get_secret_value() == "hush"
    assert (ledger.asked, first.asked, second.asked) == (1, [("qafila-postgres", "shop")], [])
    assert secret_of(SHOP) == "hush"


def test_a_block_is_adopted_and_opened_by_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    prefect, ledger = Prefect(tells), Ledger(None)
    installed(monkeypatch, prefect)
    found: Any = adopted_connection(ledger, "shop", PostgresConnection)
    assert found.password.get_secret_value() == "hush"
    assert len(prefect.asked) == 1
    (written,) = ledger.written
    assert written["has_secret"] is True
    assert "hush" not in str(written["settings"].obj)


def test_a_variable_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Prefect(never))
    monkeypatch.setenv("QAFILA_SECRET_SHOP", "by the variable")
    monkeypatch.setenv("QAFILA_ADDRESS_SHOP", URL)
    assert secret_of(SHOP) == "by the variable"
    found: Any = connection(Ledger(SHOP), "shop", PostgresConnection)
    assert found.password.get_secret_value() == "by the variable"


def none(slug: str, name: str) -> Mapping[str, Any]:
    raise LookupError(name)


def breaks(slug: str, name: str) -> Mapping[str, Any]:
    raise KeyError(name)


def missing() -> Load:
    raise ImportError("no module named blocks")


@pytest.mark.parametrize(
    ("points", "why", "asked"),
    [
        ([Prefect(none)], "there is none", True),
        ([Prefect(breaks)], "silent", True),
        ([SimpleNamespace(load=missing)], "nothing that asks it is installed", False),
        ([], "nothing that asks it is installed", False),
    ],
)
def test_a_secret_that_nobody_knows_is_named_with_all_places(
    monkeypatch: pytest.MonkeyPatch, points: list[Any], why: str, asked: bool
) -> None:
    installed(monkeypatch, *points)
    with pytest.raises(Unavailable, match="not known here") as error:
        open_postgres(SHOP, "shop")
    told = error.value.render()
    for part in ("QAFILA_SECRET_SHOP", "QAFILA_ADDRESS_SHOP", "qafila-postgres/shop", why):
        assert part in told
    assert (error.value.__cause__ is not None) == asked  # a step waits for a server that is away
    problem = adopt_block(Ledger(None), "shop", PostgresConnection)
    assert why in (problem or "")
    assert adopt_block(Ledger(SHOP), "shop", PostgresConnection) is None


def test_nobody_waits_for_a_prefect_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hangs(slug: str, name: str) -> Mapping[str, Any]:
        released.wait(60)
        return tells(slug, name)

    installed(monkeypatch, Prefect(hangs))
    monkeypatch.setattr(connections, "PREFECT_SECONDS", 0.05)
    with pytest.raises(Unavailable, match="silent"):
        secret_of(SHOP)
    released.set()


def test_a_block_without_its_secret_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Prefect(lambda *_: {"url": URL, "password": None}))
    with pytest.raises(Unavailable, match="no secret any more"):
        secret_of(SHOP)


def test_another_kind_is_refused_before_anybody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Prefect(never))
    with pytest.raises(Refused, match=r"is a 'qafila-postgres', this needs a 'qafila-aws'"):
        connection(Ledger(SHOP), "shop", AwsConnection)


PROGRAM = f"""
import sys
from qafila import endpoints
from qafila.routers import lookup
from qafila.ledger.connections import Recorded, secret_of
print(secret_of(Recorded("shop", "qafila-postgres", {{"url": {URL!r}}}, True)))
print(sorted(name for name in sys.modules if name.split(".")[0] in ("prefect", "blocks")))
"""


def test_a_process_that_finds_the_secret_in_its_variable_never_imports_prefect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QAFILA_SECRET_SHOP", "hush")
    monkeypatch.setenv("QAFILA_ADDRESS_SHOP", URL)
    looked = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    assert looked.stdout == "hush\n[]\n"


def test_what_is_installed_asks_prefect() -> None:
    (point, *_) = connections.entry_points(group="qafila.secrets", name="prefect")
    from blocks.load import load_block

    assert point.load() is load_block
