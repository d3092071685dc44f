"""The registry of collectors: a new one is one file and one line here.

S3 lists every bucket of the account whatever the region, and IAM has none: both are read once.
"""

from __future__ import annotations

from tasks.collectors import (
    aws_dynamodb,
    aws_ec2,
    aws_elb,
    aws_iam,
    aws_lambda,
    aws_rds,
    aws_s3,
    aws_security_groups,
    aws_sqs,
)
from tasks.collectors.aws_account import Account, Limits
from tasks.collectors.port import Collector, Look

COLLECTORS: tuple[Collector, ...] = (
    Collector("ec2", "aws", "region", aws_ec2.ACTIONS, aws_ec2.read),
    Collector(
        "security-groups", "aws", "region", aws_security_groups.ACTIONS, aws_security_groups.read
    ),
    Collector("rds", "aws", "region", aws_rds.ACTIONS, aws_rds.read),
    Collector("s3", "aws", "account", aws_s3.ACTIONS, aws_s3.read),
    Collector("elb", "aws", "region", aws_elb.ACTIONS, aws_elb.read),
    Collector("lambda", "aws", "region", aws_lambda.ACTIONS, aws_lambda.read),
    Collector("dynamodb", "aws", "region", aws_dynamodb.ACTIONS, aws_dynamodb.read),
    Collector("sqs", "aws", "region", aws_sqs.ACTIONS, aws_sqs.read),
    Collector("iam", "aws", "account", aws_iam.ACTIONS, aws_iam.read),
)


def read_only_policy(*, without: frozenset[str] = frozenset()) -> dict[str, object]:
    """Return the IAM policy that lets the collectors read, and nothing else."""
    actions = sorted({a for c in COLLECTORS if c.name not in without for a in c.actions})
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
    }


__all__ = ["COLLECTORS", "Account", "Collector", "Limits", "Look", "read_only_policy"]
