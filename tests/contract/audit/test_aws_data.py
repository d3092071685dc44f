"""Databases, file systems, caches, search and buckets: sizes, members and where they answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from qafila.audit.collectors import Limits
from qafila.audit.estate import Outcome
from tests.support.aws import running_moto
from tests.support.aws_reading import (
    LOWER_PAIRS,
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


class Networked(World):
    """One moto server, whose network has a group for databases."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        ec2 = self.client("ec2")
        subnets = ec2.describe_subnets()["Subnets"]
        self.subnets = [s["SubnetId"] for s in subnets]
        self.vpc = subnets[0]["VpcId"]
        self.group = ec2.create_security_group(GroupName="db", Description="db", VpcId=self.vpc)[
            "GroupId"
        ]


@pytest.fixture(scope="module")
def world() -> Iterator[Networked]:
    with running_moto() as url:
        yield Networked(url)


def test_databases_and_clusters_with_writer_and_readers(world: Networked) -> None:
    rds = world.client("rds")
    for cluster in ("orders", "search"):
        rds.create_db_cluster(
            DBClusterIdentifier=cluster,
            Engine="aurora-postgresql",
            MasterUsername="admin0",
            ManageMasterUserPassword=True,
            Tags=PAIRS,
            VpcSecurityGroupIds=[world.group],
        )
        for member in ("a", "b"):
            rds.create_db_instance(
                DBInstanceIdentifier=f"{cluster}-{member}",
                DBInstanceClass="db.r6g.large",
                Engine="aurora-postgresql",
                DBClusterIdentifier=cluster,
                Tags=PAIRS,
            )
    rds.create_db_instance(
        DBInstanceIdentifier="shop",
        DBInstanceClass="db.t3.small",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="admin0",
        ManageMasterUserPassword=True,
        Tags=PAIRS,
        VpcSecurityGroupIds=[world.group],
    )
    rds.create_db_instance_read_replica(
        DBInstanceIdentifier="shop-replica", SourceDBInstanceIdentifier="shop"
    )
    seen = seen_by("rds", world.url)
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert set(found["rds:cluster"]) == {"orders", "search"}
    members = {"orders-a", "orders-b", "search-a", "search-b"}
    assert set(found["rds:instance"]) == {"shop", "shop-replica", *members}
    orders, shop = found["rds:cluster"]["orders"], found["rds:instance"]["shop"]
    assert orders.tags == shop.tags == TAGS
    assert orders.facts["security_groups"] == shop.facts["security_groups"] == [world.group]
    named = orders.facts["writers"] + orders.facts["readers"]
    assert sorted(named) == ["orders-a", "orders-b"]
    assert {(orders.id, found["rds:instance"][m].id) for m in named} <= edges(seen, "routes")
    assert (shop.size_bytes, shop.facts["size_is"]) == (20 << 30, "allocated")
    assert all(found["rds:instance"][m].size_bytes is None for m in members)
    assert {r.facts["role"] for n, r in found["rds:instance"].items() if n in named} == {
        "writer",
        "reader",
    } or not orders.facts["readers"]
    assert (found["rds:instance"]["shop-replica"].id, shop.id) in edges(seen, "reads")
    assert shop.facts["secrets"][0].startswith("arn:aws:secretsmanager:")
    assert orders.facts["address"]
    assert orders.facts["reader_address"]


