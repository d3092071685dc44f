"""Connect to a Kubernetes cluster; its client is an extra of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qafila.errors import BadInput, Unavailable

_INSTALL = 'into the environment that Qafila runs in: pip install "kubernetes>=33"'


def connect_kubernetes(
    context: str | None = None,
    kubeconfig: str | None = None,
    in_cluster: bool = False,
    api_url: str | None = None,
    token_file: str | None = None,
    ca_file: str | None = None,
) -> Any:
    """Return a ``kubernetes.client.ApiClient`` that asks once: what to repeat is its user's to say.

    Raises:
        BadInput: the settings contradict each other, or name files that are not there.
        Unavailable: the package ``kubernetes`` is not installed.
    """
    problems = _problems(context, kubeconfig, in_cluster, api_url, token_file, ca_file)
    if problems:
        raise BadInput(
            "the connection to Kubernetes is not clear:",
            problems,
            remedy="change the block in the Prefect UI, then: qafila apply FILE",
        )
    try:
        import kubernetes
    except ImportError as error:
        raise Unavailable(
            "the package kubernetes is not installed, and it is what speaks to a cluster.",
            kept="nothing was touched.",
            remedy=_INSTALL,
        ) from error
    config: Any = kubernetes.config
    settings = kubernetes.client.Configuration()
    settings.retries = 0
    if api_url is not None:
        settings.host = api_url.rstrip("/")
        settings.ssl_ca_cert = ca_file
        if token_file is not None:
            token = Path(token_file).read_text().strip()
            settings.api_key = {
                "BearerToken": f"Bearer {token}",
                "authorization": f"Bearer {token}",
            }
    else:
        try:
            if in_cluster:
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(
                    config_file=kubeconfig, context=context, client_configuration=settings
                )
        except config.ConfigException as error:
            raise BadInput(
                f"no way to the Kubernetes cluster was found: {error}",
                remedy="name api_url and token_file, a kubeconfig, or in_cluster in the block.",
            ) from error
    return kubernetes.client.ApiClient(settings)


def _problems(
    context: str | None,
    kubeconfig: str | None,
    in_cluster: bool,
    api_url: str | None,
    token_file: str | None,
    ca_file: str | None,
) -> list[str]:
    ways = [
        name
        for name, used in (
            ("api_url", api_url is not None),
            ("in_cluster", in_cluster),
            ("kubeconfig or context", context is not None or kubeconfig is not None),
        )
        if used
    ]
    problems = [f"{' and '.join(ways)} exclude each other."] if len(ways) > 1 else []
    if api_url is None and (token_file or ca_file):
        problems.append("token_file and ca_file go with api_url.")
    for name, path in (
        ("kubeconfig", kubeconfig),
        ("token_file", token_file),
        ("ca_file", ca_file),
    ):
        if path is not None and not Path(path).is_file():
            problems.append(f"{name}: there is no file {path}.")
    return problems
