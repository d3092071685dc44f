"""A Kubernetes cluster whose HTTPRoute carries the weights."""

from __future__ import annotations

from prefect.blocks.core import Block

from qafila.connections.settings import KubernetesConnection


class KubernetesCluster(KubernetesConnection, Block):
    """A Kubernetes cluster; no secret in it: a kubeconfig, the pod's own account or a file.

    With ``api_url`` a token is read from ``token_file`` at each connection. Without it, the
    context of a kubeconfig; with ``in_cluster``, the service account of the pod that Qafila is in.
    """

    _block_type_name = "Qafila Kubernetes cluster"
    _block_type_slug = KubernetesConnection.kind
    _description = "A Kubernetes cluster whose HTTPRoute Qafila weighs."
