"""Requests are sent to a new address only after a person accepted it, whatever a file says."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from blocks import EnvoyEdge
from qafila.errors import BadInput, Refused
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import apply_workload
from qafila.ledger.secret_bindings import bindings_path
from qafila.routers.accepted_addresses import accept_addresses, addresses_of, new_addresses
from qafila.routers.lookup import install_routes
from qafila.workload.model import Workload
from qafila.workload_file import read_file

ROOT = Path(__file__).parents[3]
FILE = ROOT / "workloads" / "aws-docs-search.yaml"
BASELINE, CANDIDATE = "http://127.0.0.1:18081", "http://127.0.0.1:18082"
Ledger = psycopg.Connection[Any]


def workload(candidate: str = CANDIDATE, baseline: str = BASELINE) -> Workload:
    body = read_file(FILE).model_dump(mode="json")
    body["service"] |= {
        "baseline": {"url": baseline},
        "candidate": {"url": candidate},
        "router": {"kind": "envoy-file", "block": "edge"},
    }
    return Workload.model_validate(body)


@pytest.fixture
def edge(ledger: Ledger, tmp_path: Path) -> Path:
    """The folder of an edge that does not run: what is written there is what it would route."""
    folder = tmp_path / "edge"
    folder.mkdir()
    record_connection(
        ledger,
        "edge",
        EnvoyEdge(
            directory=str(folder),
            admin_url="http://127.0.0.1:9",
            listen_url="http://127.0.0.1:9",
            allowed_loopback=["any"],
        ),
    )
    return folder


def apply(ledger: Ledger, spec: Workload, accepted: list[str] | None = None) -> None:
    """Do what ``qafila apply`` does with a workload."""
    accept_addresses(ledger, spec, accepted or [])
    install_routes(ledger, spec).close()
    apply_workload(ledger, spec)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.suffix != ".lock"}


def refused_addresses(ledger: Ledger, spec: Workload) -> list[str]:
    """Return what the remedy of the refusal would accept."""
    with pytest.raises(Refused, match="nobody has accepted") as refused:
        apply(ledger, spec)
    words = shlex.split(refused.value.remedy.rpartition("qafila apply FILE")[2])
    assert words[::2] == ["--accept-address"] * (len(words) // 2)
    return words[1::2]


def test_the_first_file_of_a_workload_is_not_routed_before_somebody_accepts_it(
    ledger: Ledger, edge: Path
) -> None:
    spec = workload()
    assert refused_addresses(ledger, spec) == [BASELINE, CANDIDATE]
    assert contents(edge) == {}
    apply(ledger, spec, addresses_of(spec))
    assert contents(edge) != {}
    apply(ledger, spec)  # nothing is new any more


@pytest.mark.parametrize(
    ("liar", "address"),
    [
        ("http://198.51.100.7:18082", "http://198.51.100.7:18082"),
        ("http://127.0.0.1:18083", "http://127.0.0.1:18083"),
        ("https://127.0.0.1:18082", "https://127.0.0.1:18082"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
    ],
)
def test_another_address_of_either_arm_changes_nothing_until_it_is_accepted(
    ledger: Ledger, edge: Path, liar: str, address: str
) -> None:
    apply(ledger, workload(), [BASELINE, CANDIDATE])
    before = contents(edge), bindings_path().read_bytes()
    assert refused_addresses(ledger, workload(candidate=liar)) == [address]
    assert refused_addresses(ledger, workload(baseline=liar)) == [address]
    assert (contents(edge), bindings_path().read_bytes()) == before
    apply(ledger, workload(candidate=liar), [address])
    assert contents(edge) != before[0]


def test_another_spelling_of_an_accepted_address_is_not_new(ledger: Ledger, edge: Path) -> None:
    first = workload("http://models.example:80", "http://users.example:80")
    accept_addresses(ledger, first, addresses_of(first))
    again = workload("http://MODELS.example.", "http://Users.Example")
    assert new_addresses(ledger, again) == []


def test_an_address_may_be_accepted_in_another_spelling(ledger: Ledger, edge: Path) -> None:
    spec = workload("http://models.example", "http://users.example")
    accept_addresses(ledger, spec, ["http://Models.example.:80/", "http://users.example"])
    assert new_addresses(ledger, spec) == []
    with pytest.raises(BadInput) as error:
        accept_addresses(
            ledger, spec, ["models.example", "http://models.example:99999", "http://["]
        )
    assert len(error.value.problems) == 3


def test_a_row_of_the_ledger_accepts_nothing(ledger: Ledger, edge: Path) -> None:
    """Whoever can write to the ledger gives the workload another candidate there."""
    apply(ledger, workload(), [BASELINE, CANDIDATE])
    liar = workload("http://198.51.100.7:18082")
    apply_workload(ledger, liar)
    assert refused_addresses(ledger, liar) == ["http://198.51.100.7:18082"]


def test_what_was_applied_before_addresses_were_kept_is_accepted_and_kept(
    ledger: Ledger, edge: Path
) -> None:
    apply_workload(ledger, workload())
    apply(ledger, workload())
    liar = workload("http://198.51.100.7:18082")
    apply_workload(ledger, liar)
    assert refused_addresses(ledger, liar) == ["http://198.51.100.7:18082"]


def test_an_acceptance_is_of_one_workload(ledger: Ledger, edge: Path) -> None:
    apply(ledger, workload(), [BASELINE, CANDIDATE])
    other = Workload.model_validate(workload().model_dump(mode="json") | {"name": "another"})
    assert [arm for arm, _ in new_addresses(ledger, other)] == ["baseline", "candidate"]


def behind_dns(candidate: str) -> Workload:
    body = workload(candidate).model_dump(mode="json")
    body["service"]["router"] = {
        "kind": "route53",
        "block": "account",
        "hosted_zone": "Z1",
        "record": "search.example.org",
        "baseline_id": "old",
        "candidate_id": "new",
        "entry_url": "http://127.0.0.1:9",
    }
    return Workload.model_validate(body)


def test_what_was_applied_behind_dns_is_not_accepted_for_an_envoy(
    ledger: Ledger, edge: Path
) -> None:
    """Nobody was asked about the address then, because Qafila wrote it nowhere."""
    liar = "http://198.51.100.7:18082"
    apply_workload(ledger, behind_dns(liar))
    assert refused_addresses(ledger, workload(liar)) == [BASELINE, liar]
    assert contents(edge) == {}


def test_a_workload_behind_dns_is_asked_nothing_whatever_its_addresses(ledger: Ledger) -> None:
    spec = behind_dns("http://models.example:99999")
    assert new_addresses(ledger, spec) == []
    assert accept_addresses(ledger, spec, []) == []
    assert not bindings_path().exists()


def test_a_home_that_refused_believes_what_another_home_applied_since(
    ledger: Ledger, edge: Path
) -> None:
    refused_addresses(ledger, workload())
    apply_workload(ledger, workload())
    assert new_addresses(ledger, workload()) == []


def test_an_address_that_the_workload_does_not_name_is_a_mistake(
    ledger: Ledger, edge: Path
) -> None:
    with pytest.raises(BadInput, match="names no such address") as error:
        accept_addresses(ledger, workload(), [BASELINE, "http://198.51.100.7:1"])
    assert error.value.problems == ("http://198.51.100.7:1",)
    assert BASELINE in error.value.remedy
    assert not bindings_path().exists()


def test_bindings_that_were_written_by_hand_accept_nothing(ledger: Ledger, edge: Path) -> None:
    apply(ledger, workload(), [BASELINE, CANDIDATE])
    stored = json.loads(bindings_path().read_text())
    text = json.dumps(stored).replace("18082", "18083")
    assert text != json.dumps(stored)
    bindings_path().write_text(text)
    with pytest.raises(Refused):
        apply(ledger, workload("http://127.0.0.1:18083"))


ASK = """
import psycopg, sys
from qafila.cli.workloads import _ask_about_addresses
from qafila.workload_file import read_file
from tests.integration.routers.test_accepted_addresses import workload
with psycopg.connect(sys.argv[1], autocommit=True) as ledger:
    print("accepted", _ask_about_addresses(ledger, workload(), []), flush=True)
"""


@pytest.mark.parametrize(
    ("answer", "accepted"), [("y", [BASELINE, CANDIDATE]), ("n", []), ("", [])]
)
def test_at_a_terminal_the_operator_is_asked(
    ledger: Ledger, ledger_url: str, tmp_path: Path, answer: str, accepted: list[str]
) -> None:
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-c", ASK, ledger_url],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=ROOT,
        env=os.environ | {"QAFILA_HOME": str(tmp_path)},
    )
    os.write(ours, f"{answer}\n".encode())
    said, _ = asking.communicate(timeout=60)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert said.decode().strip() == f"accepted {accepted}"
    assert all(
        f"{arm:<9}  {url}" in shown
        for arm, url in [("baseline", BASELINE), ("candidate", CANDIDATE)]
    )
    assert "May requests be sent there?" in shown


def test_without_a_terminal_nobody_is_asked(ledger: Ledger, ledger_url: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", ASK, ledger_url],
        input=b"y\n",
        capture_output=True,
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    assert said.stdout.decode().strip() == "accepted []"
    assert said.stderr == b""
