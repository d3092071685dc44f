"""VPC: networks, subnets, peerings, endpoints, NAT gateways, network interfaces, routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.interfaces import owner_of
from qafila.audit.collectors.variables import partition_of
from qafila.audit.estate import Edge, Resource

ACTIONS = (
    "ec2:DescribeVpcs",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcPeeringConnections",
    "ec2:DescribeVpcEndpoints",
    "ec2:DescribeNatGateways",
    "ec2:DescribeRouteTables",
    "ec2:DescribeNetworkInterfaces",
)
_GONE = frozenset({"deleted", "deleting", "rejected", "failed", "expired"})
_PERMITTED = 0.4  # a peering lets traffic through; whether any flows is not known
_DESCRIBED = 0.9  # the service wrote whose interface it is, as words
_TARGETS = (
    "NatGatewayId",
    "VpcPeeringConnectionId",
    "GatewayId",
    "TransitGatewayId",
    "NetworkInterfaceId",
)


def read(account: Account) -> None:
    """Add the network, and by which route a subnet leaves it."""
    ec2 = account.client("ec2")
    for what, add in (
        ("networks", _networks),
        ("subnets", _subnets),
        ("peerings", _peerings),
        ("endpoints", _endpoints),
        ("NAT gateways", _nat_gateways),
        ("routes", _routes),
        ("network interfaces", _interfaces),
    ):
        with account.tolerating(f"vpc {what}"):
            add(account, ec2)


def _add(
    account: Account,
    kind: str,
    identifier: str,
    thing: dict[str, Any],
    facts: dict[str, Any],
    owner: str = "",
) -> None:
    tags = tags_of(thing.get("Tags") or thing.get("TagSet"))
    owner = thing.get("OwnerId", owner)
    place = f"{partition_of(account.region)}:ec2:{account.region}:{owner}"
    account.found.append(
        Resource(
            identifier,
            f"ec2:{kind}",
            tags.get("Name", identifier),
            account.region,
            None,
            tags,
            {"arn": f"arn:{place}:{kind.replace('nat-gateway', 'natgateway')}/{identifier}"} | facts
            if owner
            else facts,
        )
    )


def _networks(account: Account, ec2: Any) -> None:
    for vpc in account.pages(ec2, "describe_vpcs", "Vpcs"):
        facts = {"cidr": vpc.get("CidrBlock"), "default": vpc.get("IsDefault", False)}
        _add(account, "vpc", vpc["VpcId"], vpc, facts)


def _subnets(account: Account, ec2: Any) -> None:
    for subnet in account.pages(ec2, "describe_subnets", "Subnets"):
        _add(
            account,
            "subnet",
            subnet["SubnetId"],
            subnet,
            {
                "vpc": subnet["VpcId"],
                "zone": subnet.get("AvailabilityZone"),
                "cidr": subnet.get("CidrBlock"),
                "free_addresses": subnet.get("AvailableIpAddressCount"),
                "public": subnet.get("MapPublicIpOnLaunch", False),
            },
        )


def _peerings(account: Account, ec2: Any) -> None:
    operation, key = "describe_vpc_peering_connections", "VpcPeeringConnections"
    for peering in account.pages(ec2, operation, key):
        state = peering["Status"]["Code"]
        if state in _GONE:
            continue
        sides = [peering.get(side) or {} for side in ("RequesterVpcInfo", "AccepterVpcInfo")]
        here, there = (s.get("VpcId") for s in sides)
        _add(
            account,
            "vpc-peering-connection",
            peering["VpcPeeringConnectionId"],
            peering,
            {
                "state": state,
                "requester": here,
                "accepter": there,
                "regions": sorted({s["Region"] for s in sides if s.get("Region")}),
                "accounts": sorted({s["OwnerId"] for s in sides if s.get("OwnerId")}),
            },
            sides[0].get("OwnerId", ""),
        )
        if state == "active" and here and there:
            what = f"vpc peering {peering['VpcPeeringConnectionId']}"
            account.edges += [
                Edge(here, there, "network-allows", what, _PERMITTED),
                Edge(there, here, "network-allows", what, _PERMITTED),
            ]


def _endpoints(account: Account, ec2: Any) -> None:
    for endpoint in account.pages(ec2, "describe_vpc_endpoints", "VpcEndpoints"):
        state = str(endpoint.get("State", "")).lower()
        if state in _GONE:
            continue
        identifier = endpoint["VpcEndpointId"]
        _add(
            account,
            "vpc-endpoint",
            identifier,
            endpoint,
            {
                "type": endpoint.get("VpcEndpointType"),
                "service": endpoint["ServiceName"],
                "state": state,
                "vpc": endpoint.get("VpcId"),
                "subnets": endpoint.get("SubnetIds", []),
                "security_groups": [g["GroupId"] for g in endpoint.get("Groups", [])],
                "hosts_served": [d["DnsName"] for d in endpoint.get("DnsEntries", [])],
            },
        )
        if endpoint.get("VpcId"):
            account.edges.append(
                Edge(endpoint["VpcId"], identifier, "attaches", "vpc endpoint", 1.0)
            )


def _nat_gateways(account: Account, ec2: Any) -> None:
    owners = {r.id: str(r.facts["arn"]).split(":")[4] for r in account.found if "arn" in r.facts}
    for gateway in account.pages(ec2, "describe_nat_gateways", "NatGateways"):
        if gateway.get("State") in _GONE:
            continue
        addresses = gateway.get("NatGatewayAddresses", [])
        _add(
            account,
            "nat-gateway",
            gateway["NatGatewayId"],
            gateway,
            {
                "state": gateway.get("State"),
                "vpc": gateway.get("VpcId"),
                "subnet": gateway.get("SubnetId"),
                "type": gateway.get("ConnectivityType", "public"),
                "private_ip": next((a["PrivateIp"] for a in addresses if "PrivateIp" in a), None),
                "public_ip": next((a["PublicIp"] for a in addresses if "PublicIp" in a), None),
            },
            owners.get(gateway.get("VpcId", ""), ""),
        )


def _routes(account: Account, ec2: Any) -> None:
    """Add edges from a subnet (from the network, for its main table) to what traffic leaves by."""
    for table in account.pages(ec2, "describe_route_tables", "RouteTables"):
        wearers = [
            a.get("SubnetId") or table["VpcId"]
            for a in table.get("Associations", [])
            if a.get("SubnetId") or a.get("Main")
        ]
        for target, destination in _ways_out(table):
            account.edges += [
                Edge(w, target, "routes", f"{table['RouteTableId']} to {destination}", 1.0)
                for w in wearers
            ]


def _ways_out(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for route in table.get("Routes", []):
        target = next((route[t] for t in _TARGETS if route.get(t)), None)
        if target is None or target == "local" or route.get("State") == "blackhole":
            continue
        destination = (
            route.get("DestinationCidrBlock")
            or route.get("DestinationIpv6CidrBlock")
            or route.get("DestinationPrefixListId", "")
        )
        yield target, destination


def _interfaces(account: Account, ec2: Any) -> None:
    """Add network interfaces: flow logs and peers speak of their addresses alone."""
    for interface in account.pages(ec2, "describe_network_interfaces", "NetworkInterfaces"):
        identifier, region = interface["NetworkInterfaceId"], account.region
        description = interface.get("Description", "")
        instance = (interface.get("Attachment") or {}).get("InstanceId")
        owner = instance or owner_of(
            description, partition_of(region), region, interface.get("OwnerId", "")
        )
        _add(
            account,
            "network-interface",
            identifier,
            interface,
            {
                "type": interface.get("InterfaceType"),
                "description": description,
                "attached_to": owner,
                "vpc": interface.get("VpcId"),
                "subnet": interface.get("SubnetId"),
                "zone": interface.get("AvailabilityZone"),
                "private_ips": [
                    a["PrivateIpAddress"]
                    for a in interface.get("PrivateIpAddresses", [])
                    if "PrivateIpAddress" in a
                ],
                "public_ip": (interface.get("Association") or {}).get("PublicIp"),
                "groups": [g["GroupId"] for g in interface.get("Groups", [])],
            },
        )
        if owner:
            source = "ec2 network interface" + ("" if instance else ", by its description")
            account.edges.append(
                Edge(owner, identifier, "attaches", source, 1.0 if instance else _DESCRIBED)
            )
