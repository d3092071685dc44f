"""Connect to S3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def connect_s3(
    regions: Sequence[str] = ("eu-west-3",),
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
) -> Any:
    """Return a client for S3; without keys by the usual boto3 chain. Retries are its own."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        region_name=regions[0],
    )
    return session.client(
        "s3",
        endpoint_url=endpoint_url,
        config=Config(
            retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=60
        ),
    )
