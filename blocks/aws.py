"""An AWS account: read by the audit, weighed by a router; the demo's is a moto server."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class AwsAccount(Block):
    """An AWS account. Without keys the usual boto3 chain is used.

    inventory-audit only reads. A router of kind alb or route53 also writes weights: give it an
    account of its own, with the policy that its how-to page shows.
    """

    _block_type_name = "Qafila AWS account"
    _block_type_slug = "qafila-aws"
    _description = "An AWS account that inventory-audit reads, or whose router Qafila weighs."

    regions: list[str] = Field(["eu-west-3"], min_length=1, description="Regions to look at.")
    endpoint_url: str | None = Field(None, description="Another endpoint, for a test server.")
    access_key_id: str | None = Field(None, description="Key id; empty: the usual boto3 chain.")
    secret_access_key: SecretStr | None = Field(None, description="Secret of that key.")

    def session(self) -> Any:
        """Return a boto3 session; clients take ``endpoint_url`` from the block."""
        import boto3

        secret = self.secret_access_key
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=None if secret is None else secret.get_secret_value(),
            region_name=self.regions[0],
        )