def test_a_cluster_of_one_writer_and_two_readers_in_the_published_shape() -> None:
    member = "<DBClusterMember><DBInstanceIdentifier>{}</DBInstanceIdentifier><IsClusterWriter>{}"
    members = "".join(
        member.format(name, writer) + "</IsClusterWriter></DBClusterMember>"
        for name, writer in (("r1", "false"), ("w", "true"), ("r2", "false"))
    )
    cluster = f"""<DescribeDBClustersResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/">
    <DescribeDBClustersResult><DBClusters><DBCluster>
    <DBClusterArn>arn:aws:rds:{REGION}:1:cluster:c</DBClusterArn><Engine>aurora-mysql</Engine>
    <DBClusterIdentifier>c</DBClusterIdentifier><AllocatedStorage>1</AllocatedStorage>
    <DBClusterMembers>{members}</DBClusterMembers></DBCluster></DBClusters>
    </DescribeDBClustersResult></DescribeDBClustersResponse>"""
    instance = "".join(
        f"<DBInstance><DBInstanceIdentifier>{name}</DBInstanceIdentifier><Engine>aurora-mysql"
        f"</Engine><DBInstanceArn>arn:aws:rds:{REGION}:1:db:{name}</DBInstanceArn>"
        "<AllocatedStorage>1</AllocatedStorage><DBInstanceClass>db.r6g.large</DBInstanceClass>"
        "<DBInstanceStatus>available</DBInstanceStatus></DBInstance>"
        for name in ("w", "r1", "r2")
    )
    instances = f"""<DescribeDBInstancesResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/">
    <DescribeDBInstancesResult><DBInstances>{instance}</DBInstances>
    </DescribeDBInstancesResult></DescribeDBInstancesResponse>"""

    def answer(request: Any) -> bytes:
        return (cluster if "DescribeDBClusters" in _text(request) else instances).encode()

    seen = seen_by("rds", NOWHERE, with_session=told(answer))
    found = kinds(seen)
    c = found["rds:cluster"]["c"]
    assert (c.facts["writers"], c.facts["readers"]) == (["w"], ["r1", "r2"])
    roles = {n: r.facts["role"] for n, r in found["rds:instance"].items()}
    assert roles == {"w": "writer", "r1": "reader", "r2": "reader"}
    assert {r.size_bytes for r in seen.resources} == {None}
    assert len(edges(seen, "routes")) == 3


def test_file_systems_and_where_they_are_mounted(world: Networked) -> None:
    efs = world.client("efs")
    systems = {}
    for name in ("shared", "models"):
        systems[name] = efs.create_file_system(
            CreationToken=name, Tags=[*PAIRS, {"Key": "Name", "Value": name}]
        )["FileSystemId"]
        efs.create_mount_target(
            FileSystemId=systems[name], SubnetId=world.subnets[0], SecurityGroups=[world.group]
        )
    seen = seen_by("efs", world.url)
    found = kinds(seen)["efs:file-system"]
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert {n: r.id for n, r in found.items()} == systems
    for resource in found.values():
        assert {k: resource.tags[k] for k in TAGS} == TAGS
        assert resource.facts["security_groups"] == [world.group]
        assert resource.facts["subnets"] == [world.subnets[0]]
        assert resource.size_bytes is not None
        assert resource.facts["arn"].startswith("arn:aws:elasticfilesystem:")


def test_tables_over_their_pages_and_a_closed_one_stays(world: Networked) -> None:
    client = world.client("dynamodb")
    names = [f"table-{n:03}" for n in range(102)]  # a page of ListTables has a hundred
    for name in names:
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            Tags=PAIRS,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )

    def closed(request: Any) -> tuple[int, bytes] | None:
        describes = operation_of(request) == "DescribeTable"
        return (
            (400, b'{"__type": "AccessDeniedException"}')
            if (describes and json.loads(request.body)["TableName"] == "table-007")
            else None
        )

    seen = seen_by("dynamodb", world.url, with_session=told(closed))
    found = kinds(seen)["dynamodb:table"]
    assert set(found) == set(names)
    assert seen.outcome is Outcome.DENIED
    assert "table-007" in seen.missed
    assert (found["table-007"].size_bytes, found["table-007"].facts) == (None, {})
    assert found["table-100"].tags == TAGS
    assert found["table-100"].facts["billing"] == "PAY_PER_REQUEST"


SERVERLESS = f"""<DescribeServerlessCachesResponse
 xmlns="http://elasticache.amazonaws.com/doc/2015-02-02/"><DescribeServerlessCachesResult>
 <ServerlessCaches><member><ServerlessCacheName>%d</ServerlessCacheName><Engine>valkey</Engine>
 <ARN>arn:aws:elasticache:{REGION}:1:serverlesscache:%d</ARN><Status>available</Status>
 <Endpoint><Address>S.cache.amazonaws.com</Address><Port>6379</Port></Endpoint>
 <SecurityGroupIds><SecurityGroupId>sg-1</SecurityGroupId></SecurityGroupIds></member>
 </ServerlessCaches>%s</DescribeServerlessCachesResult></DescribeServerlessCachesResponse>"""


