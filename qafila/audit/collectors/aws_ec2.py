"""EC2: instances with their types and GPUs, disks, snapshots, fixed addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.variables import partition_of
from qafila.audit.estate import Edge, Resource

ACTIONS = (
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeVolumes",
    "ec2:DescribeSnapshots",
    "ec2:DescribeAddresses",
)
_TYPES_A_CALL = 100  # limit of DescribeInstanceTypes


def read(account: Account) -> None:
    """Add what runs, what it stores on and what it is reached by.

    Where instance types may not be described, the instances stay, with a GPU only by the name of
    their family (:func:`qafila.audit.estate.has_gpu`).
    """
    ec2 = account.client("ec2")
    owner = None
    with account.tolerating("ec2 instances"):
        owner = _instances(account, ec2)
    with account.tolerating("ec2 volumes"):
        _volumes(account, ec2)
    with account.tolerating("ec2 snapshots"):
        _snapshots(account, ec2, owner)
    with account.tolerating("ec2 addresses"):
        _addresses(account, ec2)


def _instances(account: Account, ec2: Any) -> str | None:
    by_type: defaultdict[str, list[Resource]] = defaultdict(list)
    owner = None
    for reservation in account.pages(ec2, "describe_instances", "Reservations"):
        owner = reservation["OwnerId"]
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] == "terminated":
                continue
            tags = tags_of(instance.get("Tags"))
            identifier = instance["InstanceId"]
            facts = {
                "arn": _arn(account, "instance", identifier, owner),
                "type": instance["InstanceType"],
                "state": instance["State"]["Name"],
                "zone": instance["Placement"]["AvailabilityZone"],
                "vpc": instance.get("VpcId"),
                "subnet": instance.get("SubnetId"),
                "private_ip": instance.get("PrivateIpAddress"),
                "public_ip": instance.get("PublicIpAddress"),
                "launched": instance["LaunchTime"].isoformat()
                if "LaunchTime" in instance
                else None,
                "lifecycle": instance.get("InstanceLifecycle", "on-demand"),
                "security_groups": [g["GroupId"] for g in instance.get("SecurityGroups", [])],
            }
            account.found.append(
                Resource(
                    identifier,
                    "ec2:instance",
                    tags.get("Name", identifier),
                    account.region,
                    None,
                    tags,
                    facts,
                )
            )
            by_type[instance["InstanceType"]].append(account.found[-1])
    with account.tolerating("ec2 instance types"):
        for described in _types(account, ec2, sorted(by_type)):
            hardware = _hardware(described)
            for found in by_type[described["InstanceType"]]:  # the later of the same id counts
                account.found.append(replace(found, facts={**found.facts, **hardware}))
    return owner


def _types(account: Account, ec2: Any, names: list[str]) -> Iterable[dict[str, Any]]:
    for start in range(0, len(names), _TYPES_A_CALL):
        yield from account.pages(
            ec2,
            "describe_instance_types",
            "InstanceTypes",
            InstanceTypes=names[start : start + _TYPES_A_CALL],
        )


def _hardware(described: dict[str, Any]) -> dict[str, Any]:
    gpus = described.get("GpuInfo", {}).get("Gpus", [])
    hardware: dict[str, Any] = {
        "vcpus": described.get("VCpuInfo", {}).get("DefaultVCpus"),
        "memory_mib": described.get("MemoryInfo", {}).get("SizeInMiB"),
        "gpus": sum(g.get("Count", 1) for g in gpus),
    }
    if gpus:
        hardware["gpu_model"] = " ".join(
            p for p in (gpus[0].get("Manufacturer"), gpus[0].get("Name")) if p
        )
        hardware["gpu_memory_mib"] = described["GpuInfo"].get("TotalGpuMemoryInMiB")
    chips = described.get("NeuronInfo", {}).get("NeuronDevices", [])
    if chips:
        hardware["accelerators"] = sum(c.get("Count", 1) for c in chips)
    return hardware


def _volumes(account: Account, ec2: Any) -> None:
    for volume in account.pages(ec2, "describe_volumes", "Volumes"):
        tags = tags_of(volume.get("Tags"))
        account.found.append(
            Resource(
                volume["VolumeId"],
                "ec2:volume",
                tags.get("Name", volume["VolumeId"]),
                account.region,
                volume["Size"] << 30,
                tags,
                {
                    "type": volume["VolumeType"],
                    "state": volume["State"],
                    "zone": volume.get("AvailabilityZone"),
                    "iops": volume.get("Iops"),
                    "encrypted": volume.get("Encrypted"),
                    "snapshot": volume.get("SnapshotId") or None,
                },
            )
        )
        account.edges += [
            Edge(a["InstanceId"], volume["VolumeId"], "attaches", "ec2 volume attachment", 1.0)
            for a in volume.get("Attachments", [])
            if a.get("InstanceId")
        ]


def _snapshots(account: Account, ec2: Any, owner: str | None) -> None:
    """Add our own snapshots; those of images that others publish are not ours to count.

    ``size_bytes`` is the size of the disk, which a snapshot that holds changes alone stays below.
    """
    for snapshot in account.pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"]):
        if owner is not None and snapshot.get("OwnerId", owner) != owner:
            continue
        identifier, tags = snapshot["SnapshotId"], tags_of(snapshot.get("Tags"))
        account.found.append(
            Resource(
                identifier,
                "ec2:snapshot",
                tags.get("Name", identifier),
                account.region,
                snapshot["VolumeSize"] << 30,
                tags,
                {
                    "arn": _arn(account, "snapshot", identifier, snapshot.get("OwnerId", "")),
                    "volume": snapshot.get("VolumeId"),
                    "state": snapshot.get("State"),
                    "tier": snapshot.get("StorageTier"),
                    "started": snapshot["StartTime"].isoformat(),
                    "size_is": "size of the disk",
                },
            )
        )


def _addresses(account: Account, ec2: Any) -> None:
    for address in account.pages(ec2, "describe_addresses", "Addresses"):
        identifier = address.get("AllocationId", address["PublicIp"])
        tags = tags_of(address.get("Tags"))
        account.found.append(
            Resource(
                identifier,
                "ec2:address",
                tags.get("Name", address["PublicIp"]),
                account.region,
                None,
                tags,
                {"in_use": "AssociationId" in address, "public_ip": address["PublicIp"]},
            )
        )
        if address.get("InstanceId"):
            account.edges.append(
                Edge(address["InstanceId"], identifier, "attaches", "ec2 address", 1.0)
            )


def _arn(account: Account, kind: str, identifier: str, owner: str) -> str:
    return f"arn:{partition_of(account.region)}:ec2:{account.region}:{owner}:{kind}/{identifier}"
