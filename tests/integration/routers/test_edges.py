"""Each kind of router is found from the ledger alone, made ready on apply, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from pydantic import SecretStr

from blocks import AwsAccount, EnvoyEdge, KubernetesCluster
from qafila.connections.aws import aws_session
from qafila.connections.settings import AwsConnection, EnvoyConnection
from qafila.endpoints import blocks_of
from qafila.errors import BadInput, Refused, Unavailable
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import apply_workload
from qafila.routers.envoy.fleet import FleetRouter
from qafila.routers.lookup import require_sight, router_of
from qafila.workload.model import Service, Workload
from qafila.workload_file import read_file
from tests.support.aws import running_moto
from tests.support.kubernetes_api import TOKEN, Cluster, http_route, running_cluster
from tests.support.routes import install_routes

FILE = Path(__file__).parents[3] / "workloads" / "aws-docs-search.yaml"
ENTRY = "http://127.0.0.1:9"
DNS = {
    "kind": "route53",
    "block": "account",
    "record": "search.example.org",
    "baseline_id": "old",
    "candidate_id": "new",
    "entry_url": ENTRY,
}


def workload(router: dict[str, Any], name: str = "shop-search") -> Workload:
    spec = read_file(FILE)
    service = Service.model_validate(spec.service.model_dump() | {"router": router})
    return spec.model_copy(update={"name": name, "service": service})


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture
def zone(moto: str) -> str:
    dns = aws_session(("eu-west-3",), moto, "test", "test")("route53")
    made = dns.create_hosted_zone(Name="example.org.", CallerReference="1")["HostedZone"]["Id"]
    changes = [
        {
            "Action": "UPSERT",
            "ResourceRecordSet": {
                "Name": "search.example.org.",
                "Type": "A",
                "SetIdentifier": identifier,
                "TTL": 60,
                "Weight": weight,
                "ResourceRecords": [{"Value": "192.0.2.1"}],
            },
        }
        for identifier, weight in (("old", 1), ("new", 0))
    ]
    dns.change_resource_record_sets(HostedZoneId=made, ChangeBatch={"Changes": changes})
    return str(made.split("/")[-1])


def record_account(ledger: psycopg.Connection, url: str) -> None:
    record_connection(
        ledger,
        "account",
        AwsAccount(endpoint_url=url, access_key_id="test", secret_access_key=SecretStr("s3cret")),
    )


def test_records_are_weighed_with_a_secret_from_its_variable_alone(
    ledger: psycopg.Connection, moto: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_account(ledger, moto)
    monkeypatch.setenv("QAFILA_SECRET_ACCOUNT", "s3cret")
    spec = workload(DNS | {"hosted_zone": zone})
    assert ("account", AwsConnection) in blocks_of(spec)
    install_routes(ledger, spec).close()
    router = router_of(ledger, spec)
    version = router.write(5, epoch=1, why="test")
    router.acknowledged(version)
    assert router.read().candidate_percent == 5
    assert router.shadowed() is None
    assert router.abilities.slowest_s == 60
    with pytest.raises(Refused, match="shows no single requests"):
        require_sight(router)
    router.close()
    stored = ledger.execute("SELECT settings::text FROM qafila.connection").fetchall()
    assert "s3cret" not in str(stored)


def test_without_its_secret_the_variable_is_named(
    ledger: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_account(ledger, "http://127.0.0.1:9")

    asked: list[str] = []

    def nobody(name: str) -> AwsAccount:
        asked.append(name)
        raise ValueError(name)

    monkeypatch.setattr(AwsAccount, "load", staticmethod(nobody))
    with pytest.raises(Unavailable) as error:
        router_of(ledger, workload(DNS | {"hosted_zone": "Z1"}))
    assert "QAFILA_SECRET_ACCOUNT" in error.value.remedy
    assert asked == ["account"]


def test_an_http_route_is_weighed_and_the_token_stays_in_its_file(
    ledger: psycopg.Connection, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with running_cluster(Cluster(http_route(old=1, new=0))) as cluster:
        record_connection(
            ledger, "cluster", KubernetesCluster(api_url=cluster.url, token_file=str(token))
        )
        spec = workload(
            {
                "kind": "gateway-api",
                "block": "cluster",
                "namespace": "shop",
                "route": "search",
                "rule": 1,
                "baseline_backend": "old",
                "candidate_backend": "new",
                "entry_url": ENTRY,
                "log": "service.jsonl",
            }
        )
        router = install_routes(ledger, spec)
        assert require_sight(router).requests
        router.acknowledged(router.write(25, epoch=1, why="test"))
        assert router.read().candidate_percent == 25
        apply_workload(ledger, spec)
        with pytest.raises(Refused, match="sends 25 % of the traffic"):
            install_routes(ledger, workload(DNS | {"hosted_zone": "Z1"}))
        router.write(0, epoch=1, why="test")
        with pytest.raises(Refused, match="there is no router 'account'"):  # that is the next thing
            install_routes(ledger, workload(DNS | {"hosted_zone": "Z1"}))
        router.close()
    stored = ledger.execute("SELECT settings::text FROM qafila.connection").fetchall()
    assert TOKEN not in str(stored)


def test_several_envoys_are_one_router(ledger: psycopg.Connection, tmp_path: Path) -> None:
    for name in ("edge-1", "edge-2"):
        record_connection(
            ledger,
            name,
            EnvoyEdge(directory=str(tmp_path / name), admin_url=ENTRY, listen_url=ENTRY),
        )
    spec = workload({"kind": "envoy-file", "block": "edge-1", "members": ["edge-2"]})
    assert [name for name, kind in blocks_of(spec) if kind is EnvoyConnection] == [
        "edge-1",
        "edge-2",
    ]
    router = router_of(ledger, spec)
    assert isinstance(router, FleetRouter)
    assert len(router.members) == 2
    router.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://169.254.169.254"])
def test_an_envoy_is_not_told_to_route_to_itself_or_to_a_metadata_service(
    ledger: psycopg.Connection, tmp_path: Path, url: str
) -> None:
    """By any member of the fleet, and before anything is written."""
    for name, admin in (("edge-1", "http://127.0.0.1:8"), ("edge-2", "http://127.0.0.1:9")):
        record_connection(
            ledger,
            name,
            EnvoyEdge(
                directory=str(tmp_path / name),
                admin_url=admin,
                listen_url=ENTRY,
                allowed_loopback=["any"],
            ),
        )
    spec = workload({"kind": "envoy-file", "block": "edge-1", "members": ["edge-2"]})
    service = spec.service.model_copy(
        update={"candidate": spec.service.candidate.model_copy(update={"url": url})}
    )
    with pytest.raises(BadInput, match="no services for users") as refusal:
        install_routes(ledger, spec.model_copy(update={"service": service}))
    assert "service.candidate.url" in refusal.value.problems[0]
    assert not (tmp_path / "edge-1").exists()


def test_loopback_needs_an_allowance_in_the_edges_own_connection(
    ledger: psycopg.Connection, tmp_path: Path
) -> None:
    spec = workload({"kind": "envoy-file", "block": "edge-1"})  # both arms are on loopback
    edge = EnvoyEdge(directory=str(tmp_path / "edge-1"), admin_url=ENTRY, listen_url=ENTRY)
    record_connection(ledger, "edge-1", edge)
    with pytest.raises(BadInput, match="no services for users") as refusal:
        install_routes(ledger, spec)
    assert len(refusal.value.problems) == 2
    assert spec.service.candidate.url in refusal.value.problems[1]
    assert "add 18081, 18082 to allowed_loopback" in refusal.value.remedy
    assert not (tmp_path / "edge-1").exists()
    allowed = edge.model_copy(update={"allowed_loopback": ["18081-18082"]})
    record_connection(ledger, "edge-1", allowed)
    (tmp_path / "edge-1").mkdir()
    install_routes(ledger, spec).close()
    assert (tmp_path / "edge-1" / "cds.json").exists()


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ({"hosted_zone": "Z1"}, {"hosted_zone": "Z1", "record": "SEARCH.example.org."}, True),
        ({"hosted_zone": "Z1"}, {"hosted_zone": "Z1", "record": "docs.example.org"}, False),
    ],
)
def test_two_workloads_never_share_what_is_weighed(
    ledger: psycopg.Connection, first: dict[str, str], second: dict[str, str], refused: bool
) -> None:
    apply_workload(ledger, workload(DNS | first, "first"))
    with pytest.raises(Refused) as refusal:  # the second has no connection either
        install_routes(ledger, workload(DNS | second, "second"))
    assert ("serves first already" in refusal.value.what) is refused


def test_a_connection_of_another_kind_or_none_is_refused(ledger: psycopg.Connection) -> None:
    spec = workload(DNS | {"hosted_zone": "Z1"})
    with pytest.raises(Refused, match="qafila-aws"):
        router_of(ledger, spec)
    record_connection(ledger, "account", KubernetesCluster())
    with pytest.raises(Refused, match="qafila-aws"):
        router_of(ledger, spec)


@pytest.mark.parametrize(
    ("router", "told"),
    [
        ("{kind: envoy-file, block: a, members: [b, a]}", "same Envoy twice"),
        ("{kind: nginx, block: a}", "kind"),
        (
            "{kind: alb, block: a, baseline_target_group: x, candidate_target_group: y,"
            " entry_url: 'http://a.example.org'}",
            "baseline_target_group",
        ),
        (
            "{kind: route53, block: a, hosted_zone: Z1, record: '*.example.org', baseline_id: b,"
            " candidate_id: c, entry_url: 'http://a.example.org'}",
            "record",
        ),
        (
            "{kind: route53, block: a, hosted_zone: Z1, record: a.example.org, baseline_id: b,"
            " candidate_id: b, entry_url: 'http://a.example.org'}",
            "same record twice",
        ),
        (
            "{kind: route53, block: a, hosted_zone: Z1, record: a.example.org, baseline_id: b,"
            " candidate_id: c, types: [CNAME, A], entry_url: 'http://a.example.org'}",
            "CNAME alone",
        ),
        (
            "{kind: gateway-api, block: a, namespace: s, route: r, baseline_backend: b,"
            " candidate_backend: b, entry_url: 'http://a.example.org'}",
            "same backend twice",
        ),
    ],
)
def test_a_router_that_cannot_be_is_refused_in_the_file(
    tmp_path: Path, router: str, told: str
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(FILE.read_text().replace("{kind: envoy-file, block: demo-edge}", router))
    with pytest.raises(BadInput) as refusal:
        read_file(file)
    assert any(told in problem for problem in refusal.value.problems), refusal.value.problems


def _arn(kind: str, path: str, region: str = "eu-west-3") -> str:
    return f"arn:aws:elasticloadbalancing:{region}:123456789012:{kind}/{path}"


ALB = {
    "kind": "alb",
    "block": "account",
    "entry_url": ENTRY,
    "rule": _arn("listener-rule", "app/edge/50dc6c49/f2f7dc8e/9683b2d0"),
    "baseline_target_group": _arn("targetgroup", "old/73e2d6bc"),
    "candidate_target_group": _arn("targetgroup", "new/2453ed02"),
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"listener": _arn("listener", "app/edge/50dc6c49/f2f7dc8e")}, "either rule or listener"),
        ({"rule": None}, "either rule or listener"),
        ({"candidate_target_group": ALB["baseline_target_group"]}, "same target group twice"),
        ({"candidate_target_group": _arn("targetgroup", "new/1", "eu-west-1")}, "regions"),
        ({"stickiness_seconds": 604_801}, "604800"),
        ({"stickiness_seconds": 0}, "1"),
    ],
)
def test_an_alb_that_cannot_be_is_refused(change: dict[str, Any], told: str) -> None:
    workload(ALB)
    check: Callable[[dict[str, Any]], Workload] = workload
    with pytest.raises(ValueError, match=told):
        check(ALB | change)


@pytest.mark.parametrize("page", ["alb", "route53", "kubernetes"])
def test_the_how_to_pages_show_a_router_that_can_be(page: str) -> None:
    text = (FILE.parents[1] / "docs" / "how-to" / f"canary-on-{page}.md").read_text()
    shown = next(b for b in text.split("```yaml\n")[1:] if b.startswith("service:"))
    Service.model_validate(yaml.safe_load(shown.split("```")[0])["service"])
