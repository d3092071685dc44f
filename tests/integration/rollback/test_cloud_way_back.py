"""Drill and way back on a router that shows nothing itself: an HTTPRoute, a gateway, and a log.

The gateway routes each request by the weights that the API server holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qafila.connections.kubernetes import connect_kubernetes
from qafila.rollback.traffic import descend
from qafila.rollout.drill import fly
from qafila.routers.gateway_api.router import GatewayApiRouter
from qafila.workload.router import GatewayApiRouter as Settings
from qafila.workload.verdict import Verdict
from tests.support.gateway import running_gateway, users
from tests.support.kubernetes_api import TOKEN, Cluster, http_route, running_cluster


@pytest.fixture
def router(tmp_path: Path) -> Iterator[GatewayApiRouter]:
    token, log = tmp_path / "token", tmp_path / "service.jsonl"
    token.write_text(TOKEN)
    with (
        running_cluster(Cluster(http_route(old=1, new=0))) as cluster,
        running_gateway(cluster, log) as gateway,
    ):
        settings: dict[str, Any] = {
            "kind": "gateway-api",
            "block": "cluster",
            "namespace": "shop",
            "route": "search",
            "rule": 1,
            "baseline_backend": "old",
            "candidate_backend": "new",
            "entry_url": gateway.url,
            "log": str(log),
        }
        client = connect_kubernetes(api_url=cluster.url, token_file=str(token))
        opened = GatewayApiRouter(Settings.model_validate(settings), client)
        opened.install()
        yield opened
        opened.close()


def test_a_drill_measures_the_way_back_at_the_entry_and_in_the_named_log(
    router: GatewayApiRouter,
) -> None:
    with users(router.listen_url):
        flip = fly(router, 50, epoch=1, path="/search", rate=50, hold_s=0.5)
    assert (flip.failed, flip.canary_after, flip.log_after) == (0, 0, 0)
    assert flip.canary_before > 0
    assert flip.users > 0
    assert router.read().candidate_percent == 0


def test_the_way_back_is_proven_by_the_named_log(router: GatewayApiRouter) -> None:
    router.acknowledged(router.write(50, epoch=1, why="up"))
    with users(router.listen_url):
        back = descend(
            router, "shop-search", epoch=2, why="test", put_back=lambda: None, beside=False
        )
    assert (back.verdict, back.final_weight, back.canary_requests_after) == (Verdict.PASS, 0, 0)
    assert back.requests_after > 0
    assert any("each of its proxies" in sentence for sentence in back.not_shown)
