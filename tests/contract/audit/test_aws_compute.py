"""Machines, containers, functions, balancers and the network, and what hangs on them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from qafila.audit.collectors import Limits
from qafila.audit.estate import Outcome
from tests.support.aws import running_moto
from tests.support.aws_reading import (
    LOWER_PAIRS,
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

SECRET = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:shop/db-AbCdEf"


class Seeded(World):
    """One moto server with a network and two machines."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.ec2 = self.client("ec2")
        self.subnets = {s["AvailabilityZone"]: s for s in self.ec2.describe_subnets()["Subnets"]}
        self.subnet = self.subnets[f"{REGION}a"]["SubnetId"]
        self.vpc = self.subnets[f"{REGION}a"]["VpcId"]
        self.group = self.ec2.create_security_group(
            GroupName="web", Description="web", VpcId=self.vpc
        )["GroupId"]
        image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        self.machines = [
            self.ec2.run_instances(
                ImageId=image,
                InstanceType=kind,
                MinCount=1,
                MaxCount=1,
                SubnetId=self.subnet,
                SecurityGroupIds=[self.group],
                TagSpecifications=[{"ResourceType": "instance", "Tags": PAIRS}],
            )["Instances"][0]["InstanceId"]
            for kind in ("t3.medium", "g5.12xlarge")
        ]


@pytest.fixture(scope="module")
def world() -> Iterator[Seeded]:
    with running_moto() as url:
        yield Seeded(url)


def test_machines_have_their_hardware_and_snapshots_are_our_own(world: Seeded) -> None:
    volume = world.ec2.create_volume(Size=7, AvailabilityZone=f"{REGION}a")["VolumeId"]
    own = {
        world.ec2.create_snapshot(
            VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": PAIRS}]
        )["SnapshotId"]
        for _ in range(2)
    }
    seen = seen_by("ec2", world.url)
    assert seen.outcome is Outcome.COMPLETE
    machines = {r.facts["type"]: r for r in seen.resources if r.kind == "ec2:instance"}
    gpu = machines["g5.12xlarge"]
    assert (gpu.facts["gpus"], gpu.facts["gpu_model"]) == (4, "NVIDIA A10G")
    assert (gpu.facts["vcpus"], machines["t3.medium"].facts["gpus"]) == (48, 0)
    assert gpu.tags == TAGS
    assert (gpu.facts["zone"], gpu.facts["vpc"], gpu.facts["subnet"]) == (
        f"{REGION}a",
        world.vpc,
        world.subnet,
    )
    assert gpu.facts["security_groups"] == [world.group]
    snapshots = {r.id: r for r in seen.resources if r.kind == "ec2:snapshot"}
    assert set(snapshots) == own
    for snapshot in snapshots.values():
        assert (snapshot.facts["volume"], snapshot.size_bytes) == (volume, 7 << 30)
        assert snapshot.facts["arn"].endswith(f":snapshot/{snapshot.id}")
        assert snapshot.tags == TAGS


def test_without_leave_to_describe_types_the_machines_stay(world: Seeded) -> None:
    def closed(request: Any) -> tuple[int, bytes] | None:
        refused = b"<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors>"
        body = request.body or b""
        text = body if isinstance(body, str) else body.decode()
        return (403, refused + b"</Response>") if "DescribeInstanceTypes" in text else None

    seen = seen_by("ec2", world.url, with_session=told(closed))
    assert seen.outcome is Outcome.DENIED
    assert "instance types" in seen.missed
    assert {r.id for r in seen.resources if r.kind == "ec2:instance"} == set(world.machines)


