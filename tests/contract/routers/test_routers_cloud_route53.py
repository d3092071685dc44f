"""Route 53 passes every router's sentences against a moto server, and what AWS would refuse is.

Moto tells every change INSYNC at once and deletes a record by an old value too; where that matters
the test speaks for the service.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from qafila.connections.aws import aws_session
from qafila.errors import BadInput, Refused, StaleEpoch, Unavailable
from qafila.routers.aws import route53
from qafila.routers.aws.route53 import Route53Router
from qafila.routers.sight import require_sight
from qafila.workload.router import Route53Router as Settings
from tests.contract.routers.router_suite import EveryRouter, weigh
from tests.support.aws import running_moto


@pytest.fixture(scope="module")
def client() -> Iterator[Callable[..., Any]]:
    with running_moto() as url:
        yield aws_session(("eu-west-3",), url, "test", "test")


def record(identifier: str, weight: int, value: str, *, kind: str = "A", ttl: int = 60) -> Any:
    return {
        "Name": "search.example.org.",
        "Type": kind,
        "SetIdentifier": identifier,
        "Weight": weight,
        "TTL": ttl,
        "ResourceRecords": [{"Value": value}],
    }


@dataclass
class Zone:
    client: Callable[..., Any]
    id: str

    def put(self, *records: Any) -> None:
        self.client("route53").change_resource_record_sets(
            HostedZoneId=self.id,
            ChangeBatch={
                "Changes": [{"Action": "UPSERT", "ResourceRecordSet": r} for r in records]
            },
        )

    def settings(self, **changes: Any) -> Settings:
        given = {
            "kind": "route53",
            "block": "account",
            "hosted_zone": self.id,
            "record": "Search.example.org",
            "baseline_id": "old",
            "candidate_id": "new",
            "twin_id": "old-twin",
            "entry_url": "http://127.0.0.1:9/",
        }
        return Settings.model_validate(given | changes)

    def router(self, **changes: Any) -> Route53Router:
        return Route53Router(self.settings(**changes), self.client)

    def weights(self, kind: str = "A") -> dict[str, int]:
        sets = self.client("route53").list_resource_record_sets(HostedZoneId=self.id)
        return {
            r["SetIdentifier"]: r["Weight"]
            for r in sets["ResourceRecordSets"]
            if r["Type"] == kind and "Weight" in r
        }


@pytest.fixture
def zone(client: Callable[..., Any]) -> Zone:
    made = client("route53").create_hosted_zone(
        Name="example.org.", CallerReference=str(time.monotonic_ns())
    )
    zone = Zone(client, made["HostedZone"]["Id"].split("/")[-1])
    zone.put(
        record("old", 100, "192.0.2.1"),
        record("new", 0, "192.0.2.2"),
        record("old-twin", 0, "192.0.2.1"),
    )
    return zone


@dataclass
class Setup:
    router: Any


class TestRoute53(EveryRouter):
    @pytest.fixture
    def setup(self, zone: Zone) -> Setup:
        router = zone.router()
        router.install()
        return Setup(router)

    def test_at_0_nothing_and_at_100_everything_is_answered_with_the_candidate(
        self, zone: Zone
    ) -> None:
        router = zone.router()
        assert router.install().candidate_percent == 0
        assert zone.weights() == {"old": 100, "new": 0, "old-twin": 0}
        weigh(router, 100)
        assert zone.weights() == {"old": 0, "new": 100, "old-twin": 0}
        weigh(router, 0, twin=50)
        assert zone.weights() == {"old": 50, "new": 0, "old-twin": 50}
        assert router.reported() == router.read()
        assert router.listen_url == "http://127.0.0.1:9"

    def test_both_kinds_of_address_are_weighed_together(self, zone: Zone) -> None:
        zone.put(
            record("old", 100, "2001:db8::1", kind="AAAA"),
            record("new", 0, "2001:db8::2", kind="AAAA"),
        )
        with pytest.raises(BadInput) as refusal:
            zone.router(twin_id=None).install()
        assert any("AAAA records of the same name" in p for p in refusal.value.problems)
        zone.client("route53").change_resource_record_sets(
            HostedZoneId=zone.id,
            ChangeBatch={
                "Changes": [
                    {"Action": "DELETE", "ResourceRecordSet": record("old-twin", 0, "192.0.2.1")}
                ]
            },
        )
        router = zone.router(twin_id=None, types=["A", "AAAA"])
        router.install()
        weigh(router, 25)
        assert zone.weights() == zone.weights("AAAA") == {"old": 75, "new": 25}
        zone.put(record("new", 50, "2001:db8::2", kind="AAAA"))
        assert router.read().candidate_percent == 40  # 50 of 125: the worse of the two types
        assert router.reported() is None

    def test_going_back_takes_the_time_to_live_and_says_so(self, zone: Zone) -> None:
        zone.put(
            record("old", 100, "192.0.2.1", ttl=300),
            record("new", 0, "192.0.2.2", ttl=300),
            record("old-twin", 0, "192.0.2.1", ttl=300),
        )
        router = zone.router(ttl_seconds=300)
        router.install()
        assert router.abilities.slowest_s == 300
        assert any("300 s" in sentence for sentence in router.abilities.blind)

    def test_a_change_is_acknowledged_when_route_53_has_told_its_name_servers(
        self, zone: Zone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(route53, "_POLL_S", 0.02)
        router = zone.router()
        router.install()
        asked, limit = [], [3]

        def pending(request: Any, **_: Any) -> AWSResponse | None:
            if "/change/" not in request.url or len(asked) >= limit[0]:
                return None
            asked.append(request.url)
            return answer(
                request,
                200,
                '<GetChangeResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">'
                "<ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status>"
                "<SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></GetChangeResponse>",
            )

        router._dns.meta.events.register("before-send", pending)
        version = router.write(5, epoch=1, why="up")
        router.acknowledged(version, timeout_s=0.01)  # its own wait is longer than the caller's
        assert len(asked) == 3
        monkeypatch.setattr(route53, "_INSYNC_S", 0.05)
        limit[0] = 10**6
        with pytest.raises(Unavailable, match="name servers"):
            router.acknowledged(version, timeout_s=0.01)

    def test_the_policy_of_the_how_to_page_is_what_is_called(self, zone: Zone) -> None:
        page = Path(__file__).parents[3] / route53.PAGE
        policy = json.loads(page.read_text().split("```json\n")[1].split("```")[0])
        allowed = {action for s in policy["Statement"] for action in s["Action"]}
        called = set()
        router = zone.router()
        router._dns.meta.events.register(
            "before-call", lambda model, **_: called.add(f"route53:{model.name}")
        )
        router.install()
        weigh(router, 1)
        assert called == allowed

    def test_a_writer_that_read_before_another_wrote_is_refused_as_a_whole(
        self, zone: Zone
    ) -> None:
        router = zone.router()
        router.install()
        other = zone.router()
        once = []

        def as_route53(request: Any, **_: Any) -> AWSResponse | None:
            """Refuse a batch that deletes a TXT record by a value that is not there any more."""
            if request.method != "POST" or once:
                return None
            once.append(1)
            other.write(0, epoch=9, why="a rollback")
            deleted = re.search(r"DELETE.*?<Value>(.*?)</Value>", request.body.decode(), re.S)
            assert deleted is not None
            assert deleted[1].replace("&quot;", '"') == '"e0/1/0pct"'  # what it had read
            return answer(
                request,
                400,
                '<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error>'
                "<Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>[Tried to delete "
                "resource record set, but the values provided do not match the current values]"
                "</Message></Error></ErrorResponse>",
            )

        router._dns.meta.events.register("before-send", as_route53)
        with pytest.raises(StaleEpoch):
            router.write(50, epoch=1, why="up")
        assert (router.read().candidate_percent, router.read().epoch) == (0, 9)

    def test_every_problem_is_named_at_once_and_nothing_is_written(self, zone: Zone) -> None:
        zone.put(
            record("new", 10, "192.0.2.2"),
            record("stranger", 5, "192.0.2.9"),
            record("old", 100, "192.0.2.1", ttl=300),
        )
        with pytest.raises(BadInput) as refusal:
            zone.router(twin_id="nobody").install()
        told = " ".join(refusal.value.problems)
        assert len(refusal.value.problems) == 4
        for part in ("'nobody'", "'stranger' takes traffic", "has weight already", "lives 300 s"):
            assert part in told
        assert zone.weights()["new"] == 10

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"hosted_zone": "Z0NOTTHERE"}, "no hosted zone"),
            ({"record": "search.example.com"}, "not in the hosted zone"),
        ],
    )
    def test_what_is_not_there_is_refused(
        self, zone: Zone, changes: dict[str, str], told: str
    ) -> None:
        with pytest.raises(BadInput) as refusal:
            zone.router(**changes).install()
        assert any(told in p for p in refusal.value.problems)

    def test_without_a_log_nothing_can_be_judged_and_with_one_it_can(
        self, zone: Zone, tmp_path: Path
    ) -> None:
        router = zone.router()
        with pytest.raises(Refused) as refusal:
            require_sight(router)
        assert "service.router.log" in refusal.value.remedy
        log = tmp_path / "service.jsonl"
        log.touch()
        router = zone.router(log=str(log))
        require_sight(router)
        _, cursor = router.observed(None)
        row = {
            "ts": time.time(),
            "arm": "candidate",
            "code": 503,
            "ms": 12,
            "results": 0,
            "key": "tenant-1",
            "bad": "ungrounded, flagged",
        }
        log.write_text(json.dumps(row) + "\n")
        seen, _ = router.observed(cursor)
        assert [(r.arm, r.status, sorted(r.flags)) for r in seen] == [
            ("candidate", 503, ["flagged", "ungrounded"])
        ]


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


def answer(request: Any, status: int, body: str) -> AWSResponse:
    return AWSResponse(request.url, status, {}, _Body(body.encode()))
