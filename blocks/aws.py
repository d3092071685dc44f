"""AWS accounts: read by the audit, weighed by a router; the demo's is a moto server."""

from __future__ import annotations

import re
from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")


class AwsAccount(Block):
    """An AWS account, and those that its key may look into by a role. Without keys the usual boto3
    chain is used.

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
    assume_roles: list[str] = Field(
        [],
        max_length=500,
        description="Roles of further accounts that the audit looks into, one an account, as ARN.",
    )
    external_id: str | None = Field(
        None, description="External id that the roles ask for; empty: none. It is not a secret."
    )

    @field_validator("assume_roles")
    @classmethod
    def _one_role_an_account(cls, roles: list[str]) -> list[str]:
        problems = [f"{role!r} is no ARN of a role" for role in roles if not _ROLE.fullmatch(role)]
        accounts = [role.split(":")[4] for role in roles if _ROLE.fullmatch(role)]
        problems += [
            f"account {account} has {accounts.count(account)} roles; it would be read twice"
            for account in sorted({a for a in accounts if accounts.count(a) > 1})
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return roles

    def session(self) -> Any:
        """Return a boto3 session; clients take ``endpoint_url`` from the block."""
        import boto3

        secret = self.secret_access_key
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=None if secret is None else secret.get_secret_value(),
            region_name=self.regions[0],
        )

    def sessions(self) -> list[tuple[str, Any]]:
        """Return the own session under an empty name, and one for each role under its ARN.

        A role's credentials live an hour; its session renews them by itself before they end.
        """
        own = self.session()
        return [("", own), *((role, self._assumed(own, role)) for role in self.assume_roles)]

    def _assumed(self, own: Any, role: str) -> Any:
        """Return a session of a role. No call is made before the first one that needs a key."""
        import boto3
        from botocore.credentials import (
            AssumeRoleCredentialFetcher,
            CredentialProvider,
            CredentialResolver,
            DeferredRefreshableCredentials,
        )
        from botocore.session import Session

        def client(service: str, **parameters: Any) -> Any:
            return own.client(service, endpoint_url=self.endpoint_url, **parameters)

        extra = {"RoleSessionName": "qafila-audit"}
        if self.external_id:
            extra["ExternalId"] = self.external_id
        fetcher = AssumeRoleCredentialFetcher(client, own.get_credentials(), role, extra_args=extra)

        class Assumed(CredentialProvider):  # type: ignore[misc]
            METHOD = "assume-role"

            def load(self) -> Any:
                return DeferredRefreshableCredentials(
                    method=self.METHOD, refresh_using=fetcher.fetch_credentials
                )

        session = Session()
        session.register_component("credential_provider", CredentialResolver([Assumed()]))
        return boto3.Session(botocore_session=session, region_name=self.regions[0])
