"""SageMaker: endpoints with the machines they run on, and notebooks."""

from __future__ import annotations

from typing import Any

from qafila.core.estate import Edge, Resource
from tasks.collectors.aws_account import Account, tags_of

ACTIONS = (
    "sagemaker:ListEndpoints", "sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig",
    "sagemaker:ListNotebookInstances", "sagemaker:DescribeNotebookInstance", "sagemaker:ListTags",
)  # fmt: skip


def read(account: Account) -> None:
    """Add endpoints and notebooks; one that cannot be described stays, with its name alone."""
    client = account.client("sagemaker")
    with account.tolerating("sagemaker endpoints"):
        for endpoint in account.pages(client, "list_endpoints", "Endpoints"):
            _add_endpoint(account, client, endpoint)
    with account.tolerating("sagemaker notebooks"):
        for notebook in account.pages(client, "list_notebook_instances", "NotebookInstances"):
            _add_notebook(account, client, notebook)


def _tags(account: Account, client: Any, arn: str) -> dict[str, str]:
    with account.tolerating(f"sagemaker tags of {arn}"):
        return tags_of(list(account.pages(client, "list_tags", "Tags", ResourceArn=arn)))
    return {}


def _add_endpoint(account: Account, client: Any, endpoint: dict[str, Any]) -> None:
    arn, name = endpoint["EndpointArn"], endpoint["EndpointName"]
    facts: dict[str, Any] = {"state": endpoint.get("EndpointStatus")}
    models: list[str] = []
    with account.tolerating(f"sagemaker endpoint {name}"):
        described = client.describe_endpoint(EndpointName=name)
        current = {v["VariantName"]: v for v in described.get("ProductionVariants", [])}
        config = client.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
        variants = config["ProductionVariants"]
        models = sorted({v["ModelName"] for v in variants if v.get("ModelName")})
        facts |= {
            "types": [v["InstanceType"] for v in variants if v.get("InstanceType")],
            "nodes": sum(
                current.get(v["VariantName"], {}).get("CurrentInstanceCount")
                or v.get("InitialInstanceCount", 0)
                for v in variants
            ),
            "serverless": any("ServerlessConfig" in v for v in variants),
            "models": models,
        }
        if len(facts["types"]) == 1:
            facts["type"] = facts["types"][0]
    account.found.append(
        Resource(
            arn, "sagemaker:endpoint", name, account.region, None, _tags(account, client, arn),
            facts,
        )
    )  # fmt: skip
    place = arn.split(":endpoint/")[0]
    account.edges += [
        Edge(arn, f"{place}:model/{model}", "deploys", "sagemaker endpoint variant", 1.0)
        for model in models
    ]


def _add_notebook(account: Account, client: Any, notebook: dict[str, Any]) -> None:
    arn, name = notebook["NotebookInstanceArn"], notebook["NotebookInstanceName"]
    facts: dict[str, Any] = {
        "state": notebook.get("NotebookInstanceStatus"),
        "type": notebook.get("InstanceType"),
    }
    with account.tolerating(f"sagemaker notebook {name}"):
        described = client.describe_notebook_instance(NotebookInstanceName=name)
        facts |= {
            "disk_gib": described.get("VolumeSizeInGB"),
            "subnet": described.get("SubnetId"),
            "security_groups": described.get("SecurityGroups", []),
        }
    account.found.append(
        Resource(
            arn, "sagemaker:notebook", name, account.region, None, _tags(account, client, arn),
            facts,
        )
    )  # fmt: skip
