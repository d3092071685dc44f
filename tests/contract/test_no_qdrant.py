"""Something else that answers where a Qdrant should: named with its address, whatever it says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from qdrant_client import QdrantClient

from qafila.connecting import connect_qdrant
from qafila.core.corpus import QdrantSource as Settings
from qafila.errors import Unavailable
from tasks.inspecting.qdrant import QdrantInspector
from tasks.sources.qdrant import QdrantSource
from tasks.stores.port import Place
from tasks.stores.qdrant import QdrantStore
from tests.http_stub import Reply, serving

ANSWERS = [b"{}", b'{"result": null}', b'{"result" :\tnull }', b"<html>Welcome</html>", b"[]", b""]
SETTINGS = Settings.model_validate(
    {"kind": "qdrant", "block": "b", "collection": "docs", "vectors": {"model": "m"}}
)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(
    "ask",
    [
        lambda client: QdrantSource(client, SETTINGS).problems(),
        lambda client: QdrantSource(client, SETTINGS).shape(),
        lambda client: QdrantInspector(client, local=False).candidates(),
        lambda client: QdrantInspector(client, local=False).inspect("docs"),
        lambda client: QdrantStore(client, Place("docs", 1, "f" * 16, 4)).problems(),
        lambda client: QdrantStore(client, Place("docs", 1, "f" * 16, 4)).prepare(),
    ],
    ids=["source problems", "source shape", "candidates", "inspect", "store problems", "prepare"],
)
def test_what_is_no_qdrant_is_named_with_its_address(
    ask: Callable[[QdrantClient], object], answer: bytes
) -> None:
    with (
        serving(lambda _: Reply(200, answer)) as url,
        closing(connect_qdrant(url, timeout_seconds=5)) as client,
        pytest.raises(Unavailable) as refused,
    ):
        ask(client)
    assert f"what answers at {url} is no Qdrant" in refused.value.what
    assert "6333" in (refused.value.remedy or "")
