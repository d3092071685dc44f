"""IAM: roles and users, by name only; no policy text, no key is read."""

from __future__ import annotations

from qafila.audit.collectors.aws_account import Account
from qafila.audit.estate import Resource

ACTIONS = ("iam:ListRoles", "iam:ListUsers")


def read(account: Account) -> None:
    """Add roles and users; IAM has no region."""
    client = account.client("iam")
    for kind, operation, key, name in (
        ("iam:role", "list_roles", "Roles", "RoleName"),
        ("iam:user", "list_users", "Users", "UserName"),
    ):
        for entry in account.pages(client, operation, key):
            account.found.append(Resource(entry["Arn"], kind, entry[name], ""))
