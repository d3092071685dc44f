"""Create what the demo's plan names in an AWS account, where it is missing."""

from __future__ import annotations

import io
import json
import pydoc_data.topics
import zipfile
from typing import Any

import boto3
from botocore.exceptions import ClientError

from qafila.demo.estate_plan import (
    BALANCERS,
    BUCKETS,
    DATABASES,
    DISKS,
    FUNCTIONS,
    GROUPS,
    INSTANCES,
    QUEUES,
    REGION,
    TABLES,
    Seeded,
    lower_tags,
    tags_of,
)


class Maker:
    """Creates what is missing; every method returns what stands afterwards."""

    def __init__(self, endpoint_url: str) -> None:
        self._session = boto3.Session("testing", "testing", region_name=REGION)
        self._endpoint_url = endpoint_url
        self._ec2 = self.client("ec2")

    def client(self, service: str) -> Any:
        """Return a client that may write."""
        return self._session.client(service, endpoint_url=self._endpoint_url)

    def security_groups(self) -> dict[str, str]:
        found = {
            g["GroupName"]: g["GroupId"]
            for g in self._ec2.describe_security_groups()["SecurityGroups"]
        }
        new = [name for name in GROUPS if name not in found]
        vpc = self._ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        for name in new:
            answer = self._ec2.create_security_group(
                GroupName=name, Description=f"{name} of the demo", VpcId=vpc
            )
            found[name] = answer["GroupId"]
        for name in new:
            for port, source in GROUPS[name]:
                opened: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
                if source == "internet":
                    opened["IpRanges"] = [{"CidrIp": "0.0.0.0/0"}]
                else:
                    opened["UserIdGroupPairs"] = [{"GroupId": found[source]}]
                self._ec2.authorize_security_group_ingress(
                    GroupId=found[name], IpPermissions=[opened]
                )
        return found

    def instances(self, groups: dict[str, str]) -> dict[str, Seeded]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for reservation in self._ec2.describe_instances()["Reservations"]:
            for instance in reservation["Instances"]:
                tags = {t["Key"]: t["Value"] for t in instance.get("Tags", [])}
                if instance["State"]["Name"] != "terminated":
                    found[tags.get("Name", ""), instance["InstanceType"]] = instance
        image = ""
        for name, kind, zone, app, group in INSTANCES:
            if (name, kind) in found:
                continue
            image = image or self._ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
            tagged = [{"ResourceType": "instance", "Tags": tags_of(name, app)}] if name else []
            answer = self._ec2.run_instances(
                ImageId=image,
                InstanceType=kind,
                MinCount=1,
                MaxCount=1,
                SecurityGroupIds=[groups[group]],
                TagSpecifications=tagged,
                Placement={"AvailabilityZone": f"{REGION}{zone}"},
            )
            found[name, kind] = answer["Instances"][0]
        return {
            name: Seeded(
                found[name, kind]["InstanceId"],
                name,
                "instance",
                kind,
                app,
                address=found[name, kind].get("PrivateIpAddress", ""),
            )
            for name, kind, _, app, _ in INSTANCES
        }

    def disks(self, instances: dict[str, Seeded]) -> list[Seeded]:
        volumes = self._ec2.describe_volumes()["Volumes"]
        names = {
            t["Value"]: v["VolumeId"]
            for v in volumes
            for t in v.get("Tags", [])
            if t["Key"] == "Name"
        }
        zones = {name: zone for name, _, zone, _, _ in INSTANCES}
        for number, (name, size, owner) in enumerate(DISKS):
            if name in names:
                continue
            app = instances[owner].app if owner else "orders"
            volume = self._ec2.create_volume(
                Size=size,
                VolumeType="gp3",
                AvailabilityZone=f"{REGION}{zones[owner] if owner else 'a'}",
                TagSpecifications=[{"ResourceType": "volume", "Tags": tags_of(name, app)}],
            )
            names[name] = volume["VolumeId"]
            if owner:
                self._ec2.attach_volume(
                    VolumeId=names[name],
                    InstanceId=instances[owner].id,
                    Device=f"/dev/sd{'fghi'[number]}",
                )
        by_id = {v: n for n, v in names.items()}
        return [
            Seeded(
                v["VolumeId"],
                by_id.get(v["VolumeId"], "root disk"),
                "volume",
                v["VolumeType"],
                "",
                v["Size"],
            )
            for v in self._ec2.describe_volumes()["Volumes"]
        ]

    def addresses(self, instances: dict[str, Seeded]) -> None:
        if not self._ec2.describe_addresses()["Addresses"]:
            for name in ("shop-web-1", "docs-search-1"):
                address = self._ec2.allocate_address(Domain="vpc")
                self._ec2.associate_address(
                    AllocationId=address["AllocationId"], InstanceId=instances[name].id
                )

    def databases(self, groups: dict[str, str]) -> list[Seeded]:
        rds = self.client("rds")
        found = {d["DBInstanceIdentifier"]: d for d in rds.describe_db_instances()["DBInstances"]}
        for name, kind, size, app in DATABASES:
            if name not in found:
                answer = rds.create_db_instance(
                    DBInstanceIdentifier=name,
                    DBInstanceClass=kind,
                    Engine="postgres",
                    AllocatedStorage=size,
                    MasterUsername="admin0",
                    ManageMasterUserPassword=True,
                    Tags=tags_of(name, app),
                    VpcSecurityGroupIds=[groups["database"]],
                )
                found[name] = answer["DBInstance"]
        return [
            Seeded(
                found[n]["DBInstanceArn"],
                n,
                "database",
                kind,
                a,
                size,
                address=found[n].get("Endpoint", {}).get("Address", ""),
            )
            for n, kind, size, a in DATABASES
        ]

    def buckets(self) -> list[Seeded]:
        s3 = self.client("s3")
        found = {b["Name"] for b in s3.list_buckets()["Buckets"]}
        topics = sorted(pydoc_data.topics.topics.items())
        for name, app, objects, suffix in BUCKETS:
            if name in found:
                continue
            s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
            s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags_of(name, app)})
            for key, text in topics[:objects]:
                s3.put_object(Bucket=name, Key=f"{key}{suffix}", Body=text.encode())
        return [
            Seeded(f"arn:aws:s3:::{name}", name, "bucket", "", app) for name, app, _, _ in BUCKETS
        ]

    def balancers(self, groups: dict[str, str], instances: dict[str, Seeded]) -> list[Seeded]:
        elb = self.client("elbv2")
        subnets = self._ec2.describe_subnets()["Subnets"]
        zones = {s["AvailabilityZone"]: s["SubnetId"] for s in subnets}
        found = {
            b["LoadBalancerName"]: b["LoadBalancerArn"]
            for b in elb.describe_load_balancers()["LoadBalancers"]
        }
        for name, backends in BALANCERS:
            if name in found:
                continue
            balancer = elb.create_load_balancer(
                Name=name,
                Subnets=[zones[f"{REGION}a"], zones[f"{REGION}b"]],
                Type="application",
                SecurityGroups=[groups["balancer"]],
                Tags=tags_of(name, name),
            )["LoadBalancers"][0]
            found[name] = balancer["LoadBalancerArn"]
            for backend in backends:
                group = elb.create_target_group(
                    Name=backend,
                    Protocol="HTTP",
                    Port=8080,
                    VpcId=balancer["VpcId"],
                    TargetType="instance",
                    Tags=tags_of(backend, name),
                )["TargetGroups"][0]["TargetGroupArn"]
                elb.register_targets(
                    TargetGroupArn=group,
                    Targets=[{"Id": s.id} for n, s in instances.items() if n.startswith(backend)],
                )
                elb.create_listener(
                    LoadBalancerArn=found[name],
                    Protocol="HTTP",
                    Port=80 + backends.index(backend),
                    DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
                )
        return [Seeded(found[n], n, "balancer", "application", n) for n, _ in BALANCERS]

    def functions(self) -> list[Seeded]:
        client = self.client("lambda")
        found = {f["FunctionName"]: f["FunctionArn"] for f in client.list_functions()["Functions"]}
        role = self._role() if any(n not in found for n, _, _ in FUNCTIONS) else ""
        addresses = {
            d["DBInstanceIdentifier"]: d["Endpoint"]["Address"]
            for d in self.client("rds").describe_db_instances()["DBInstances"]
        }
        for name, app, database in FUNCTIONS:
            if name not in found:
                variables = {"LOG_LEVEL": "info"}
                if database:
                    variables["DATABASE_HOST"] = addresses[database]
                answer = client.create_function(
                    FunctionName=name,
                    Runtime="python3.12",
                    Role=role,
                    Handler="main.handler",
                    Code={"ZipFile": _package()},
                    MemorySize=256,
                    Environment={"Variables": variables},
                    Tags=lower_tags(name, app),
                )
                found[name] = answer["FunctionArn"]
        return [Seeded(found[n], n, "function", "256", app) for n, app, _ in FUNCTIONS]

    def tables(self) -> list[Seeded]:
        client = self.client("dynamodb")
        found = set(client.list_tables()["TableNames"])
        for name, app in TABLES:
            if name not in found:
                client.create_table(
                    TableName=name,
                    BillingMode="PAY_PER_REQUEST",
                    Tags=tags_of(name, app),
                    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                )
        return [
            Seeded(client.describe_table(TableName=n)["Table"]["TableArn"], n, "table", "", a)
            for n, a in TABLES
        ]

    def queues(self) -> list[Seeded]:
        client = self.client("sqs")
        seeded = []
        for name, app in QUEUES:  # creating a queue that exists returns it
            url = client.create_queue(QueueName=name, tags=lower_tags(name, app))["QueueUrl"]
            answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            seeded.append(Seeded(answer["Attributes"]["QueueArn"], name, "queue", "", app))
        return seeded

    def _role(self) -> str:
        iam = self.client("iam")
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        try:
            answer = iam.create_role(
                RoleName="demo-functions", AssumeRolePolicyDocument=json.dumps(trust)
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "EntityAlreadyExists":
                raise
            answer = iam.get_role(RoleName="demo-functions")
        return str(answer["Role"]["Arn"])


def _package() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("main.py", "def handler(event, context):\n    return event\n")
    return buffer.getvalue()
