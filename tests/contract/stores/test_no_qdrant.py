"""Something else that answers where a Qdrant should: named with its address, whatever it says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from qdrant_client import QdrantClient

from qafila.connections.qdrant import connect_qdrant
from qafila.errors import Unavailable
from qafila.inspect.qdrant import QdrantInspector
from qafila.sources.qdrant import QdrantSource
from qafila.stores.port import Place
from qafila.stores.qdrant.store import QdrantStore
from qafila.workload.corpus import QdrantSource as Settings
from tests.support.http_stub import Reply, serving

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


@pytest.mark.parametrize("wait", ["7", "Sat, 28 Nov 2026 10:00:00 GMT", None])
@pytest.mark.parametrize(
    "ask",
    [
        lambda client: QdrantSource(client, SETTINGS).problems(),
        lambda client: QdrantInspector(client, local=False).candidates(),
        lambda client: QdrantStore(client, Place("docs", 1, "f" * 16, 4)).problems(),
    ],
    ids=["source", "inspect", "store"],
)
def test_a_server_that_asks_us_to_come_back_is_heard_however_it_says_when(
    ask: Callable[[QdrantClient], object], wait: str | None
) -> None:
    """A number of seconds, a date, as a proxy in front may write it, or nothing at all."""
    headers = {} if wait is None else {"retry-after": wait}
    with (
        serving(lambda _: Reply(429, b'{"status": {"error": "too many"}}', headers)) as url,
        closing(connect_qdrant(url, timeout_seconds=5)) as client,
        pytest.raises(Unavailable) as refused,
    ):
        ask(client)
    if wait == "7":
        assert "asks us to come back in 7 s (429)" in refused.value.what
