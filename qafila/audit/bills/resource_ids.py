"""The ids that bills name: which kind of resource one belongs to, and who would have seen it."""

from __future__ import annotations

import re

from qafila.audit.estate import Resource

_ARN = re.compile(r"^arn:[\w-]+:([\w-]+):([\w-]*):(\d*):(.+)$")
_PLAIN = re.compile(r"^([a-z]+)-[0-9a-f]+$")
# The storage of an Aurora cluster is billed by an id that only the database itself knows.
_AURORA_STORAGE = re.compile(r":cluster:cluster-[A-Z0-9]{20,}$")
# Backups and streams stand under a table's ARN, but nobody lists them.
_UNLISTED = re.compile(r"^table/[^/]+/(?!index/)")
# How the part of an ARN that names the thing ends before the part of it that was billed.
_PARTS = {
    "lambda": re.compile(r"(function:[^:]+):"),
    "s3": re.compile(r"([^/:]+)/"),
    "dynamodb": re.compile(r"(table/[^/]+)/index/"),
    "apigateway": re.compile(r"(/(?:rest)?apis/[^/]+)/"),
}
# Prefix of a plain id, or resource type of an EC2 ARN: our kind, and the collector that sees it.
_EC2 = {
    "i": ("ec2:instance", "ec2"),
    "instance": ("ec2:instance", "ec2"),
    "vol": ("ec2:volume", "ec2"),
    "volume": ("ec2:volume", "ec2"),
    "snap": ("ec2:snapshot", "ec2"),
    "snapshot": ("ec2:snapshot", "ec2"),
    "eipalloc": ("ec2:address", "ec2"),
    "elastic-ip": ("ec2:address", "ec2"),
    "sg": ("ec2:security-group", "security-groups"),
    "security-group": ("ec2:security-group", "security-groups"),
    "nat": ("ec2:nat-gateway", "vpc"),
    "natgateway": ("ec2:nat-gateway", "vpc"),
    "vpce": ("ec2:vpc-endpoint", "vpc"),
    "vpc-endpoint": ("ec2:vpc-endpoint", "vpc"),
    "pcx": ("ec2:vpc-peering-connection", "vpc"),
    "vpc-peering-connection": ("ec2:vpc-peering-connection", "vpc"),
    "vpc": ("ec2:vpc", "vpc"),
    "subnet": ("ec2:subnet", "vpc"),
    "eni": ("ec2:network-interface", "vpc"),
    "network-interface": ("ec2:network-interface", "vpc"),
    "fs": ("efs:file-system", "efs"),
}
# Service of an ARN: collector, and our kind by the ARN's resource type ("" for any).
_SERVICES: dict[str, tuple[str, dict[str, str]]] = {
    "rds": ("rds", {"db": "rds:instance", "cluster": "rds:cluster"}),
    "s3": ("s3", {"": "s3:bucket"}),
    "elasticloadbalancing": (
        "elb",
        {"loadbalancer": "elb:load-balancer", "targetgroup": "elb:target-group"},
    ),
    "lambda": ("lambda", {"function": "lambda:function"}),
    "dynamodb": ("dynamodb", {"table": "dynamodb:table"}),
    # A type of "" is that of an id that names the thing and no type: a bucket, a queue, a topic.
    "sqs": ("sqs", {"": "sqs:queue"}),
    "sns": ("sns", {"": "sns:topic"}),
    "elasticfilesystem": ("efs", {"file-system": "efs:file-system"}),
    "elasticache": (
        "elasticache",
        {
            "cluster": "elasticache:cluster",
            "replicationgroup": "elasticache:replication-group",
            "serverlesscache": "elasticache:serverless",
        },
    ),
    "es": ("opensearch", {"domain": "opensearch:domain"}),
    "aoss": ("opensearch", {"collection": "opensearch:collection"}),
    "eks": ("eks", {"cluster": "eks:cluster", "nodegroup": "eks:node-group"}),
    "ecs": ("ecs", {"cluster": "ecs:cluster", "service": "ecs:service"}),
    "sagemaker": (
        "sagemaker",
        {"endpoint": "sagemaker:endpoint", "notebook-instance": "sagemaker:notebook"},
    ),
    "apigateway": ("api-gateway", {"restapis": "api-gateway:api", "apis": "api-gateway:api"}),
    "bedrock": (
        "bedrock",
        {
            "provisioned-model": "bedrock:provisioned-throughput",
            "custom-model": "bedrock:custom-model",
            "imported-model": "bedrock:imported-model",
        },
    ),
    "cloudfront": ("cloudfront", {"distribution": "cloudfront:distribution"}),
    "route53": ("route53", {"hostedzone": "route53:zone"}),
}


def collector_of(billed_id: str, service: str = "") -> str | None:
    """Return the collector that would see a billed resource; None when none of ours would.

    ``service``: what the bill calls the service. Only S3 needs it: AWS names a bucket as it is.
    """
    return _kind_and_collector(billed_id, service)[1]


def kind_of_id(billed_id: str, service: str = "") -> str | None:
    """Return the kind of a billed resource, as collectors name it; None: not known."""
    return _kind_and_collector(billed_id, service)[0]


def is_arn(identifier: str) -> bool:
    """Tell whether an identifier is an Amazon Resource Name."""
    return _ARN.match(identifier) is not None


def places_of(identifier: str) -> tuple[str, str]:
    """Return region and account of an ARN; empty where it has none, or is no ARN."""
    arn = _ARN.match(identifier)
    return ("", "") if arn is None else (arn[2], arn[3])


def subject_of(billed_id: str) -> str:
    """Return the thing that a billed part belongs to: a function of its version, a bucket of its
    key, a table of its index, an API of its stage. Any other id is returned as it is.
    """
    arn = _ARN.match(billed_id)
    shape = None if arn is None else _PARTS.get(arn[1])
    part = None if arn is None or shape is None else shape.match(arn[4])
    return billed_id if arn is None or part is None else billed_id[: arn.start(4)] + part[1]


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
    own = subject_of(billed_id)[arn.start(4) :].lstrip("/")
    type_of = re.split(r"[:/]", own)[0] if re.search(r"[:/]", own) else ""
    if arn[1] == "ec2":
        return _EC2.get(type_of, (None, None))
    collector, kinds = _SERVICES.get(arn[1], ("", {}))
    kind = kinds.get(type_of)
    if kind is None or _AURORA_STORAGE.search(billed_id) or _UNLISTED.search(arn[4]):
        return None, None  # a kind of thing that no collector lists: never "not found"
    return kind, collector
