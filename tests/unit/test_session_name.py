"""What our PostgreSQL sessions are called."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from qafila import session_name as subject
from qafila.cli import app
from qafila.session_name import LEDGER, MOST_BYTES, name_process, session_name, working_on


@pytest.fixture(autouse=True)
def _process_without_command() -> Iterator[None]:
    before = subject._of_process
    name_process("")
    yield
    subject._of_process = before


@pytest.mark.parametrize(
    ("work", "name"),
    [
        ({"what": "load", "generation": 2, "worker": 1}, "qafila load g2 w1 docs"),
        ({"what": "index", "generation": 2}, "qafila index g2 docs"),
        ({"what": "live-sync"}, "qafila live-sync docs"),
    ],
)
def test_a_session_says_what_it_is_for(work: dict[str, object], name: str) -> None:
    with working_on(**work, workload="docs"):  # type: ignore[arg-type]
        assert session_name() == name
        assert session_name(LEDGER) == name.replace("qafila", "qafila ledger")


def test_what_is_closer_counts_and_the_workload_stays() -> None:
    assert session_name() == "qafila"
    name_process("status")
    assert session_name() == "qafila status"
    with working_on("embedding-backfill", workload="docs"):
        with working_on("compare", generation=3):
            assert session_name() == "qafila compare g3 docs"
        assert session_name() == "qafila embedding-backfill docs"
    assert session_name() == "qafila status"


def test_a_command_of_the_shell_names_its_sessions() -> None:
    CliRunner().invoke(app, ["load", "show", "--help"])
    assert session_name(LEDGER) == "qafila ledger load"


@given(
    what=st.text(max_size=80),
    workload=st.text(max_size=120),
    generation=st.none() | st.integers(1, 10**9),
    worker=st.none() | st.integers(1, 64),
    room=st.sampled_from(["", LEDGER]),
)
def test_a_name_is_always_ours_and_never_cut_by_postgresql(
    what: str, workload: str, generation: int | None, worker: int | None, room: str
) -> None:
    with working_on(what, workload=workload, generation=generation, worker=worker):
        name = session_name(room)
    assert name == "qafila" or name.startswith("qafila ")
    assert name.isascii()
    assert name.isprintable()
    assert len(name.encode()) <= MOST_BYTES
