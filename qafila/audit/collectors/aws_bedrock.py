"""Bedrock: own models, bought throughput, agents, knowledge bases, and the use of models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from qafila.audit.collectors import metrics
from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.metrics import DAYS, list_metrics, read_days
from qafila.audit.collectors.variables import partition_of
from qafila.audit.estate import Edge, Resource

ACTIONS = (
    "bedrock:ListCustomModels",
    "bedrock:ListImportedModels",
    "bedrock:ListProvisionedModelThroughputs",
    "bedrock:ListTagsForResource",
    "bedrock:ListAgents",
    "bedrock:ListKnowledgeBases",
    "bedrock:GetKnowledgeBase",
    *metrics.ACTIONS,
)
_ASKED = (
    ("Invocations", "invocations"),
    ("InputTokenCount", "input_tokens"),
    ("OutputTokenCount", "output_tokens"),
)


def read(account: Account) -> None:
    """Add what was made or bought, and for each model how often it was asked in 30 days.

    A model that is billed by the token is nobody's resource: only CloudWatch knows of its use.
    """
    bedrock = account.client("bedrock")
    with account.tolerating("bedrock custom models"):
        for model in account.pages(bedrock, "list_custom_models", "modelSummaries"):
            facts = {"base": model.get("baseModelArn"), "how": model.get("customizationType")}
            _add(account, bedrock, "custom-model", model["modelArn"], model["modelName"], facts)
    with account.tolerating("bedrock imported models"):
        for model in account.pages(bedrock, "list_imported_models", "modelSummaries"):
            facts = {"base": model.get("modelArchitecture")}
            _add(account, bedrock, "imported-model", model["modelArn"], model["modelName"], facts)
    with account.tolerating("bedrock provisioned throughput"):
        for bought in account.pages(
            bedrock, "list_provisioned_model_throughputs", "provisionedModelSummaries"
        ):
            _add_throughput(account, bedrock, bought)
    with account.tolerating("bedrock agents"):
        _agents(account)
    with account.tolerating("bedrock knowledge bases"):
        _knowledge_bases(account)
    with account.tolerating("bedrock use"):
        _use(account)


def _add(
    account: Account, client: Any, kind: str, arn: str, name: str, facts: dict[str, Any]
) -> None:
    tags: dict[str, str] = {}
    with account.tolerating(f"bedrock tags of {name}"):
        tags = tags_of(client.list_tags_for_resource(resourceARN=arn).get("tags"))
    account.found.append(Resource(arn, f"bedrock:{kind}", name, account.region, None, tags, facts))


def _add_throughput(account: Account, client: Any, bought: dict[str, Any]) -> None:
    arn = bought["provisionedModelArn"]
    _add(
        account,
        client,
        "provisioned-throughput",
        arn,
        bought["provisionedModelName"],
        {
            "model": bought["modelArn"],
            "units": bought["modelUnits"],
            "state": bought.get("status"),
            "commitment": bought.get("commitmentDuration"),
        },
    )
    account.edges.append(Edge(arn, bought["modelArn"], "calls", "bedrock throughput", 1.0))


def _agents(account: Account) -> None:
    client = account.client("bedrock-agent")
    place = f"{partition_of(account.region)}:bedrock:{account.region}:{account.account}"
    for agent in account.pages(client, "list_agents", "agentSummaries"):
        # the list tells no ARN, and reading an agent would show its instructions
        identifier = agent["agentId"]
        account.found.append(
            Resource(
                f"arn:{place}:agent/{identifier}",
                "bedrock:agent",
                agent["agentName"],
                account.region,
                None,
                {},
                {"state": agent.get("agentStatus")},
            )
        )


def _knowledge_bases(account: Account) -> None:
    client = account.client("bedrock-agent")
    for base in account.pages(client, "list_knowledge_bases", "knowledgeBaseSummaries"):
        identifier, name = base["knowledgeBaseId"], base["name"]
        with account.tolerating(f"bedrock knowledge base {name}"):
            described = client.get_knowledge_base(knowledgeBaseId=identifier)["knowledgeBase"]
            arn = described["knowledgeBaseArn"]
            storage = described.get("storageConfiguration", {})
            vectors = described.get("knowledgeBaseConfiguration", {}).get(
                "vectorKnowledgeBaseConfiguration", {}
            )
            account.found.append(
                Resource(
                    arn,
                    "bedrock:knowledge-base",
                    name,
                    account.region,
                    None,
                    {},
                    {
                        "state": described.get("status"),
                        "storage": storage.get("type"),
                        "embedding_model": vectors.get("embeddingModelArn"),
                    },
                )
            )
            account.edges += [
                Edge(arn, to, "reads", "bedrock knowledge base storage", 1.0)
                for to in _stores(storage)
            ]


def _stores(storage: dict[str, Any]) -> Iterator[str]:
    """Yield the ARNs of the vector store; of other vendors' stores no ARN is told."""
    for settings in storage.values():
        if isinstance(settings, dict):
            for name in ("collectionArn", "resourceArn", "domainArn", "indexArn", "graphArn"):
                if settings.get(name):
                    yield settings[name]


def _use(account: Account) -> None:
    client = account.client("cloudwatch")
    wanted = [
        metric
        for name, _ in _ASKED
        for metric in list_metrics(account, client, "AWS/Bedrock", name, {"ModelId"}, "Sum")
    ]
    facts = dict(_ASKED)
    models: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for metric, values in read_days(account, client, wanted).items():
        models[metric.of("ModelId")][facts[metric.name]] = round(sum(values))
        models[metric.of("ModelId")]["used_days"] = max(
            models[metric.of("ModelId")].get("used_days", 0), sum(v > 0 for v in values)
        )
    for model, numbers in sorted(models.items()):
        account.found.append(
            Resource(
                f"bedrock-use:{account.account}:{account.region}:{model}",
                "bedrock:model-use",
                model.rsplit("/", 1)[-1],
                account.region,
                None,
                {},
                {"model": model, "days": DAYS} | numbers,
            )
        )
