"""What holds for every block: it says what it is, and a secret is kept as one."""

from __future__ import annotations

import re

import pytest
from pydantic import SecretStr

from blocks import ALL
from qafila.connections.settings import KINDS

SLUGS = {
    "AwsAccount": "qafila-aws",
    "EmbeddingEndpoint": "qafila-embeddings",
    "EnvoyEdge": "qafila-envoy",
    "KubernetesCluster": "qafila-kubernetes",
    "LanguageModelEndpoint": "qafila-language-model",
    "PostgresDatabase": "qafila-postgres",
    "QdrantServer": "qafila-qdrant",
}
SECRET = re.compile(r"password|secret|token|api_key$")


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.__name__)
def test_a_block_says_what_it_is_and_what_each_setting_means(block: type) -> None:
    assert (block.__doc__ or "").strip()
    assert block.get_description()
    own = {n: f for n, f in block.model_fields.items() if not n.startswith("_")}
    assert [name for name, field in own.items() if not field.description] == []


def test_a_block_is_a_connection_of_the_same_name_and_adds_no_setting() -> None:
    assert set(KINDS) == set(SLUGS.values())
    for block in ALL:
        model = KINDS[block.get_block_type_slug()]
        assert issubclass(block, model)
        assert list(block.model_fields) == list(model.model_fields)


def test_a_slug_never_changes() -> None:
    assert {block.__name__: block.get_block_type_slug() for block in ALL} == SLUGS


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.__name__)
def test_what_sounds_like_a_secret_is_kept_as_one_or_is_a_path(block: type) -> None:
    for name, field in block.model_fields.items():
        if SECRET.search(name) and not name.endswith("_file"):
            assert SecretStr.__name__ in str(field.annotation), name