def test_caches_of_three_kinds(world: Networked) -> None:
    """Moto has no serverless caches: those answers are in the published shape, over two pages."""
    client = world.client("elasticache")
    for name in ("sessions", "carts"):
        client.create_cache_cluster(
            CacheClusterId=name,
            Engine="redis",
            CacheNodeType="cache.t3.micro",
            NumCacheNodes=1,
            Tags=PAIRS,
            SecurityGroupIds=[world.group],
        )
        client.create_replication_group(
            ReplicationGroupId=f"{name}-group",
            ReplicationGroupDescription=name,
            Engine="redis",
            CacheNodeType="cache.t3.micro",
            Tags=PAIRS,
        )

    def answer(request: Any) -> bytes | None:
        asked = parse_qs(_text(request))
        match asked.get("Action", [""])[0]:
            case "DescribeServerlessCaches" if "NextToken" not in asked:
                return (SERVERLESS % (1, 1, "<NextToken>more</NextToken>")).encode()
            case "DescribeServerlessCaches":
                return (SERVERLESS % (2, 2, "")).encode()
            case "ListTagsForResource" if "serverlesscache" in asked["ResourceName"][0]:
                return b"""<ListTagsForResourceResponse><ListTagsForResourceResult><TagList>
                <Tag><Key>app</Key><Value>shop</Value></Tag></TagList></ListTagsForResourceResult>
                </ListTagsForResourceResponse>"""
        return None

    seen = seen_by("elasticache", world.url, with_session=told(answer))
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert {"sessions", "carts"} <= set(found["elasticache:cluster"])
    assert set(found["elasticache:replication-group"]) == {"sessions-group", "carts-group"}
    assert set(found["elasticache:serverless"]) == {"1", "2"}
    sessions = found["elasticache:cluster"]["sessions"]
    assert sessions.tags == TAGS
    assert (sessions.facts["type"], sessions.facts["nodes"]) == ("cache.t3.micro", 1)
    serverless = found["elasticache:serverless"]["2"]
    assert serverless.facts["address"] == "s.cache.amazonaws.com"
    assert (serverless.tags, serverless.facts["security_groups"]) == ({"app": "shop"}, ["sg-1"])


def test_a_call_that_a_server_does_not_know_is_never_an_empty_answer(world: Networked) -> None:
    seen = seen_by("elasticache", world.url)
    assert seen.outcome is Outcome.UNSUPPORTED
    assert "elasticache serverless caches" in seen.missed


def test_search_domains_and_collections(world: Networked) -> None:
    client = world.client("opensearch")
    names = [f"logs-{n}" for n in range(6)]  # one more than DescribeDomains may name
    for name in names:
        client.create_domain(
            DomainName=name,
            EngineVersion="OpenSearch_2.11",
            TagList=PAIRS,
            ClusterConfig={"InstanceType": "r6g.large.search", "InstanceCount": 3},
            EBSOptions={"EBSEnabled": True, "VolumeType": "gp3", "VolumeSize": 100},
        )
    serverless = world.client("opensearchserverless")
    for name in ("vectors", "texts"):
        serverless.create_security_policy(
            name=name,
            type="encryption",
            policy=json.dumps(
                {
                    "Rules": [{"ResourceType": "collection", "Resource": [f"collection/{name}"]}],
                    "KmsARN": f"arn:aws:kms:{REGION}:123456789012:key/k",
                }
            ),
        )
        serverless.create_collection(name=name, type="VECTORSEARCH", tags=LOWER_PAIRS)
    seen = seen_by("opensearch", world.url)
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert set(found["opensearch:domain"]) == set(names)
    first = found["opensearch:domain"]["logs-0"]
    assert (first.tags, first.size_bytes) == (TAGS, 300 << 30)
    assert first.facts["type"] == "r6g.large.search"
    assert set(found["opensearch:collection"]) == {"vectors", "texts"}
    vectors = found["opensearch:collection"]["vectors"]
    assert (vectors.facts["collection_type"], vectors.tags) == ("VECTORSEARCH", TAGS)


def test_collections_are_followed_over_their_pages() -> None:
    """Moto never pages them: the answers are in the published shape."""

    def answer(request: Any) -> dict[str, Any]:
        asked = json.loads(request.body or b"{}")
        match operation_of(request):
            case "ListCollections" if "nextToken" not in asked:
                return {"collectionSummaries": [{"id": "aaa"}, {"id": "bbb"}], "nextToken": "more"}
            case "ListCollections":
                return {"collectionSummaries": [{"id": "ccc"}]}
            case "BatchGetCollection":
                return {
                    "collectionDetails": [
                        {"id": i, "arn": f"arn:aws:aoss:{REGION}:1:collection/{i}", "name": i}
                        for i in asked["ids"]
                    ]
                }
            case "ListTagsForResource":
                return {"tags": LOWER_PAIRS}
        return {"DomainNames": []}

    seen = seen_by("opensearch", NOWHERE, with_session=told(answer))
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert [r.name for r in seen.resources] == ["aaa", "bbb", "ccc"]


