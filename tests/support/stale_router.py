"""An Envoy that acknowledges weight 0 and goes on sending users to the candidate."""

from __future__ import annotations

from typing import Any

from qafila.routers.envoy import config as envoy_config
from qafila.routers.envoy.files import Folder
from qafila.routers.envoy.router import EnvoyRouter


class StaleFolder(Folder):
    """Writes each new version with the routes of another weight where it asks for weight 0.

    With ``hidden``, those routes call the candidate's answers the baseline's.
    """

    percent = 1
    hidden = False

    def replace(self, name: str, content: dict[str, Any]) -> None:
        if name == "rds.json":
            state, _ = envoy_config.parse_version(content["version_info"])
            if not state.candidate_percent:
                content = {**content, "resources": self._stale(state.epoch)}
        super().replace(name, content)

    def _stale(self, epoch: int) -> Any:
        version = envoy_config.version_text(epoch, 1, self.percent)
        resources = envoy_config.routes(version, "stale")["resources"]
        if self.hidden:
            for route in resources[0]["virtual_hosts"][0]["routes"]:
                for cluster in route["route"]["weighted_clusters"]["clusters"]:
                    cluster["response_headers_to_add"][0]["header"]["value"] = "baseline"
        return resources


class StaleRouter(EnvoyRouter):
    """The router port of such an Envoy."""

    def __init__(self, name: str, **settings: str) -> None:
        super().__init__(name, **settings)
        self._folder = StaleFolder(self.directory)


def stale(router: EnvoyRouter, percent: int = 1, *, hidden: bool = False) -> StaleRouter:
    """Return the same edge as a router whose weight 0 leaves some users on the candidate."""
    liar = StaleRouter(
        router.name,
        directory=str(router.directory),
        admin_url="http://127.0.0.1:9",
        listen_url=router.listen_url,
    )
    liar.close()
    liar._admin = router._admin  # which the edge closes
    assert isinstance(liar._folder, StaleFolder)
    liar._folder.percent, liar._folder.hidden = percent, hidden
    return liar
