"""Connections as Prefect blocks: typed settings, secrets apart, one method that gives a client."""

from blocks.aws import AwsAccount
from blocks.envoy import EnvoyEdge
from blocks.postgres import PostgresDatabase
from blocks.qdrant import QdrantServer

ALL = (AwsAccount, EnvoyEdge, PostgresDatabase, QdrantServer)

__all__ = ["ALL", "AwsAccount", "EnvoyEdge", "PostgresDatabase", "QdrantServer"]
