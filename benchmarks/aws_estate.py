"""Fill a test server with an estate whose every resource is known by its id."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3

from benchmarks.aws_server import SEEDER

REGIONS = ("eu-west-3", "eu-west-1", "us-east-1", "ap-south-1")
# What a region's resources are, in thousandths.
SHARES = {
    "instances": 300,
    "volumes": 420,
    "groups": 100,
    "functions": 80,
    "topics": 40,
    "databases": 20,
    "addresses": 20,
    "buckets": 20,
}
HIDDEN = {"sqs": 20, "dynamodb": 20}  # on top, of the services that are denied
_BATCH = 100


def fill(url: str, resources: int) -> tuple[frozenset[str], frozenset[str]]:
    """Make so many resources over four regions; return their ids, and those of the hidden ones.

    The hidden ones stand in services that will be denied, and come on top.
    """
    role = _client(url, "iam", REGIONS[0]).create_role(
        RoleName="functions",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}),
    )["Role"]["Arn"]
    shares = [resources // len(REGIONS) + (n < resources % len(REGIONS)) for n in range(4)]
    makers = [_Maker(url, region, role) for region in REGIONS]
    # One thread a region: moto's regions stand apart, and within one it may trip over itself.
    with ThreadPoolExecutor(len(REGIONS)) as pool:
        made = list(pool.map(_made, makers, shares))
    seen = [name for ids, _ in made for name in ids]
    hidden = [name for _, ids in made for name in ids]
    for maker, count in zip(makers, shares, strict=True):  # they have no region
        seen += [name for n in range(_numbers(count)["buckets"]) for name in maker.buckets(n)]
    return frozenset(seen), frozenset(hidden)


def _numbers(count: int) -> dict[str, int]:
    numbers = {kind: count * share // 1000 for kind, share in SHARES.items()}
    numbers["volumes"] += count - sum(numbers.values())
    return numbers


def _made(maker: _Maker, count: int) -> tuple[list[str], list[str]]:
    """Return the ids of what was made in a region, and of what will be hidden there."""
    seen: list[str] = []
    for kind, number in _numbers(count).items():
        if kind == "instances":
            for start in range(0, number, _BATCH):
                seen += maker.instances(min(_BATCH, number - start))
        elif kind != "buckets":
            seen += [name for n in range(number) for name in getattr(maker, kind)(n)]
    hidden = [
        name
        for kind, share in HIDDEN.items()
        for n in range(max(1, count * share // 1000))
        for name in getattr(maker, kind)(n)
    ]
    return seen, hidden


def _client(url: str, service: str, region: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=SEEDER,
        aws_secret_access_key=SEEDER,
    )


class _Maker:
    """Makes things of each kind in one region, and returns their ids as an audit names them."""

    def __init__(self, url: str, region: str, role: str) -> None:
        self._region, self._role = region, role
        self._client = {
            name: _client(url, name, region)
            for name in ("ec2", "lambda", "sns", "rds", "s3", "sqs", "dynamodb")
        }
        self._vpc = self._client["ec2"].describe_vpcs()["Vpcs"][0]["VpcId"]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("main.py", "def main(*_): ...")
        self._code = packed.getvalue()

    def instances(self, number: int) -> list[str]:
        """Make so many at once."""
        made = self._client["ec2"].run_instances(
            ImageId="ami-1", InstanceType="t3.micro", MinCount=number, MaxCount=number
        )
        return [instance["InstanceId"] for instance in made["Instances"]]

    def volumes(self, number: int) -> list[str]:
        """Make one; so do the others."""
        zone = f"{self._region}a"
        return [self._client["ec2"].create_volume(AvailabilityZone=zone, Size=8)["VolumeId"]]

    def groups(self, number: int) -> list[str]:
        name = f"group-{number}"
        made = self._client["ec2"].create_security_group(
            GroupName=name, Description=name, VpcId=self._vpc
        )
        return [made["GroupId"]]

    def addresses(self, number: int) -> list[str]:
        return [self._client["ec2"].allocate_address(Domain="vpc")["AllocationId"]]

    def functions(self, number: int) -> list[str]:
        made = self._client["lambda"].create_function(
            FunctionName=f"function-{number}",
            Runtime="python3.13",
            Role=self._role,
            Handler="main.main",
            Code={"ZipFile": self._code},
        )
        return [made["FunctionArn"]]

    def topics(self, number: int) -> list[str]:
        return [self._client["sns"].create_topic(Name=f"topic-{number}")["TopicArn"]]

    def databases(self, number: int) -> list[str]:
        made = self._client["rds"].create_db_instance(
            DBInstanceIdentifier=f"database-{number}",
            DBInstanceClass="db.t3.micro",
            Engine="postgres",
            AllocatedStorage=20,
            MasterUsername="u",
            MasterUserPassword="longer-than-eight",
        )
        return [made["DBInstance"]["DBInstanceArn"]]

    def buckets(self, number: int) -> list[str]:
        name = f"qafila-bench-{self._region}-{number}"
        where = {"LocationConstraint": self._region}
        more = {} if self._region == "us-east-1" else {"CreateBucketConfiguration": where}
        self._client["s3"].create_bucket(Bucket=name, **more)
        return [name]

    def sqs(self, number: int) -> list[str]:
        return [self._client["sqs"].create_queue(QueueName=f"queue-{number}")["QueueUrl"]]

    def dynamodb(self, number: int) -> list[str]:
        made = self._client["dynamodb"].create_table(
            TableName=f"table-{number}",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        )
        return [made["TableDescription"]["TableArn"]]