def test_the_network_and_by_which_way_it_is_left(world: Seeded) -> None:
    ec2 = world.ec2
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[other], Tags=PAIRS)
    peerings = []
    for _ in range(2):
        answer = ec2.create_vpc_peering_connection(VpcId=world.vpc, PeerVpcId=other)
        peerings.append(answer["VpcPeeringConnection"]["VpcPeeringConnectionId"])
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peerings[0])
    gateways = [
        ec2.create_nat_gateway(
            SubnetId=world.subnet,
            AllocationId=ec2.allocate_address(Domain="vpc")["AllocationId"],
            TagSpecifications=[{"ResourceType": "natgateway", "Tags": PAIRS}],
        )["NatGateway"]["NatGatewayId"]
        for _ in range(2)
    ]
    table = ec2.create_route_table(VpcId=world.vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateways[0])
    ec2.associate_route_table(RouteTableId=table, SubnetId=world.subnet)
    endpoints = [
        ec2.create_vpc_endpoint(
            VpcId=world.vpc,
            ServiceName=f"com.amazonaws.{REGION}.{service}",
            VpcEndpointType=kind,
            TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": PAIRS}],
        )["VpcEndpoint"]["VpcEndpointId"]
        for service, kind in (("s3", "Gateway"), ("sqs", "Interface"))
    ]
    card = ec2.create_network_interface(
        SubnetId=world.subnet, Description=f"VPC Endpoint Interface {endpoints[1]}"
    )["NetworkInterface"]["NetworkInterfaceId"]
    seen = seen_by("vpc", world.url)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    by_id = {r.id: r for r in seen.resources}
    assert by_id[other].tags == TAGS
    assert by_id[world.subnet].facts["vpc"] == world.vpc
    assert by_id[world.subnet].facts["zone"] == f"{REGION}a"
    for gateway in gateways:
        assert by_id[gateway].tags == TAGS
        assert by_id[gateway].facts["subnet"] == world.subnet
        assert by_id[gateway].facts["arn"].endswith(f":natgateway/{gateway}")
    for endpoint in endpoints:
        assert by_id[endpoint].tags == TAGS
    assert {by_id[e].facts["type"] for e in endpoints} == {"Gateway", "Interface"}
    assert {by_id[p].facts["state"] for p in peerings} == {"active", "pending-acceptance"}
    assert {(world.vpc, other), (other, world.vpc)} <= edges(seen, "network-allows")
    assert (world.subnet, gateways[0]) in edges(seen, "routes")
    assert (endpoints[1], card) in edges(seen, "attaches")
    assert by_id[card].facts["attached_to"] == endpoints[1]
    assert by_id[card].facts["private_ips"]
    cards = [r for r in seen.resources if r.kind == "ec2:network-interface"]
    assert {c.facts["attached_to"] for c in cards} >= set(world.machines)
    assert {(m, c.id) for c in cards for m in world.machines if c.facts["attached_to"] == m} <= (
        edges(seen, "attaches")
    )


def test_who_may_reach_whom(world: Seeded) -> None:
    def opened(port: int, **who: Any) -> dict[str, Any]:
        return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **who}

    groups = {
        name: world.ec2.create_security_group(
            GroupName=name,
            Description=name,
            VpcId=world.vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": PAIRS}],
        )["GroupId"]
        for name in ("front", "behind")
    }
    world.ec2.authorize_security_group_ingress(
        GroupId=groups["behind"],
        IpPermissions=[
            opened(5432, UserIdGroupPairs=[{"GroupId": groups["front"]}]),
            opened(22, IpRanges=[{"CidrIp": "10.0.0.0/16"}]),
        ],
    )
    world.ec2.authorize_security_group_ingress(
        GroupId=groups["front"],
        IpPermissions=[opened(443, Ipv6Ranges=[{"CidrIpv6": "::/0"}])],
    )
    seen = seen_by("security-groups", world.url)
    found = kinds(seen)["ec2:security-group"]
    assert seen.outcome is Outcome.COMPLETE
    behind, front = found["behind"], found["front"]
    assert behind.tags == front.tags == TAGS
    assert behind.facts["allows_from"] == [{"from": groups["front"], "port": "5432"}]
    assert behind.facts["allows_ranges"] == [{"range": "10.0.0.0/16", "port": "22"}]
    assert front.facts["allows_from"] == [{"from": "internet", "port": "443"}]
    assert behind.facts["vpc"] == world.vpc
    assert behind.facts["arn"].endswith(f":security-group/{groups['behind']}")


def test_containers_their_secrets_by_name_and_never_a_value(world: Seeded) -> None:
    ecs = world.client("ecs")
    tasks = [
        ecs.register_task_definition(
            family=family,
            tags=LOWER_PAIRS,
            volumes=[{"name": "shared", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
            containerDefinitions=[
                {
                    "name": "main",
                    "image": "example/api:1",
                    "memory": 512,
                    "environment": [
                        {"name": "DATABASE_URL", "value": "postgres://u:hunter2x@db.internal/shop"},
                        {"name": "QUEUE", "value": f"arn:aws:sqs:{REGION}:123456789012:orders"},
                    ],
                    "secrets": [{"name": "DB_PASSWORD", "valueFrom": f"{SECRET}:password::"}],
                    "resourceRequirements": [{"type": "GPU", "value": "1"}],
                }
            ],
        )["taskDefinition"]["taskDefinitionArn"]
        for family in ("api", "batch")
    ]
    clusters = {
        name: ecs.create_cluster(clusterName=name, tags=LOWER_PAIRS)["cluster"]["clusterArn"]
        for name in ("front", "back")
    }
    services = {}
    for number in range(12):  # more than one DescribeServices may name
        answer = ecs.create_service(
            cluster="front",
            serviceName=f"api-{number}",
            taskDefinition="api",
            desiredCount=1,
            tags=LOWER_PAIRS,
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": [world.subnet],
                    "securityGroups": [world.group],
                }
            },
        )["service"]
        services[answer["serviceName"]] = answer["serviceArn"]
    seen = seen_by("ecs", world.url)
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert {n: r.id for n, r in found["ecs:cluster"].items()} == clusters
    assert {n: r.id for n, r in found["ecs:service"].items()} == services
    assert all(r.tags == TAGS for r in found["ecs:cluster"].values())
    assert all(r.tags == TAGS for r in found["ecs:service"].values())
    assert found["ecs:service"]["api-0"].facts["security_groups"] == [world.group]
    definitions = found["ecs:task-definition"]
    assert {r.id for r in definitions.values()} == set(tasks)
    api = definitions["api:1"]
    assert api.tags == TAGS
    assert api.facts["variables"] == ["DATABASE_URL", "DB_PASSWORD", "QUEUE"]
    assert api.facts["hosts"] == {"DATABASE_URL": "db.internal"}
    assert (api.facts["secrets"], api.facts["gpus"]) == ([SECRET], 1)
    assert "hunter2" not in repr(seen)
    assert (services["api-3"], tasks[0]) in edges(seen, "deploys")
    assert (clusters["front"], services["api-11"]) in edges(seen, "deploys")
    assert (tasks[0], "fs-1") in edges(seen, "attaches")
    assert (tasks[0], f"arn:aws:sqs:{REGION}:123456789012:orders") in edges(seen, "calls")


