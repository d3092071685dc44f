"""Models and machines at work: what was made, bought or asked, and how busy things were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qafila.audit.estate import Outcome
from tests.support.aws import running_moto
from tests.support.aws_reading import (
    LOWER_PAIRS,
    PAIRS,
    REGION,
    TAGS,
    World,
    edges,
    kinds,
    seen_by,
    told,
)

ROLE = "arn:aws:iam::123456789012:role/models"
EMBED = f"arn:aws:bedrock:{REGION}::foundation-model/embed"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"


class Measured(World):
    """One moto server, whose CloudWatch can be told what was measured."""

    def measured(
        self, namespace: str, name: str, dimensions: dict[str, str], days: list[float]
    ) -> None:
        """Let CloudWatch have one value for each of the last days, the newest last."""
        now = datetime.now(UTC) - timedelta(hours=1)
        self.client("cloudwatch").put_metric_data(
            Namespace=namespace,
            MetricData=[
                {
                    "MetricName": name,
                    "Value": value,
                    "Timestamp": now - timedelta(days=len(days) - 1 - age),
                    "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
                }
                for age, value in enumerate(days)
            ],
        )


@pytest.fixture(scope="module")
def world() -> Iterator[Measured]:
    with running_moto() as url:
        yield Measured(url)


def test_models_that_were_made_bought_and_asked(world: Measured) -> None:
    """Moto knows neither imported models nor bought throughput: published shapes, over pages."""
    bedrock = world.client("bedrock")
    for name in ("tickets", "manuals"):
        bedrock.create_model_customization_job(
            jobName=name,
            customModelName=name,
            roleArn=ROLE,
            customModelTags=LOWER_PAIRS,
            baseModelIdentifier="amazon.titan-text-lite-v1",
            hyperParameters={},
            trainingDataConfig={"s3Uri": "s3://train/x"},
            outputDataConfig={"s3Uri": "s3://train/y"},
        )
    for metric, days in (
        ("Invocations", [10.0, 0.0, 30.0]),
        ("InputTokenCount", [100.0, 0.0, 300.0]),
        ("OutputTokenCount", [1.0, 0.0, 3.0]),
    ):
        world.measured("AWS/Bedrock", metric, {"ModelId": CLAUDE}, days)
    arn = f"arn:aws:bedrock:{REGION}:123456789012"
    bought = {
        "provisionedModelArn": f"{arn}:provisioned-model/p",
        "modelUnits": 2,
        "provisionedModelName": "p",
        "modelArn": f"{arn}:custom-model/m",
        "status": "InService",
        "desiredModelUnits": 2,
        "desiredModelArn": "x",
        "foundationModelArn": "x",
        "creationTime": "2026-01-01T00:00:00Z",
        "lastModifiedTime": "2026-01-01T00:00:00Z",
    }

    def answer(request: Any) -> dict[str, Any] | None:
        if "/provisioned-model-throughputs" in request.url:
            if "nextToken" not in request.url:
                return {"provisionedModelSummaries": [bought], "nextToken": "more"}
            second = {"provisionedModelArn": f"{arn}:provisioned-model/q"}
            return {"provisionedModelSummaries": [bought | second | {"provisionedModelName": "q"}]}
        if "/imported-models" in request.url:
            return {
                "modelSummaries": [
                    {
                        "modelArn": f"{arn}:imported-model/i{n}",
                        "modelName": f"i{n}",
                        "modelArchitecture": "llama",
                    }
                    for n in range(2)
                ]
            }
        if "/listTagsForResource" in request.url and b"custom-model" not in request.body:
            return {"tags": LOWER_PAIRS}
        return None

    seen = seen_by("bedrock", world.url, with_session=told(answer))
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert set(found["bedrock:custom-model"]) == {"tickets", "manuals"}
    assert set(found["bedrock:imported-model"]) == {"i0", "i1"}
    assert set(found["bedrock:provisioned-throughput"]) == {"p", "q"}
    assert all(r.tags == TAGS for r in seen.resources if r.kind != "bedrock:model-use")
    assert (f"{arn}:provisioned-model/q", f"{arn}:custom-model/m") in edges(seen, "calls")
    use = found["bedrock:model-use"][CLAUDE].facts
    assert (use["invocations"], use["input_tokens"], use["output_tokens"]) == (40, 400, 4)
    assert (use["used_days"], use["days"], use["model"]) == (2, 30, CLAUDE)


def test_agents_and_knowledge_bases_with_their_vector_store(world: Measured) -> None:
    agents = world.client("bedrock-agent")
    store = f"arn:aws:aoss:{REGION}:123456789012:collection/vectors"
    for name in ("help", "sales"):
        agents.create_agent(agentName=name, agentResourceRoleArn=ROLE)
        agents.create_knowledge_base(
            name=name,
            roleArn=ROLE,
            knowledgeBaseConfiguration={
                "type": "VECTOR",
                "vectorKnowledgeBaseConfiguration": {"embeddingModelArn": EMBED},
            },
            storageConfiguration={
                "type": "OPENSEARCH_SERVERLESS",
                "opensearchServerlessConfiguration": {
                    "collectionArn": store,
                    "vectorIndexName": "i",
                    "fieldMapping": {
                        "vectorField": "v",
                        "textField": "t",
                        "metadataField": "m",
                    },
                },
            },
        )
    seen = seen_by("bedrock", world.url)
    found = kinds(seen)
    assert seen.outcome is Outcome.UNSUPPORTED
    assert "bedrock provisioned throughput" in seen.missed
    assert set(found["bedrock:agent"]) == set(found["bedrock:knowledge-base"]) == {"help", "sales"}
    base = found["bedrock:knowledge-base"]["help"]
    assert (base.facts["storage"], base.facts["embedding_model"]) == (
        "OPENSEARCH_SERVERLESS",
        EMBED,
    )
    assert (base.id, store) in edges(seen, "reads")


def test_endpoints_with_their_machines_and_notebooks(world: Measured) -> None:
    client = world.client("sagemaker")
    for name in ("rank", "embed"):
        client.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "example/model:1"}
        )
        client.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "all",
                    "ModelName": name,
                    "InitialInstanceCount": 2,
                    "InstanceType": "ml.g4dn.xlarge",
                }
            ],
        )
        client.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=PAIRS)
        client.create_notebook_instance(
            NotebookInstanceName=f"book-{name}",
            InstanceType="ml.t3.medium",
            RoleArn=ROLE,
            Tags=PAIRS,
        )
    seen = seen_by("sagemaker", world.url)
    found = kinds(seen)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert set(found["sagemaker:endpoint"]) == {"rank", "embed"}
    assert set(found["sagemaker:notebook"]) == {"book-rank", "book-embed"}
    assert all(r.tags == TAGS for r in seen.resources)
    rank = found["sagemaker:endpoint"]["rank"]
    assert (rank.facts["type"], rank.facts["nodes"], rank.facts["models"]) == (
        "ml.g4dn.xlarge",
        2,
        ["rank"],
    )
    assert (rank.facts["gpus"], found["sagemaker:notebook"]["book-rank"].facts["gpus"]) == (2, 0)
    assert found["sagemaker:notebook"]["book-rank"].facts["type"] == "ml.t3.medium"
    model = f"arn:aws:sagemaker:{REGION}:123456789012:model/rank"
    assert (rank.id, model) in edges(seen, "deploys")


def test_how_busy_machines_and_databases_were(world: Measured) -> None:
    for machine, days in (("i-1", [1.0, 3.0, 2.0]), ("i-2", [90.0])):
        world.measured("AWS/EC2", "CPUUtilization", {"InstanceId": machine}, days)
    world.measured("AWS/EC2", "NetworkIn", {"InstanceId": "i-1"}, [5.0, 6.0])
    world.measured("AWS/EC2", "CPUUtilization", {"AutoScalingGroupName": "all"}, [50.0])
    for database, most in (("orders", 4.0), ("forgotten", 0.0)):
        world.measured(
            "AWS/RDS", "DatabaseConnections", {"DBInstanceIdentifier": database}, [0.0, most]
        )
    seen = seen_by("cloudwatch", world.url)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    facts = {(r.facts["of_kind"], r.facts["of"]): r.facts for r in seen.resources}
    one = facts["ec2:instance", "i-1"]
    assert (one["cpu_average_percent"], one["cpu_maximum_percent"]) == (2.0, 3.0)
    assert (one["network_in_bytes"], one["measured_days"], one["days"]) == (11.0, 3, 30)
    assert facts["ec2:instance", "i-2"]["measured_days"] == 1
    assert facts["rds:instance", "orders"]["connections_maximum"] == 4
    assert facts["rds:instance", "forgotten"]["connections_maximum"] == 0
    assert len(facts) == 4


def test_metrics_go_out_in_batches_of_500_and_partial_days_are_named() -> None:
    asked: list[int] = []

    def answer(request: Any) -> dict[str, Any]:
        body = json.loads(request.body)
        if "MetricDataQueries" not in body:
            known = range(600) if body["MetricName"] == "CPUUtilization" else range(0)
            known = known if body["Namespace"] == "AWS/EC2" else range(0)
            start = int(body.get("NextToken", 0))
            page = [
                {
                    "MetricName": "CPUUtilization",
                    "Namespace": "AWS/EC2",
                    "Dimensions": [{"Name": "InstanceId", "Value": f"i-{n}"}],
                }
                for n in known[start : start + 500]
            ]
            return {"Metrics": page} | ({"NextToken": "500"} if known and not start else {})
        queries = body["MetricDataQueries"]
        asked.append(len(queries))
        last = len(asked) == 3
        return {
            "MetricDataResults": [
                {
                    "Id": q["Id"],
                    "Timestamps": [86400.0],
                    "Values": [5.0],
                    "StatusCode": "PartialData" if last else "Complete",
                }
                for q in queries
            ]
        }

    seen = seen_by("cloudwatch", "http://127.0.0.1:1", with_session=told(answer))
    assert asked == [500, 500, 200]  # an average and a maximum for each of 600
    assert len(seen.resources) == 600
    assert seen.outcome is Outcome.TRUNCATED
    assert "AWS/EC2" in seen.missed
    assert "PartialData" in seen.missed
