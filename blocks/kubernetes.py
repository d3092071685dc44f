"""A Kubernetes cluster whose HTTPRoute carries the weights."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import Field

from qafila.connecting import connect_kubernetes


class KubernetesCluster(Block):
    """A Kubernetes cluster; no secret in it: a kubeconfig, the pod's own account or a file.

    With ``api_url`` a token is read from ``token_file`` at each connection. Without it, the
    context of a kubeconfig; with ``in_cluster``, the service account of the pod that Qafila is in.
    """

    _block_type_name = "Qafila Kubernetes cluster"
    _block_type_slug = "qafila-kubernetes"
    _description = "A Kubernetes cluster whose HTTPRoute Qafila weighs."

    context: str | None = Field(None, description="Context of the kubeconfig; empty: its current.")
    kubeconfig: str | None = Field(None, description="Path of the kubeconfig; empty: the usual.")
    in_cluster: bool = Field(False, description="Use the service account of the pod.")
    api_url: str | None = Field(None, description="Address of the API server, instead of these.")
    token_file: str | None = Field(None, description="Path of a file with the bearer token.")
    ca_file: str | None = Field(None, description="Path of the API server's CA certificate.")
    timeout_seconds: int = Field(10, ge=1, le=60, description="Longest wait for one answer.")

    def client(self) -> Any:
        """Return a ``kubernetes.client.ApiClient``.

        Raises:
            BadInput: the settings contradict each other, or name files that are not there.
            Unavailable: the package ``kubernetes`` is not installed.
        """
        return connect_kubernetes(
            context=self.context,
            kubeconfig=self.kubeconfig,
            in_cluster=self.in_cluster,
            api_url=self.api_url,
            token_file=self.token_file,
            ca_file=self.ca_file,
        )
