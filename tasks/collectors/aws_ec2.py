"""EC2: instances, disks, fixed addresses."""

from __future__ import annotations

from qafila.core.estate import Edge, Resource
from tasks.collectors.aws_account import Account, tags_of

ACTIONS = ("ec2:DescribeInstances", "ec2:DescribeVolumes", "ec2:DescribeAddresses")


def read(account: Account) -> None:
    """Add instances with their types and zones, volumes with their sizes, addresses."""
    ec2 = account.client("ec2")
    for reservation in account.pages(ec2, "describe_instances", "Reservations"):
        for instance in reservation["Instances"]:
            state = instance["State"]["Name"]
            if state == "terminated":
                continue
            tags = tags_of(instance.get("Tags"))
            owner = reservation["OwnerId"]
            account.found.append(
                Resource(
                    instance["InstanceId"], "ec2:instance",
                    tags.get("Name", instance["InstanceId"]), account.region, None, tags,
                    {
                        "arn": f"arn:aws:ec2:{account.region}:{owner}:instance/"
                        f"{instance['InstanceId']}",
                        "type": instance["InstanceType"],
                        "state": state,
                        "zone": instance["Placement"]["AvailabilityZone"],
                        "launched": instance["LaunchTime"].isoformat(),
                        "security_groups": [g["GroupId"] for g in instance["SecurityGroups"]],
                    },
                )
            )  # fmt: skip
    for volume in account.pages(ec2, "describe_volumes", "Volumes"):
        tags = tags_of(volume.get("Tags"))
        account.found.append(
            Resource(
                volume["VolumeId"], "ec2:volume", tags.get("Name", volume["VolumeId"]),
                account.region, volume["Size"] << 30, tags,
                {"type": volume["VolumeType"], "state": volume["State"]},
            )
        )  # fmt: skip
        account.edges += [
            Edge(a["InstanceId"], volume["VolumeId"], "attaches", "ec2 volume attachment", 1.0)
            for a in volume.get("Attachments", [])
        ]
    for address in account.pages(ec2, "describe_addresses", "Addresses"):
        identifier = address.get("AllocationId", address["PublicIp"])
        tags = tags_of(address.get("Tags"))
        account.found.append(
            Resource(identifier, "ec2:address", tags.get("Name", address["PublicIp"]),
                     account.region, None, tags, {"in_use": "AssociationId" in address})
        )  # fmt: skip