LISTED = """<?xml version="1.0"?><ListBucketResult><IsTruncated>{more}</IsTruncated>
<NextContinuationToken>{token}</NextContinuationToken>{items}</ListBucketResult>"""
THOUSAND = "".join(f"<Contents><Key>{n}.txt</Key><Size>7</Size></Contents>" for n in range(1000))


def _large_bucket(pages: int, measured: dict[str, Any] | None) -> Any:
    number = itertools.count(1)
    dimensions = [
        {"Name": "BucketName", "Value": "large"},
        {"Name": "StorageType", "Value": "StandardStorage"},
    ]

    def answer(request: Any) -> Any:
        if "list-type=2" in request.url and "/large?" in request.url:
            n = next(number)
            return LISTED.format(more=str(n < pages).lower(), token=n, items=THOUSAND).encode()
        if "monitoring" not in str(request.headers.get("Authorization")):
            return None
        if measured is None:
            return 400, b'{"__type": "AccessDenied"}'
        asked = _text(request)
        if "MetricDataQueries" not in asked:
            name = "NumberOfObjects" if "NumberOfObjects" in asked else "BucketSizeBytes"
            storage = [dimensions]
            if name == "BucketSizeBytes":
                storage += [[dimensions[0], dimensions[1] | {"Value": "GlacierStorage"}]]
            return {
                "Metrics": [
                    {"Namespace": "AWS/S3", "MetricName": name, "Dimensions": d} for d in storage
                ]
            }
        value = measured["objects" if "NumberOfObjects" in asked else "bytes"]
        count = asked.count('"Id"')
        return {
            "MetricDataResults": [
                {
                    "Id": f"m{n}",
                    "StatusCode": "Complete",
                    "Timestamps": [1.0, 2.0],
                    "Values": [1.0, value],
                }
                for n in range(count)
            ]
        }

    return told(answer)


def test_a_small_bucket_is_listed_and_a_large_one_has_its_metric(world: Networked) -> None:
    s3 = world.client("s3")
    for name in ("large", "small"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": PAIRS})
        s3.put_object(Bucket=name, Key="a.txt", Body=b"12345")
    seen = seen_by("s3", world.url)
    found = kinds(seen)["s3:bucket"]
    assert seen.outcome is Outcome.COMPLETE
    assert {(r.size_bytes, r.facts["size_is"]) for r in found.values()} == {(5, "listed")}
    assert {r.region for r in found.values()} == {REGION}
    assert found["small"].tags == TAGS

    def size(pages: int, measured: dict[str, Any] | None, limit: int = 200) -> tuple[Any, ...]:
        large = seen_by(
            "s3",
            world.url,
            with_session=_large_bucket(pages, measured),
            limits=Limits(pages=limit, attempts=1),
        )
        bucket = kinds(large)["s3:bucket"]["large"]
        facts = bucket.facts
        return large.outcome, bucket.size_bytes, facts["objects"], facts["size_is"]

    # two storage classes of 4·10⁹ bytes each; the listing stops after ten requests
    told_so = {"bytes": 4e9, "objects": 5e6}
    assert size(60, told_so) == (Outcome.COMPLETE, 8_000_000_000, 5_000_000, "storage metric")
    # a metric that knows of less than was listed is older than what stands there now
    assert size(12, {"bytes": 9, "objects": 1}) == (Outcome.COMPLETE, 84_000, 12_000, "listed")
    # no leave to read metrics: noted where one was needed, and the listing goes on
    assert size(12, None) == (Outcome.DENIED, 84_000, 12_000, "listed")
    assert size(10, None) == (Outcome.COMPLETE, 70_000, 10_000, "listed")
    lower = (Outcome.TRUNCATED, 14_000, 2_000, "listed, a lower bound")
    assert size(3, told_so, limit=2) == lower


def _text(request: Any) -> str:
    body = request.body or b""
    return body if isinstance(body, str) else body.decode()
