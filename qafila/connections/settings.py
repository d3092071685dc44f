"""The settings of connections, a model for each kind; a secret is a field that is never shown.

They know nothing of Prefect: its blocks of the same kinds (``blocks/``) add only how a form calls
them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from pydantic import BaseModel, Field, SecretStr, field_validator

from qafila.connections.kubernetes import connect_kubernetes
from qafila.connections.postgres import connect_postgres
from qafila.connections.qdrant import connect_qdrant
from qafila.workload.router import loopback_ports

if TYPE_CHECKING:  # a second of import time that only Qdrant's users should pay
    from qdrant_client import QdrantClient

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")


class ConnectionSettings(BaseModel):
    """What every kind of connection has: its name in the ledger, which never changes."""

    kind: ClassVar[str]


class PostgresConnection(ConnectionSettings):
    """A PostgreSQL database: source, target or ledger."""

    kind: ClassVar[str] = "qafila-postgres"

    url: str = Field(description="Address without a password: postgresql://user@host:5432/name.")
    password: SecretStr | None = Field(None, description="Password, when the server asks for one.")
    connect_timeout_seconds: int = Field(5, ge=1, le=60, description="How long to wait.")

    def connect(self) -> psycopg.Connection[Any]:
        """Return an autocommit connection with a plan of its own for every caller.

        Raises:
            Unavailable: the server does not answer, or refuses us.
        """
        secret = None if self.password is None else self.password.get_secret_value()
        return connect_postgres(self.url, secret, self.connect_timeout_seconds)


class QdrantConnection(ConnectionSettings):
    """A Qdrant server, or its local mode in a folder."""

    kind: ClassVar[str] = "qafila-qdrant"

    url: str | None = Field(None, description="http(s)://host:6333; empty for local mode.")
    path: str | None = Field(None, description="Folder for local mode; ':memory:' for a test.")
    api_key: SecretStr | None = Field(None, description="API key, when the server asks for one.")
    timeout_seconds: int = Field(30, ge=1, le=600, description="Longest wait for one call.")

    def client(self) -> QdrantClient:
        """Return a client; local mode when there is no address."""
        key = None if self.api_key is None else self.api_key.get_secret_value()
        return connect_qdrant(self.url, self.path, key, self.timeout_seconds)


class EmbeddingConnection(ConnectionSettings):
    """A service that answers /v1/embeddings as OpenAI's does."""

    kind: ClassVar[str] = "qafila-embeddings"

    url: str = Field(description="Address up to the version: https://host/v1.")
    api_key: SecretStr | None = Field(None, description="Key, when the service asks for one.")
    timeout_seconds: int = Field(30, ge=1, le=600, description="Longest wait for one answer.")


class LanguageModelConnection(ConnectionSettings):
    """A service that answers /v1/chat/completions as OpenAI's does."""

    kind: ClassVar[str] = "qafila-language-model"

    url: str = Field(description="Address up to the version: https://host/v1.")
    api_key: SecretStr | None = Field(None, description="Key, when the service asks for one.")
    timeout_seconds: int = Field(120, ge=1, le=3600, description="Longest wait for one answer.")


class EnvoyConnection(ConnectionSettings):
    """An Envoy that watches a folder for its clusters and routes; no secret in it."""

    kind: ClassVar[str] = "qafila-envoy"

    directory: str = Field(description="Folder that holds cds.json, rds.json and access.jsonl.")
    admin_url: str = Field(
        description="Envoy's admin address: unix:/path of its socket, or http:// on loopback."
    )
    listen_url: str = Field(description="Where users reach the service through this Envoy.")
    allowed_loopback: list[str] = Field(
        default_factory=list,
        description="Ports on loopback of Envoy's machine to which a workload may send users: "
        "8001, 8001-8010, or any. None: no workload may name loopback.",
    )

    @field_validator("allowed_loopback")
    @classmethod
    def _are_ports(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            loopback_ports(entry)
        return entries


class KubernetesConnection(ConnectionSettings):
    """A Kubernetes cluster; no secret in it: a kubeconfig, the pod's own account or a file."""

    kind: ClassVar[str] = "qafila-kubernetes"

    context: str | None = Field(None, description="Context of the kubeconfig; empty: its current.")
    kubeconfig: str | None = Field(None, description="Path of the kubeconfig; empty: the usual.")
    in_cluster: bool = Field(False, description="Use the service account of the pod.")
    api_url: str | None = Field(None, description="Address of the API server, instead of these.")
    token_file: str | None = Field(None, description="Path of a file with the bearer token.")
    ca_file: str | None = Field(None, description="Path of the API server's CA certificate.")
    timeout_seconds: int = Field(10, ge=1, le=60, description="Longest wait for one answer.")

    def client(self) -> Any:
        """Return a ``kubernetes.client.ApiClient``.

        Raises:
            BadInput: the settings contradict each other, or name files that are not there.
            Unavailable: the package ``kubernetes`` is not installed.
        """
        return connect_kubernetes(
            context=self.context,
            kubeconfig=self.kubeconfig,
            in_cluster=self.in_cluster,
            api_url=self.api_url,
            token_file=self.token_file,
            ca_file=self.ca_file,
        )


class AwsConnection(ConnectionSettings):
    """An AWS account, and those that its key may look into by a role."""

    kind: ClassVar[str] = "qafila-aws"

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
        """Return a boto3 session; clients take ``endpoint_url`` from the connection."""
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


KINDS: dict[str, type[ConnectionSettings]] = {
    model.kind: model
    for model in (
        AwsConnection,
        EmbeddingConnection,
        EnvoyConnection,
        KubernetesConnection,
        LanguageModelConnection,
        PostgresConnection,
        QdrantConnection,
    )
}


def secret_fields(kind: type[ConnectionSettings]) -> list[str]:
    """Return the names of the fields of a kind that hold a secret."""
    return [n for n, f in kind.model_fields.items() if "SecretStr" in str(f.annotation)]
