"""The ids that bills name: which kind of resource one belongs to, and who would have seen it."""

from __future__ import annotations

import re

from qafila.core.estate import Resource

_ARN = re.compile(r"^arn:[\w-]+:([\w-]+):([\w-]*):(\d*):(.+)$")
_PLAIN = re.compile(r"^([a-z]+)-[0-9a-f]+$")
# The storage of an Aurora cluster is billed by an id that only the database itself knows.
_AURORA_STORAGE = re.compile(r":cluster:cluster-[A-Z0-9]{20,}$")
# Prefix of a plain id, or resource type of an EC2 ARN: our kind, and the collector that sees it.
_EC2 = {
    "i": ("ec2:instance", "ec2"), "instance": ("ec2:instance", "ec2"),
    "vol": ("ec2:volume", "ec2"), "volume": ("ec2:volume", "ec2"),
    "snap": ("ec2:snapshot", "ec2"), "snapshot": ("ec2:snapshot", "ec2"),
    "eipalloc": ("ec2:address", "ec2"), "elastic-ip": ("ec2:address", "ec2"),
    "sg": ("ec2:security-group", "security-groups"),
    "security-group": ("ec2:security-group", "security-groups"),
    "nat": ("ec2:nat-gateway", "vpc"), "natgateway": ("ec2:nat-gateway", "vpc"),
    "vpce": ("ec2:vpc-endpoint", "vpc"), "vpc-endpoint": ("ec2:vpc-endpoint", "vpc"),
    "pcx": ("ec2:vpc-peering-connection", "vpc"),
    "vpc-peering-connection": ("ec2:vpc-peering-connection", "vpc"),
    "vpc": ("ec2:vpc", "vpc"), "subnet": ("ec2:subnet", "vpc"),
    "eni": ("ec2:network-interface", "vpc"),
    "network-interface": ("ec2:network-interface", "vpc"),
    "fs": ("efs:file-system", "efs"),
}  # fmt: skip
# Service of an ARN: collector, and our kind by the ARN's resource type ("" for any).
_SERVICES: dict[str, tuple[str, dict[str, str]]] = {
    "rds": ("rds", {"db": "rds:instance", "cluster": "rds:cluster"}),
    "s3": ("s3", {"": "s3:bucket"}),
    "elasticloadbalancing": ("elb", {"loadbalancer": "elb:load-balancer",
                                     "targetgroup": "elb:target-group"}),
    "lambda": ("lambda", {"function": "lambda:function"}),
    "dynamodb": ("dynamodb", {"table": "dynamodb:table"}),
    "sqs": ("sqs", {"": "sqs:queue"}),
    "sns": ("sns", {"": "sns:topic"}),
    "elasticfilesystem": ("efs", {"file-system": "efs:file-system"}),
    "elasticache": ("elasticache", {"cluster": "elasticache:cluster",
                                    "replicationgroup": "elasticache:replication-group",
                                    "serverlesscache": "elasticache:serverless"}),
    "es": ("opensearch", {"domain": "opensearch:domain"}),
    "aoss": ("opensearch", {"collection": "opensearch:collection"}),
    "eks": ("eks", {"cluster": "eks:cluster", "nodegroup": "eks:node-group"}),
    "ecs": ("ecs", {"cluster": "ecs:cluster", "service": "ecs:service"}),
    "sagemaker": ("sagemaker", {"endpoint": "sagemaker:endpoint",
                                "notebook-instance": "sagemaker:notebook"}),
    "apigateway": ("api-gateway", {"": "api-gateway:api"}),
    "cloudfront": ("cloudfront", {"distribution": "cloudfront:distribution"}),
    "route53": ("route53", {"hostedzone": "route53:zone"}),
}  # fmt: skip


def collector_of(billed_id: str, service: str = "") -> str | None:
    """Return the collector that would see a billed resource; None when none of ours would.

    ``service``: what the bill calls the service. Only S3 needs it: AWS names a bucket as it is.
    """
    return _kind_and_collector(billed_id, service)[1]


def kind_of_id(billed_id: str, service: str = "") -> str | None:
    """Return the kind of a billed resource, as collectors name it; None: not known."""
    return _kind_and_collector(billed_id, service)[0]


def account_of(billed_id: str) -> str:
    """Return the account in an ARN; empty where there is none."""
    arn = _ARN.match(billed_id)
    return "" if arn is None else arn[3]


def aliases(resource: Resource) -> set[str]:
    """Return every spelling under which a bill may name a resource: id, ARN, ARN's last part."""
    names = {resource.id}
    if arn := resource.facts.get("arn"):
        names.add(str(arn))
    return names | {tail(n) for n in names}


def tail(identifier: str) -> str:
    """Return the last part of an ARN, or the identifier as it is."""
    arn = _ARN.match(identifier)
    return re.split(r"[:/]", arn[4])[-1] if arn is not None else identifier


def _kind_and_collector(billed_id: str, service: str) -> tuple[str | None, str | None]:
    arn = _ARN.match(billed_id)
    if arn is None:
        plain = _PLAIN.match(billed_id)
        if plain is not None and plain[1] in _EC2:
            return _EC2[plain[1]]
        is_bucket = "s3" in service.lower() or "simple storage" in service.lower()
        return ("s3:bucket", "s3") if is_bucket and "/" not in billed_id else (None, None)
    type_of = re.split(r"[:/]", arn[4])[0] if re.search(r"[:/]", arn[4]) else ""
    if arn[1] == "ec2":
        return _EC2.get(type_of, (None, None))
    collector, kinds = _SERVICES.get(arn[1], ("", {}))
    kind = kinds.get(type_of) or kinds.get("")
    if kind is None or _AURORA_STORAGE.search(billed_id):
        return None, None  # a kind of thing that no collector lists: never "not found"
    return kind, collector
