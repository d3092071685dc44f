"""Connect to AWS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def aws_session(
    regions: Sequence[str] = ("eu-west-3",),
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    *,
    assume_roles: Sequence[str] = (),
    external_id: str | None = None,
    read_timeout_s: float = 60,
) -> Callable[..., Any]:
    """Return what makes clients of an account: called with a service and perhaps a region.

    Without keys by the usual boto3 chain. Retries are its own. ``assume_roles`` and
    ``external_id`` are settings of the connection that concern the audit alone: nothing here acts
    in another account than the connection's own.
    """
    del assume_roles, external_id
    import boto3
    from botocore.config import Config

    session = boto3.Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        region_name=regions[0],
    )
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=5,
        read_timeout=read_timeout_s,
    )

    def client(service: str, region: str | None = None) -> Any:
        return session.client(
            service,
            region_name=region or regions[0],
            endpoint_url=endpoint_url,
            config=config,
        )

    return client


def connect_s3(
    regions: Sequence[str] = ("eu-west-3",),
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    *,
    assume_roles: Sequence[str] = (),
    external_id: str | None = None,
) -> Any:
    """Return a client for S3 of the connection's own account; as for ``aws_session``."""
    del assume_roles, external_id
    return aws_session(regions, endpoint_url, access_key_id, secret_access_key)("s3")
