"""AWS accounts: read by the audit, weighed by a router; the demo's is a moto server."""

from __future__ import annotations

from prefect.blocks.core import Block

from qafila.connections.settings import AwsConnection


class AwsAccount(AwsConnection, Block):
    """An AWS account, and those that its key may look into by a role. Without keys the usual boto3
    chain is used.

    inventory-audit only reads. A router of kind alb or route53 also writes weights: give it an
    account of its own, with the policy that its how-to page shows.
    """

    _block_type_name = "Qafila AWS account"
    _block_type_slug = AwsConnection.kind
    _description = "An AWS account that inventory-audit reads, or whose router Qafila weighs."
