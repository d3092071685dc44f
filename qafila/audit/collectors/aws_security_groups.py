"""Security groups: who may reach whom."""

from __future__ import annotations

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.variables import partition_of
from qafila.audit.estate import Resource

ACTIONS = ("ec2:DescribeSecurityGroups",)
_EVERYBODY = {"0.0.0.0/0", "::/0"}


def read(account: Account) -> None:
    """Add each group with the groups, the internet and the ranges that its rules let in.

    ``allows_from``: groups, and ``internet`` for everybody; ``allows_ranges``: other addresses, and
    prefix lists by id. A port is the first of its range, or ``all``.
    """
    ec2 = account.client("ec2")
    for group in account.pages(ec2, "describe_security_groups", "SecurityGroups"):
        allows: list[dict[str, str]] = []
        others: list[dict[str, str]] = []
        for rule in group.get("IpPermissions", []):
            port = "all" if rule["IpProtocol"] == "-1" else str(rule.get("FromPort", "all"))
            sources = [p["GroupId"] for p in rule.get("UserIdGroupPairs", []) if "GroupId" in p]
            ranges = [r["CidrIp"] for r in rule.get("IpRanges", [])]
            ranges += [r["CidrIpv6"] for r in rule.get("Ipv6Ranges", [])]
            if _EVERYBODY & set(ranges):
                sources.append("internet")
            allows += [{"from": source, "port": port} for source in sources]
            ranges += [p["PrefixListId"] for p in rule.get("PrefixListIds", [])]
            others += [{"range": r, "port": port} for r in ranges if r not in _EVERYBODY]
        place = f"{partition_of(account.region)}:ec2:{account.region}:{group.get('OwnerId', '')}"
        account.found.append(
            Resource(
                group["GroupId"],
                "ec2:security-group",
                group["GroupName"],
                account.region,
                None,
                tags_of(group.get("Tags")),
                {
                    "arn": f"arn:{place}:security-group/{group['GroupId']}",
                    "vpc": group.get("VpcId"),
                    "allows_from": allows,
                    "allows_ranges": others,
                },
            )
        )
