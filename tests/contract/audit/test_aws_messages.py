"""Queues, topics, APIs, distributions and names: what sends to what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from qafila.audit.estate import Outcome
from tests.support.aws import running_moto
from tests.support.aws_reading import (
    NOWHERE,
    PAIRS,
    REGION,
    TAGS,
    World,
    edges,
    kinds,
    operation_of,
    seen_by,
    told,
)

FUNCTION = f"arn:aws:lambda:{REGION}:123456789012:function:answer"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_moto() as url:
        yield World(url)


def test_queues_and_their_dead_letters(world: World) -> None:
    sqs = world.client("sqs")
    sqs.create_queue(QueueName="dead", tags=TAGS)
    arn = f"arn:aws:sqs:{REGION}:123456789012"
    redrive = {"deadLetterTargetArn": f"{arn}:dead", "maxReceiveCount": "3"}
    url = sqs.create_queue(
        QueueName="new", tags=TAGS, Attributes={"RedrivePolicy": json.dumps(redrive)}
    )["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    seen = seen_by("sqs", world.url)
    found = kinds(seen)["sqs:queue"]
    assert seen.outcome is Outcome.COMPLETE
    assert {n: r.id for n, r in found.items()} == {n: f"{arn}:{n}" for n in ("new", "dead")}
    assert (found["new"].tags, found["new"].facts["messages"]) == (TAGS, 1)
    assert edges(seen, "writes") == {(f"{arn}:new", f"{arn}:dead")}


def test_a_queue_that_may_be_listed_alone_stays(world: World) -> None:
    world.client("sqs").create_queue(QueueName="closed")

    def closed(request: Any) -> tuple[int, bytes] | None:
        if operation_of(request) == "GetQueueAttributes" and b"/closed" in request.body:
            return 403, b'{"__type": "AccessDeniedException"}'
        return None

    seen = seen_by("sqs", world.url, with_session=told(closed))
    assert seen.outcome is Outcome.DENIED
    assert "sqs queue closed" in seen.missed
    closed_one = kinds(seen)["sqs:queue"]["closed"]
    assert closed_one.id == f"arn:aws:sqs:{REGION}:123456789012:closed"
    assert closed_one.facts["messages"] is None


def test_queues_are_followed_over_their_pages() -> None:
    def answer(request: Any) -> dict[str, Any]:
        asked = json.loads(request.body)
        match operation_of(request):
            case "ListQueues" if "NextToken" not in asked:
                urls = [f"https://sqs/123456789012/q{n}" for n in range(1000)]
                return {"QueueUrls": urls[:3], "NextToken": "more"}
            case "ListQueues":
                return {"QueueUrls": ["https://sqs/123456789012/q1000"]}
        return {}

    def refused(request: Any) -> Any:
        listed = operation_of(request) == "ListQueues"
        return answer(request) if listed else (403, b'{"__type": "AccessDenied"}')

    seen = seen_by("sqs", NOWHERE, with_session=told(refused))
    assert [r.name for r in seen.resources] == ["q0", "q1", "q2", "q1000"]


def test_topics_with_machines_as_edges_and_people_as_numbers(world: World) -> None:
    sns = world.client("sns")
    queue = world.client("sqs").create_queue(QueueName="mail")
    assert queue
    arn = f"arn:aws:sqs:{REGION}:123456789012:mail"
    names = [f"topic-{n:03}" for n in range(101)]  # a page of ListTopics has a hundred
    topics = {n: sns.create_topic(Name=n, Tags=PAIRS)["TopicArn"] for n in names}
    first = topics[names[0]]
    for protocol, endpoint in (
        ("sqs", arn),
        ("lambda", FUNCTION),
        ("email", "someone@example.org"),
        ("https", "https://hooks.example.org/in?key=secretvalue"),
    ):
        sns.subscribe(TopicArn=first, Protocol=protocol, Endpoint=endpoint)
    seen = seen_by("sns", world.url)
    found = kinds(seen)["sns:topic"]
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert {n: r.id for n, r in found.items()} == topics
    assert found["topic-100"].tags == TAGS
    assert found["topic-000"].facts["subscribers"] == {
        "email": 1,
        "https": 1,
        "lambda": 1,
        "sqs": 1,
    }
    assert edges(seen, "writes") == {(first, arn)}
    assert edges(seen, "calls") == {(first, FUNCTION), (first, "hooks.example.org")}
    assert "someone" not in repr(seen)
    assert "secretvalue" not in repr(seen)


def test_apis_of_both_generations(world: World) -> None:
    rest, http = world.client("apigateway"), world.client("apigatewayv2")
    invoke = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"
    expected = {}
    for name in ("orders", "search"):
        api = rest.create_rest_api(name=name, tags=TAGS)["id"]
        expected[name] = f"arn:aws:apigateway:{REGION}::/restapis/{api}"
        root = rest.get_resources(restApiId=api)["items"][0]["id"]
        for path, kind, uri in (
            ("a", "AWS_PROXY", invoke),
            ("b", "HTTP", "https://backend.example.org/x?key=secretvalue"),
        ):
            resource = rest.create_resource(restApiId=api, parentId=root, pathPart=path)["id"]
            at = {"restApiId": api, "resourceId": resource, "httpMethod": "POST"}
            rest.put_method(**at, authorizationType="NONE")
            rest.put_integration(**at, type=kind, integrationHttpMethod="POST", uri=uri)
        rest.create_deployment(restApiId=api, stageName="live")
        api = http.create_api(Name=f"{name}-2", ProtocolType="HTTP", Tags=TAGS)["ApiId"]
        expected[f"{name}-2"] = f"arn:aws:apigateway:{REGION}::/apis/{api}"
        http.create_integration(
            ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=FUNCTION, ConnectionId="link-1"
        )
        http.create_stage(ApiId=api, StageName="live")
    seen = seen_by("api-gateway", world.url)
    found = kinds(seen)["api-gateway:api"]
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert {n: r.id for n, r in found.items()} == expected
    assert all(r.tags == TAGS for r in found.values())
    assert all(r.facts["stages"] == ["live"] for r in found.values())
    assert all(r.facts["address"] for r in found.values())
    assert edges(seen, "calls") == {
        *((api, FUNCTION) for api in expected.values()),
        *((expected[name], "backend.example.org") for name in ("orders", "search")),
    }
    assert edges(seen, "routes") == {(expected[f"{n}-2"], "link-1") for n in ("orders", "search")}
    assert "secretvalue" not in repr(seen)


def test_distributions_and_their_origins(world: World) -> None:
    client = world.client("cloudfront")
    expected = {}
    for name in ("shop", "docs"):
        origins = [
            {
                "Id": "files",
                "DomainName": f"{name}-files.s3.{REGION}.amazonaws.com",
                "S3OriginConfig": {"OriginAccessIdentity": ""},
            },
            {
                "Id": "api",
                "DomainName": f"{name}.example.org",
                "CustomOriginConfig": {
                    "HTTPPort": 80,
                    "HTTPSPort": 443,
                    "OriginProtocolPolicy": "https-only",
                },
            },
        ]
        answer = client.create_distribution_with_tags(
            DistributionConfigWithTags={
                "Tags": {"Items": [*PAIRS, {"Key": "Name", "Value": name}]},
                "DistributionConfig": {
                    "CallerReference": name,
                    "Comment": "",
                    "Enabled": True,
                    "Origins": {"Quantity": 2, "Items": origins},
                    "DefaultCacheBehavior": {
                        "TargetOriginId": "files",
                        "ViewerProtocolPolicy": "allow-all",
                    },
                },
            }
        )
        expected[name] = answer["Distribution"]["ARN"]
    seen = seen_by("cloudfront", world.url)
    found = kinds(seen)["cloudfront:distribution"]
    assert (seen.outcome, seen.missed, seen.region) == (Outcome.COMPLETE, "", "")
    assert {n: r.id for n, r in found.items()} == expected
    assert found["shop"].tags["app"] == "shop"
    assert found["shop"].facts["address"]
    assert edges(seen, "routes") == {
        (arn, target)
        for name, arn in expected.items()
        for target in (f"{name}-files", f"{name}.example.org")
    }


def test_distributions_are_followed_over_their_pages() -> None:
    page = """<DistributionList><Marker>{m}</Marker><NextMarker>{n}</NextMarker>
    <IsTruncated>{t}</IsTruncated><Quantity>1</Quantity><Items><DistributionSummary>
    <Id>{m}1</Id><ARN>arn:aws:cloudfront::1:distribution/{m}1</ARN></DistributionSummary></Items>
    </DistributionList>"""

    def answer(request: Any) -> bytes:
        if "tagging" in request.url:
            return b"<Tags><Items></Items></Tags>"
        second = "Marker" in request.url
        return page.format(m="B" if second else "A", n="B", t=str(not second).lower()).encode()

    seen = seen_by("cloudfront", NOWHERE, with_session=told(answer))
    assert (seen.outcome, [r.name for r in seen.resources]) == (Outcome.COMPLETE, ["A1", "B1"])


def test_names_and_what_they_resolve_to(world: World) -> None:
    client = world.client("route53")
    zones = {}
    for name in ("example.org", "shop.internal"):
        zone = client.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"]
        zones[name] = zone.rsplit("/", 1)[-1]
        client.change_tags_for_resource(
            ResourceType="hostedzone", ResourceId=zones[name], AddTags=PAIRS
        )
        many = [(f"a{n:03}", "A", {"ResourceRecords": [{"Value": "10.0.0.1"}]}) for n in range(120)]
        many += [
            ("*", "CNAME", {"ResourceRecords": [{"Value": "Target.example.net."}]}),
            ("note", "TXT", {"ResourceRecords": [{"Value": '"secretvalue"'}]}),
        ]
        changes = [
            {
                "Action": "CREATE",
                "ResourceRecordSet": {
                    "Name": f"{start}.{name}",
                    "Type": kind,
                    "TTL": 60,
                    **value,
                },
            }
            for start, kind, value in many
        ]
        changes.append(
            {
                "Action": "CREATE",
                "ResourceRecordSet": {
                    "Name": f"www.{name}",
                    "Type": "A",
                    "AliasTarget": {
                        "HostedZoneId": "Z3Q77PNBQS71R4",
                        "EvaluateTargetHealth": False,
                        "DNSName": "dualstack.Shop-1.eu-west-3.elb.amazonaws.com.",
                    },
                },
            }
        )
        client.change_resource_record_sets(
            HostedZoneId=zones[name], ChangeBatch={"Changes": changes}
        )
    seen = seen_by("route53", world.url)
    found = kinds(seen)["route53:zone"]
    assert (seen.outcome, seen.missed, seen.region) == (Outcome.COMPLETE, "", "")
    assert {n: r.id for n, r in found.items()} == {
        n: f"arn:aws:route53:::hostedzone/{z}" for n, z in zones.items()
    }
    assert found["example.org"].tags == TAGS
    assert found["example.org"].facts["types"]["A"] == 121
    resolves = edges(seen, "resolves")
    assert len(resolves) == 2 * 122
    assert ("*.example.org", "target.example.net") in resolves
    assert ("www.example.org", "shop-1.eu-west-3.elb.amazonaws.com") in resolves
    assert "secretvalue" not in repr(seen)


def test_a_record_that_answers_nobody_weighs_little() -> None:
    zones = b"""<ListHostedZonesResponse><HostedZones><HostedZone><Id>/hostedzone/Z1</Id>
    <Name>example.org.</Name></HostedZone></HostedZones><IsTruncated>false</IsTruncated>
    </ListHostedZonesResponse>"""
    record = """<ResourceRecordSet><Name>api.example.org.</Name><Type>CNAME</Type>
    <SetIdentifier>{0}</SetIdentifier><Weight>{1}</Weight><ResourceRecords><ResourceRecord>
    <Value>{0}.example.net</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>"""
    records = record.format("new", 0) + record.format("old", 100)

    def answer(request: Any) -> Any:
        if "/rrset" in request.url:
            return (
                f"<ListResourceRecordSetsResponse><ResourceRecordSets>{records}"
                "</ResourceRecordSets><IsTruncated>false</IsTruncated>"
                "</ListResourceRecordSetsResponse>"
            ).encode()
        return (
            zones
            if "/tags/" not in request.url
            else (403, b"<E><Error><Code>AccessDenied</Code></Error></E>")
        )

    seen = seen_by("route53", NOWHERE, with_session=told(answer))
    assert seen.outcome is Outcome.DENIED
    assert {(e.to_id, e.confidence) for e in seen.edges} == {
        ("new.example.net", 0.1),
        ("old.example.net", 1.0),
    }
