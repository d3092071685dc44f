"""The registry of collectors: a new one is one file and one line here.

S3 lists every bucket of the account whatever the region; CloudFront, Route 53 and IAM have none:
these are read once.
"""

from __future__ import annotations

from collections.abc import Iterable

from qafila.audit.collectors import (
    aws_api_gateway,
    aws_bedrock,
    aws_cloudfront,
    aws_cloudwatch,
    aws_dynamodb,
    aws_ec2,
    aws_ecs,
    aws_efs,
    aws_eks,
    aws_elasticache,
    aws_elb,
    aws_iam,
    aws_lambda,
    aws_opensearch,
    aws_rds,
    aws_route53,
    aws_s3,
    aws_s3_inventory,
    aws_sagemaker,
    aws_security_groups,
    aws_sns,
    aws_sqs,
    aws_vpc,
)
from qafila.audit.collectors.aws_account import Account, Limits
from qafila.audit.collectors.elsewhere import ELSEWHERE
from qafila.audit.collectors.port import Collector, Look, Of

COLLECTORS: tuple[Collector, ...] = (
    Collector("ec2", "aws", "region", aws_ec2.ACTIONS, aws_ec2.read),
    Collector("vpc", "aws", "region", aws_vpc.ACTIONS, aws_vpc.read),
    Collector(
        "security-groups", "aws", "region", aws_security_groups.ACTIONS, aws_security_groups.read
    ),
    Collector("rds", "aws", "region", aws_rds.ACTIONS, aws_rds.read),
    Collector("s3", "aws", "account", aws_s3.ACTIONS, aws_s3.read, each=True),
    Collector("efs", "aws", "region", aws_efs.ACTIONS, aws_efs.read),
    Collector("ecs", "aws", "region", aws_ecs.ACTIONS, aws_ecs.read, each=True),
    Collector("eks", "aws", "region", aws_eks.ACTIONS, aws_eks.read, each=True),
    Collector("elb", "aws", "region", aws_elb.ACTIONS, aws_elb.read, each=True),
    Collector("lambda", "aws", "region", aws_lambda.ACTIONS, aws_lambda.read, each=True),
    Collector("dynamodb", "aws", "region", aws_dynamodb.ACTIONS, aws_dynamodb.read, each=True),
    Collector("elasticache", "aws", "region", aws_elasticache.ACTIONS, aws_elasticache.read),
    Collector("opensearch", "aws", "region", aws_opensearch.ACTIONS, aws_opensearch.read),
    Collector("sqs", "aws", "region", aws_sqs.ACTIONS, aws_sqs.read, each=True),
    Collector("sns", "aws", "region", aws_sns.ACTIONS, aws_sns.read, each=True),
    Collector("api-gateway", "aws", "region", aws_api_gateway.ACTIONS, aws_api_gateway.read),
    Collector("cloudfront", "aws", "account", aws_cloudfront.ACTIONS, aws_cloudfront.read),
    Collector("route53", "aws", "account", aws_route53.ACTIONS, aws_route53.read),
    Collector("bedrock", "aws", "region", aws_bedrock.ACTIONS, aws_bedrock.read),
    Collector("sagemaker", "aws", "region", aws_sagemaker.ACTIONS, aws_sagemaker.read, each=True),
    Collector("cloudwatch", "aws", "region", aws_cloudwatch.ACTIONS, aws_cloudwatch.read),
    Collector("iam", "aws", "account", aws_iam.ACTIONS, aws_iam.read),
)


def collectors_of(system: Of) -> tuple[Collector, ...]:
    """Return the collectors of one system, in the order of the registry."""
    return tuple(c for c in (*COLLECTORS, *ELSEWHERE) if c.of == system)


def read_only_policy(
    *, without: frozenset[str] = frozenset(), inventories: Iterable[str] = ()
) -> dict[str, object]:
    """Return the IAM policy that lets the collectors read, and nothing else.

    ``inventories``: where S3 Inventory delivers its reports, as ``BUCKET`` or ``BUCKET/PREFIX``.
    Objects may be read there, and nowhere else.
    """
    wanted = {a for c in COLLECTORS if c.name not in without for a in c.actions}
    actions = sorted({*wanted, "ec2:DescribeRegions"})  # which regions are switched on
    statements = [{"Effect": "Allow", "Action": actions, "Resource": "*"}]
    opened = sorted({f"arn:aws:s3:::{place.strip('/')}/*" for place in inventories})
    if opened:
        reading = sorted(aws_s3_inventory.OBJECT_ACTIONS)
        statements.append({"Effect": "Allow", "Action": reading, "Resource": opened})
    return {"Version": "2012-10-17", "Statement": statements}


__all__ = [
    "COLLECTORS",
    "ELSEWHERE",
    "Account",
    "Collector",
    "Limits",
    "Look",
    "collectors_of",
    "read_only_policy",
]
