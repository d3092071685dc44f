"""A credential file goes to the hosts it was given for, whatever another workload file says."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from blocks import EnvoyEdge
from qafila.errors import BadInput, Refused
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import apply_workload
from qafila.ledger.secret_bindings import bindings_path, read_bindings
from qafila.routers.credential_hosts import allow_credential_hosts
from qafila.workload.model import Workload
from qafila.workload_file import read_file
from tests.contract.routers.router_suite import weigh
from tests.contract.routers.test_routers_alias import put_credential
from tests.support.edges import running_edge
from tests.support.providers import Provider
from tests.support.routes import install_routes

FILE = Path(__file__).parents[3] / "workloads" / "aws-docs-search.yaml"
KEY = "Bearer of-team-a"


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider("team-a")
    yield provider
    provider.stop()


@pytest.fixture
def liar() -> Iterator[Provider]:
    liar = Provider("liar")
    yield liar
    liar.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    put_credential(tmp_path / "team-a.json", KEY)
    return tmp_path / "team-a.json"


def workload(name: str, url: str, credential: Path | None, baseline: str | None = None) -> Workload:
    body = read_file(FILE).model_dump(mode="json")
    path = None if credential is None else str(credential)
    body["name"] = name
    body["service"] |= {
        "alias": "chat",
        "baseline": {"url": baseline or url, "model": "small", "credential_file": path},
        "candidate": {"url": url, "model": "large", "credential_file": path},
        "router": {"kind": "envoy-file", "block": f"edge-of-{name}"},
    }
    return Workload.model_validate(body)


@pytest.fixture
def ledger_with_edges(ledger: psycopg.Connection[Any], tmp_path: Path) -> psycopg.Connection[Any]:
    """Each team has an edge of its own; none of them runs."""
    for name in ("team-a", "team-b"):
        folder = tmp_path / name
        folder.mkdir()
        edge = EnvoyEdge(
            directory=str(folder),
            admin_url="http://127.0.0.1:9",
            listen_url="http://127.0.0.1:9",
            allowed_loopback=["any"],
        )
        record_connection(ledger, f"edge-of-{name}", edge)
    return ledger


def apply(ledger: psycopg.Connection[Any], spec: Workload) -> None:
    """Do what ``qafila apply`` does with a workload."""
    install_routes(ledger, spec).close()
    apply_workload(ledger, spec)


def allowed(refused: Refused) -> list[str]:
    """Return what the remedy of a refusal would allow."""
    words = shlex.split(refused.remedy.rpartition("qafila apply FILE")[2])
    assert words[::2] == ["--credential-host"] * (len(words) // 2)
    return words[1::2]


def test_a_workload_that_names_another_teams_credential_gets_nothing(
    ledger_with_edges: psycopg.Connection[Any],
    provider: Provider,
    liar: Provider,
    file: Path,
    tmp_path: Path,
) -> None:
    ledger = ledger_with_edges
    apply(ledger, workload("team-a", provider.url, file))
    spec = workload("team-b", liar.url, file)
    with running_edge(tmp_path / "edge-of-b") as edge:
        record_connection(ledger, "edge-of-team-b", EnvoyEdge(**edge.settings()))

        def ask() -> None:
            weigh(edge.router, 100)
            httpx.post(f"{edge.listen_url}/v1/chat/completions", json={"model": "chat"})
            weigh(edge.router, 0)

        refused: Refused | None = None
        try:
            install_routes(ledger, spec).close()
        except Refused as error:
            refused = error
        ask()
        assert "authorization" not in {h for asked in liar.asked for h in asked.headers}
        assert refused is not None
        assert f"{file} is for {provider.url}, not for {liar.url}" in refused.what
        assert "team-b" in refused.what
        (pair,) = set(allowed(refused))
        assert pair == f"{file}={liar.url}"
        # The same requests, once a person allows it: the liar is one that can be reached.
        (sentence,) = allow_credential_hosts(spec, [pair])
        assert liar.url in sentence
        install_routes(ledger, spec).close()
        end, sent = time.monotonic() + 10, None
        while sent is None and time.monotonic() < end:  # Envoy takes the new cluster in
            ask()
            sent = liar.asked[-1].headers.get("authorization") if liar.asked else None
        assert sent == KEY


def test_the_same_host_is_served_again_and_the_file_may_be_replaced(
    ledger_with_edges: psycopg.Connection[Any], provider: Provider, file: Path
) -> None:
    apply(ledger_with_edges, workload("team-a", provider.url, file))
    put_credential(file, "Bearer of-tomorrow")
    apply(ledger_with_edges, workload("team-a", provider.url + "/openai/v1", file))
    apply(ledger_with_edges, workload("team-b", provider.url, file))
    assert KEY not in bindings_path().read_text()


def test_another_name_of_the_same_file_is_the_same_file(
    ledger_with_edges: psycopg.Connection[Any],
    provider: Provider,
    liar: Provider,
    file: Path,
    tmp_path: Path,
) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file)
    apply(ledger_with_edges, workload("team-a", provider.url, link))
    for name in (file, link):
        with pytest.raises(Refused, match="not for"):
            install_routes(ledger_with_edges, workload("team-b", liar.url, name))
    link.unlink()
    put_credential(tmp_path / "new.json", KEY)
    link.symlink_to(tmp_path / "new.json")  # as secrets are replaced in a cluster
    with pytest.raises(Refused, match="not for"):
        install_routes(ledger_with_edges, workload("team-b", liar.url, link))
    apply(ledger_with_edges, workload("team-a", provider.url, link))


def test_a_file_that_first_goes_to_two_hosts_needs_a_word_for_each(
    ledger_with_edges: psycopg.Connection[Any], provider: Provider, liar: Provider, file: Path
) -> None:
    spec = workload("team-b", liar.url, file, baseline=provider.url)
    with pytest.raises(Refused) as refusal:
        install_routes(ledger_with_edges, spec)
    assert not any(name.startswith("file:") for name in read_bindings())
    assert len(allowed(refusal.value)) == 2
    assert len(allow_credential_hosts(spec, allowed(refusal.value))) == 2
    assert allow_credential_hosts(spec, allowed(refusal.value)) == []
    install_routes(ledger_with_edges, spec).close()


def test_a_workload_that_was_applied_before_there_were_bindings_keeps_its_host(
    ledger_with_edges: psycopg.Connection[Any], provider: Provider, liar: Provider, file: Path
) -> None:
    apply_workload(ledger_with_edges, workload("team-a", provider.url, file))
    with pytest.raises(Refused, match="not for"):
        install_routes(ledger_with_edges, workload("team-b", liar.url, file))
    apply(ledger_with_edges, workload("team-a", provider.url, file))


def test_http_is_not_https(ledger_with_edges: psycopg.Connection[Any], file: Path) -> None:
    apply(ledger_with_edges, workload("team-a", "https://api.provider.example", file))
    apply(ledger_with_edges, workload("team-a", "https://API.provider.example.:443", file))
    with pytest.raises(Refused, match=r"not for http://api\.provider\.example:443"):
        install_routes(
            ledger_with_edges, workload("team-b", "http://api.provider.example:443", file)
        )


def test_a_refused_file_is_bound_to_nothing(
    ledger_with_edges: psycopg.Connection[Any], liar: Provider, provider: Provider, file: Path
) -> None:
    """Whatever else is wrong with a workload file, it does not take the credential first."""
    wrong = workload("team-b", liar.url, file, baseline="http://169.254.169.254")
    with pytest.raises(BadInput):
        install_routes(ledger_with_edges, wrong)
    apply(ledger_with_edges, workload("team-a", provider.url, file))


def test_only_what_the_workload_file_names_can_be_allowed(provider: Provider, file: Path) -> None:
    spec = workload("team-a", provider.url, file)
    with pytest.raises(BadInput, match="no credential file like that") as refusal:
        allow_credential_hosts(spec, [f"{file}=http://127.0.0.1:1"])
    assert f"{file}={provider.url}" in refusal.value.remedy
    assert not bindings_path().exists()
