"""What the lock-in scan says of a cloud's services that no rule names, and of what is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.code_scan.file_reader import rules
from qafila.audit.code_scan.model import Kind
from qafila.audit.code_scan.rule_tables import parse_rules
from qafila.errors import BadInput

_ROOTS = [
    (language, root, namespace.rule)
    for namespace in rules().members.namespaces
    for language, roots in namespace.roots.items()
    for root in sorted(roots)
]


def told(language: str, path: str) -> tuple[str, str] | None:
    found = rules().module(language, path)
    return None if found is None else (found[0].kind.value, found[0].provider)


@pytest.mark.parametrize(
    ("language", "path", "kind", "provider"),
    [
        ("python", "azure.mgmt.redis", "cloud", "azure"),
        ("python", "azure.mgmt.storage.StorageManagementClient", "storage", "azure"),
        ("python", "azure.ai.somethingnew", "model", "azure"),
        ("python", "azure.ai.ml.identity.AzureMLOnBehalfOfCredential", "identity", "azure"),
        ("python", "azure.ai.ml.entities.IdentityConfiguration", "model", "azure"),
        ("python", "azure.communication.identity", "identity", "azure"),
        ("python", "azure.core.credentials.TokenCredential", "cloud", "azure"),
        ("python", "azure.iot.provisioning", "cloud", "azure"),
        ("python", "azure.maps.search.MapsSearchClient", "cloud", "azure"),
        ("python", "google.cloud.pubsub_v9", "queue", "google"),
        ("python", "google.cloud.speech_v9p1beta1", "model", "google"),
        ("python", "google.cloud.storageinsights_v1", "storage", "google"),
        ("python", "google.cloud.firestore", "cloud", "google"),
        ("python", "google.cloud.servicedirectory_v1", "cloud", "google"),
        ("python", "google.cloud.bigquery_storage_v1", "cloud", "google"),
        ("python", "aws_cdk.aws_sqs", "queue", "aws"),
        ("python", "aws_cdk.aws_ec2", "cloud", "aws"),
        ("python", "aws_cdk.Stack", "cloud", "aws"),
        ("python", "mypy_boto3_newthing", "cloud", "aws"),
        ("javascript", "@aws-sdk/client-dynamodb.DynamoDBClient", "cloud", "aws"),
        ("javascript", "@aws-sdk/client-bedrock-agent-new.X", "model", "aws"),
        ("javascript", "@aws-sdk/client-iot-events", "cloud", "aws"),
        ("javascript", "@aws-sdk/client-cloudwatch-events", "queue", "aws"),
        ("javascript", "@aws-sdk/credential-provider-web-identity", "identity", "aws"),
        ("javascript", "@aws-sdk/util-format-url", "cloud", "aws"),
        ("javascript", "aws-sdk.DynamoDB", "cloud", "aws"),
        ("javascript", "aws-sdk.SNS", "queue", "aws"),
        ("javascript", "aws-sdk/clients/sagemaker", "model", "aws"),
        ("javascript", "aws-cdk-lib/aws-s3", "storage", "aws"),
        ("javascript", "@azure/arm-cognitiveservices", "model", "azure"),
        ("javascript", "@azure/core-auth.TokenCredential", "cloud", "azure"),
        ("javascript", "@azure-rest/ai-somethingnew", "model", "azure"),
        ("javascript", "@azure/web-pubsub", "queue", "azure"),
        ("javascript", "@google-cloud/eventarc-publishing", "queue", "google"),
        ("javascript", "@google-cloud/bigquery-storage", "cloud", "google"),
        ("javascript", "@google-cloud/logging.Logging", "cloud", "google"),
        ("java", "software.amazon.awssdk.services.dynamodb.DynamoDbClient", "cloud", "aws"),
        ("java", "software.amazon.awssdk.services.s3vectors.S3VectorsClient", "vector", "aws"),
        ("java", "com.amazonaws.services.cognitosync.AmazonCognitoSync", "identity", "aws"),
        ("java", "com.azure.resourcemanager.storage.StorageManager", "storage", "azure"),
        ("java", "com.azure.core.credential.TokenCredential", "cloud", "azure"),
        ("java", "com.azure.messaging.somethingnew.Client", "queue", "azure"),
        ("java", "com.google.cloud.bigquery.storage.v1.BigQueryReadClient", "cloud", "google"),
        ("java", "com.google.api.services.pubsub.Pubsub", "queue", "google"),
        ("go", "github.com/aws/aws-sdk-go-v2/service/dynamodb", "cloud", "aws"),
        ("go", "github.com/aws/aws-sdk-go-v2/service/qbusiness/types", "model", "aws"),
        ("go", "github.com/aws/aws-sdk-go-v2/config", "cloud", "aws"),
        ("go", "github.com/Azure/azure-sdk-for-go/sdk/messaging/azwebpubsub", "queue", "azure"),
        ("go", "github.com/Azure/azure-sdk-for-go/sdk/azcore/to", "cloud", "azure"),
        ("go", "cloud.google.com/go/bigquery/storage/apiv1", "cloud", "google"),
        ("go", "cloud.google.com/go/automl/apiv1", "model", "google"),
        ("go", "google.golang.org/api/iam/v1", "identity", "google"),
        ("go", "google.golang.org/api/option", "cloud", "google"),
        ("go", "google.golang.org/api/tasks/v1", "cloud", "google"),
    ],
)
def test_a_member_without_a_row(language: str, path: str, kind: str, provider: str) -> None:
    assert told(language, path) == (kind, provider)


@given(st.sampled_from(_ROOTS), st.from_regex(r"[a-z][a-z0-9]{2,12}", fullmatch=True))
def test_a_member_of_a_cloud_is_never_silence(root: tuple[str, str, str], member: str) -> None:
    language, path, rule = root
    between = "/" if language in ("javascript", "go") else "."
    found = rules().module(language, f"{path}{between}{member}")
    provider = next(api.provider for api in rules().apis if api.rule == rule)
    generic = rules().modules[language].get(f"{path}{between}{member}", found) is None
    assert generic or (found is not None and found[0].kind in set(Kind))
    # a row of its own may give a member to a platform on the cloud, such as Firebase
    assert generic or found is None or found[0].provider in {provider, "firebase"}


@pytest.mark.parametrize(
    ("language", "path"),
    [
        ("python", "azurite"),
        ("python", "google.protobuf"),
        ("python", "google.rpc"),
        ("python", "googlesearch"),
        ("python", "sqlalchemy"),
        ("python", "requests"),
        ("python", "httpx"),
        ("python", "queue"),
        ("python", "moto"),
        ("python", "fsspec"),
        ("python", "psycopg"),
        ("python", "litellm"),
        ("python", "langchain_core.vectorstores"),
        ("python", "llama_index.core.vector_stores"),
        ("python", "transformers"),
        ("python", "faiss"),
        ("javascript", "@azureless/core"),
        ("javascript", "aws-sdk-mock"),
        ("javascript", "ai"),
        ("javascript", "@langchain/core/vectorstores"),
        ("javascript", "axios"),
        ("javascript", "passport"),
        ("java", "com.google.common.collect.Lists"),
        ("java", "com.google.gson.Gson"),
        ("java", "org.springframework.stereotype.Service"),
        ("java", "javax.sql.DataSource"),
        ("go", "google.golang.org/grpc"),
        ("go", "google.golang.org/protobuf/proto"),
        ("go", "golang.org/x/oauth2"),
        ("go", "net/http"),
    ],
)
def test_what_serves_generically_is_no_provider_s(language: str, path: str) -> None:
    assert rules().module(language, path) is None


def test_infrastructure_in_a_cloud_s_constructs_is_no_configuration() -> None:
    plain = rules().module("python", "s3fs")
    constructs = rules().module("python", "aws_cdk.aws_s3.Bucket")
    assert plain is not None
    assert constructs is not None
    assert (plain[0].effort, constructs[0].effort) == ("S", "M")
    assert constructs[0].effort_of("select_object_content")[0] == "M"


def test_namespaces_are_checked() -> None:
    with pytest.raises(BadInput) as refused:
        parse_rules(
            '[[namespace]]\nrule = "none"\npython = ["x"]\neffort = "XL"\nwho = 1\n',
            '[words]\ntea = ["leaf"]\n',
        )
    assert len(refused.value.problems) == 4


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("https://polly.eu-west-1.amazonaws.com/v1", "model"),
        ("newcognito.us-east-1.amazonaws.com", "cloud"),
        ("cognitonew.us-east-1.amazonaws.com", "identity"),
        ("https://dynamodb.{region}.amazonaws.com", "cloud"),
        ("https://{name}.amazonaws.com", "cloud"),
        ("queue.execute-api.us-east-1.amazonaws.com", "cloud"),
        ("bucket.s3.eu-west-1.amazonaws.com", "storage"),
        ("https://europe-west4-speech.googleapis.com", "model"),
        ("bigquerystorage.googleapis.com", "cloud"),
        ("https://compute.googleapis.com/compute/v1", "cloud"),
        ("https://pubsub.googleapis.com", "queue"),
    ],
)
def test_a_host_tells_its_service(address: str, kind: str) -> None:
    found = rules().address(address)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("azure.mgmt.redis.models.Sku", "mgmt-redis"),
        ("azure.mgmt.redis.aio.RedisManagementClient", "mgmt-redis"),
        ("azure.cosmos.exceptions.CosmosHttpResponseError", "cosmos"),
        ("google.cloud.compute_v1.types", "compute"),
        ("aws_cdk.aws_ec2.Vpc", "ec2"),
        ("mypy_boto3_dynamodb.client", "dynamodb"),
    ],
)
def test_a_service_has_one_name(path: str, service: str) -> None:
    found = rules().module("python", path)
    assert found is not None
    assert found[0].api == service
    assert service in found[0].reason or found[0].effort == "M"


def test_the_docs_count_what_is_known() -> None:
    text = (Path(__file__).parents[4] / "docs/explanation/lock-in.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|", text, re.M)
    apis = rules().apis
    assert {kind: (int(n), int(m)) for kind, n, m in rows} == {
        kind.value: (
            sum(a.kind is kind for a in apis),
            len({a.provider for a in apis if a.kind is kind}),
        )
        for kind in Kind
    }
