"""The demo's read-only reader of its AWS account, who may not look into IAM.

Moto enforces the reader's policy for real once its authentication is switched on, so the denial
is the service's own.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from qafila.audit.collectors import read_only_policy

READER = "qafila-audit"
DENIED = frozenset({"iam"})
# moto looks these up by the name that requests are signed for and by operation, unlike AWS
_AS_MOTO_HAS_THEM = ("apigateway:Get*", "monitoring:ListMetrics", "monitoring:GetMetricData")


def make_reader(iam: Any) -> tuple[str, str]:
    """Find or create the reader, and return a new key of it with its secret.

    ``iam``: a boto3 client that may write. Keys of an earlier call stop working.
    """
    if READER not in {u["UserName"] for u in iam.list_users()["Users"]}:
        iam.create_user(UserName=READER)
    iam.put_user_policy(
        UserName=READER, PolicyName="read-only", PolicyDocument=json.dumps(_policy())
    )
    for old in iam.list_access_keys(UserName=READER)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=READER, AccessKeyId=old["AccessKeyId"])
    key = iam.create_access_key(UserName=READER)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def enforce_policies(endpoint_url: str, on: bool) -> None:
    """Switch moto's check of signatures and policies: ``inf`` is "never", 0 "from now on"."""
    request = urllib.request.Request(
        f"{endpoint_url}/moto-api/reset-auth",
        data=b"0" if on else b"inf",
        headers={"Content-Type": "text/plain"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def _policy() -> dict[str, Any]:
    policy: dict[str, Any] = read_only_policy(without=DENIED)
    policy["Statement"][0]["Action"] += _AS_MOTO_HAS_THEM
    return policy
