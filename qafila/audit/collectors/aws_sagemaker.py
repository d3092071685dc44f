"""SageMaker: endpoints with the machines they run on, and notebooks."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.estate import Edge, Resource, has_gpu

ACTIONS = (
    "sagemaker:ListEndpoints",
    "sagemaker:DescribeEndpoint",
    "sagemaker:DescribeEndpointConfig",
    "sagemaker:ListNotebookInstances",
    "sagemaker:DescribeNotebookInstance",
    "sagemaker:ListTags",
)


def read(account: Account) -> None:
    """Add endpoints and notebooks; one that cannot be described stays, with its name alone.

    ``gpus`` is the least there are: one for each machine of a GPU family.
    """
    client = account.client("sagemaker")
    with account.tolerating("sagemaker endpoints"):
        account.each(account.pages(client, "list_endpoints", "Endpoints"), _add_endpoint)
    with account.tolerating("sagemaker notebooks"):
        notebooks = account.pages(client, "list_notebook_instances", "NotebookInstances")
        account.each(notebooks, _add_notebook)


def _tags(account: Account, arn: str) -> dict[str, str]:
    client = account.client("sagemaker")
    with account.tolerating(f"sagemaker tags of {arn}"):
        return tags_of(list(account.pages(client, "list_tags", "Tags", ResourceArn=arn)))
    return {}


def _has_gpu(machine: str) -> bool:
    return has_gpu(machine.removeprefix("ml."))


def _add_endpoint(account: Account, endpoint: dict[str, Any]) -> None:
    client = account.client("sagemaker")
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
        facts["gpus"] = facts["nodes"] if any(map(_has_gpu, facts["types"])) else 0
        if len(facts["types"]) == 1:
            facts["type"] = facts["types"][0]
    account.found.append(
        Resource(
            arn,
            "sagemaker:endpoint",
            name,
            account.region,
            None,
            _tags(account, arn),
            facts,
        )
    )
    place = arn.split(":endpoint/")[0]
    account.edges += [
        Edge(arn, f"{place}:model/{model}", "deploys", "sagemaker endpoint variant", 1.0)
        for model in models
    ]


def _add_notebook(account: Account, notebook: dict[str, Any]) -> None:
    client = account.client("sagemaker")
    arn, name = notebook["NotebookInstanceArn"], notebook["NotebookInstanceName"]
    facts: dict[str, Any] = {
        "state": notebook.get("NotebookInstanceStatus"),
        "type": notebook.get("InstanceType"),
        "gpus": int(_has_gpu(notebook.get("InstanceType", ""))),
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
            arn,
            "sagemaker:notebook",
            name,
            account.region,
            None,
            _tags(account, arn),
            facts,
        )
    )
