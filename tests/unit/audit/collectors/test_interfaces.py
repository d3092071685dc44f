"""An interface belongs to what its description says, and to nobody where it does not say."""

from __future__ import annotations

import pytest

from qafila.audit.collectors.interfaces import owner_of

PLACE = "eu-west-3:123456789012"


@pytest.mark.parametrize(
    ("description", "owner"),
    [
        ("Interface for NAT Gateway nat-0123456789abcdef0", "nat-0123456789abcdef0"),
        ("VPC Endpoint Interface vpce-0123456789abcdef0", "vpce-0123456789abcdef0"),
        ("VPC Endpoint Interface: vpce-0123456789abcdef0", "vpce-0123456789abcdef0"),
        ("EFS mount target for fs-01234567 (fsmt-89abcdef)", "fs-01234567"),
        (
            "ELB app/shop/50dc6c495c0c9188",
            f"arn:aws:elasticloadbalancing:{PLACE}:loadbalancer/app/shop/50dc6c495c0c9188",
        ),
        ("ELB old-shop", f"arn:aws:elasticloadbalancing:{PLACE}:loadbalancer/old-shop"),
        ("ElastiCache carts-001", f"arn:aws:elasticache:{PLACE}:cluster:carts-001"),
        (
            "AWS Lambda VPC ENI-orders-export-01234567-89ab-cdef-0123-456789abcdef",
            f"arn:aws:lambda:{PLACE}:function:orders-export",
        ),
        ("RDSNetworkInterface", None),
        ("the ELB shop of Interface for NAT Gateway", None),
        ("", None),
    ],
)
def test_whose_interface_it_is(description: str, owner: str | None) -> None:
    assert owner_of(description, "aws", "eu-west-3", "123456789012") == owner
