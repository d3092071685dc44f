"""Connections as Prefect blocks: typed settings, secrets apart, one method that gives a client."""

from blocks.aws import AwsAccount
from blocks.embeddings import EmbeddingEndpoint
from blocks.envoy import EnvoyEdge
from blocks.kubernetes import KubernetesCluster
from blocks.language_model import LanguageModelEndpoint
from blocks.postgres import PostgresDatabase
from blocks.qdrant import QdrantServer

ALL = (
    AwsAccount,
    EmbeddingEndpoint,
    EnvoyEdge,
    KubernetesCluster,
    LanguageModelEndpoint,
    PostgresDatabase,
    QdrantServer,
)

__all__ = [
    "ALL",
    "AwsAccount",
    "EmbeddingEndpoint",
    "EnvoyEdge",
    "KubernetesCluster",
    "LanguageModelEndpoint",
    "PostgresDatabase",
    "QdrantServer",
]