def test_a_list_of_containers_is_followed_over_its_pages() -> None:
    """Moto never pages ECS: the answers are in the published shape."""
    arn = f"arn:aws:ecs:{REGION}:123456789012:cluster"

    def page(request: Any) -> dict[str, Any]:
        asked = json.loads(request.body)
        match operation_of(request):
            case "ListClusters" if "nextToken" not in asked:
                return {"clusterArns": [f"{arn}/c{n}" for n in range(100)], "nextToken": "more"}
            case "ListClusters":
                return {"clusterArns": [f"{arn}/c100"]}
            case "DescribeClusters":
                assert len(asked["clusters"]) <= 100
                return {
                    "clusters": [
                        {"clusterArn": c, "clusterName": c.rsplit("/", 1)[-1]}
                        for c in asked["clusters"]
                    ]
                }
            case "ListServices":
                return {"serviceArns": []}
            case _:
                return {"families": []}

    seen = seen_by("ecs", "http://127.0.0.1:1", with_session=told(page))
    assert (seen.outcome, len(seen.resources)) == (Outcome.COMPLETE, 101)

    def failing(request: Any) -> dict[str, Any]:
        reasons = ("MISSING", "INTERNAL_FAILURE")
        failures = [{"arn": f"{arn}/{reason}", "reason": reason} for reason in reasons]
        described = operation_of(request) == "DescribeClusters"
        return page(request) | ({"failures": failures} if described else {})

    seen = seen_by("ecs", "http://127.0.0.1:1", with_session=told(failing))
    assert (seen.outcome, len(seen.resources)) == (Outcome.UNSUPPORTED, 101)
    assert seen.missed == f"ecs {arn}/INTERNAL_FAILURE: ecs said INTERNAL_FAILURE"


def test_a_cluster_of_kubernetes_with_its_machines(world: Seeded) -> None:
    eks = world.client("eks")
    role = "arn:aws:iam::123456789012:role/eks"
    for name in ("one", "two"):
        eks.create_cluster(
            name=name,
            roleArn=role,
            tags=TAGS,
            resourcesVpcConfig={"subnetIds": [world.subnet], "securityGroupIds": [world.group]},
        )
        for group in ("cpu", "gpu"):
            eks.create_nodegroup(
                clusterName=name,
                nodegroupName=group,
                nodeRole=role,
                subnets=[world.subnet],
                instanceTypes=["g5.xlarge"],
                tags=TAGS,
                scalingConfig={"minSize": 1, "maxSize": 3, "desiredSize": 2},
            )
    seen = seen_by("eks", world.url)
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert set(found["eks:cluster"]) == {"one", "two"}
    groups = [r for r in seen.resources if r.kind == "eks:node-group"]
    assert len(groups) == 4
    assert all(r.tags == TAGS for r in seen.resources)
    assert {(r.facts["nodes"], *r.facts["types"]) for r in groups} == {(2, "g5.xlarge")}
    assert {r.facts["gpus"] for r in groups} == {2}
    one = found["eks:cluster"]["one"]
    assert world.group in one.facts["security_groups"]
    assert one.facts["address"]
    assert "/" not in one.facts["address"]
    assert len(edges(seen, "deploys")) == 4


