"""EFS: shared file systems with their bytes, and where they can be mounted."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.estate import Resource

ACTIONS = (
    "elasticfilesystem:DescribeFileSystems",
    "elasticfilesystem:DescribeMountTargets",
    "elasticfilesystem:DescribeMountTargetSecurityGroups",
)


def read(account: Account) -> None:
    """Add each file system; the service meters its bytes about once an hour."""
    efs = account.client("efs")
    for system in account.pages(efs, "describe_file_systems", "FileSystems"):
        identifier, tags = system["FileSystemId"], tags_of(system.get("Tags"))
        facts: dict[str, Any] = {
            "arn": system.get("FileSystemArn"),
            "state": system.get("LifeCycleState"),
            "mode": system.get("PerformanceMode"),
            "encrypted": system.get("Encrypted"),
            "address": f"{identifier}.efs.{account.region}.amazonaws.com",
            "size_is": "metered",
        }
        with account.tolerating(f"efs mount targets of {identifier}"):
            facts |= _mounts(account, efs, identifier)
        account.found.append(
            Resource(
                identifier,
                "efs:file-system",
                system.get("Name") or tags.get("Name", identifier),
                account.region,
                system.get("SizeInBytes", {}).get("Value"),
                tags,
                facts,
            )
        )


def _mounts(account: Account, efs: Any, identifier: str) -> dict[str, Any]:
    targets = list(
        account.pages(efs, "describe_mount_targets", "MountTargets", FileSystemId=identifier)
    )
    groups: set[str] = set()
    for target in targets:
        answer = efs.describe_mount_target_security_groups(MountTargetId=target["MountTargetId"])
        groups |= set(answer["SecurityGroups"])
    return {
        "subnets": [t["SubnetId"] for t in targets],
        "zones": sorted({z for t in targets if (z := t.get("AvailabilityZoneName"))}),
        "vpc": next((t["VpcId"] for t in targets if "VpcId" in t), None),
        "private_ips": [t["IpAddress"] for t in targets if "IpAddress" in t],
        "security_groups": sorted(groups),
    }