def test_functions_and_what_feeds_them(world: Seeded) -> None:
    queue = world.client("sqs").create_queue(QueueName="feed")["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:123456789012:feed"
    table = world.client("dynamodb").create_table(
        TableName="feed",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )["TableDescription"]
    role = world.client("iam").create_role(RoleName="functions", AssumeRolePolicyDocument="{}")
    functions = {}
    client = world.client("lambda")
    for name, source in (("from-queue", arn), ("from-table", table["LatestStreamArn"])):
        functions[name] = client.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role=role["Role"]["Arn"],
            Handler="m.h",
            Code={"ZipFile": _package()},
            Tags=TAGS,
            Environment={"Variables": {"QUEUE_URL": queue, "DB_PASSWORD": "correct.horse.com"}},
            VpcConfig={"SubnetIds": [world.subnet], "SecurityGroupIds": [world.group]},
        )["FunctionArn"]
        client.create_event_source_mapping(
            FunctionName=name, EventSourceArn=source, StartingPosition="LATEST", BatchSize=5
        )
    seen = seen_by("lambda", world.url)
    found = kinds(seen)["lambda:function"]
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert {n: r.id for n, r in found.items()} == functions
    assert all(r.tags == TAGS for r in found.values())
    assert found["from-queue"].facts["security_groups"] == [world.group]
    assert found["from-queue"].facts["subnets"] == [world.subnet]
    assert edges(seen, "reads") == {
        (functions["from-queue"], arn),
        (functions["from-table"], table["TableArn"]),
    }
    assert "correct.horse" not in repr(seen)


def test_functions_are_followed_over_their_pages() -> None:
    """Moto never pages Lambda: the answers are in the published shape."""

    def page(request: Any) -> dict[str, Any]:
        if "/event-source-mappings" in request.url:
            return {"EventSourceMappings": []}
        if "/tags/" in request.url:
            return {"Tags": {}}
        first = 0 if "Marker" not in request.url else 50
        arn = f"arn:aws:lambda:{REGION}:123456789012:function"
        functions = [
            {
                "FunctionArn": f"{arn}:f{n}",
                "FunctionName": f"f{n}",
                "DeadLetterConfig": {"TargetArn": "arn:dead"},
            }
            for n in range(first, first + 50)
        ]
        return {"Functions": functions} | ({} if first else {"NextMarker": "more"})

    seen = seen_by("lambda", "http://127.0.0.1:1", with_session=told(page))
    assert (seen.outcome, len(seen.resources)) == (Outcome.COMPLETE, 100)
    assert edges(seen, "writes") == {(r.id, "arn:dead") for r in seen.resources}
    cut = seen_by(
        "lambda", "http://127.0.0.1:1", with_session=told(page), limits=Limits(pages=1, attempts=1)
    )
    assert (cut.outcome, len(cut.resources)) == (Outcome.TRUNCATED, 50)


def test_balancers_of_both_generations(world: Seeded) -> None:
    classic, second = world.client("elb"), world.client("elbv2")
    for name in ("old-1", "old-2"):
        classic.create_load_balancer(
            LoadBalancerName=name,
            Tags=PAIRS,
            Subnets=[world.subnet],
            SecurityGroups=[world.group],
            Listeners=[{"Protocol": "http", "LoadBalancerPort": 80, "InstancePort": 8080}],
        )
        classic.register_instances_with_load_balancer(
            LoadBalancerName=name, Instances=[{"InstanceId": world.machines[0]}]
        )
    names = [f"new-{n}" for n in range(12)]  # with their groups more than DescribeTags may name
    for name in names:
        balancer = second.create_load_balancer(
            Name=name,
            Subnets=[s["SubnetId"] for s in world.subnets.values()][:2],
            Tags=PAIRS,
            SecurityGroups=[world.group],
        )["LoadBalancers"][0]["LoadBalancerArn"]
        group = second.create_target_group(
            Name=name, Protocol="HTTP", Port=80, VpcId=world.vpc, TargetType="instance", Tags=PAIRS
        )["TargetGroups"][0]["TargetGroupArn"]
        second.register_targets(TargetGroupArn=group, Targets=[{"Id": world.machines[1]}])
        second.create_listener(
            LoadBalancerArn=balancer,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
    seen = seen_by("elb", world.url)
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert set(found["elb:load-balancer"]) == {"old-1", "old-2", *names}
    assert set(found["elb:target-group"]) == set(names)
    assert all(r.tags == TAGS for r in seen.resources)
    old = found["elb:load-balancer"]["old-1"]
    assert (old.facts["type"], old.facts["security_groups"]) == ("classic", [world.group])
    assert old.id.endswith(":loadbalancer/old-1")
    assert (old.id, world.machines[0]) in edges(seen, "routes")
    new, group_of = found["elb:load-balancer"]["new-3"], found["elb:target-group"]["new-3"]
    assert {(new.id, group_of.id), (group_of.id, world.machines[1])} <= edges(seen, "routes")
    assert new.facts["address"]


def _package() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m.py", "def h(event, context):\n    return event\n")
    return buffer.getvalue()
