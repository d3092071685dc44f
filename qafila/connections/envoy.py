"""Speak to Envoy's admin address: a TCP address, or a Unix socket that its owner alone can open."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import httpcore
import httpx

SOCKET_SCHEME = "unix:"


class _SocketBackend(httpcore.SyncBackend):
    """Opens Unix sockets, and leaves none open where nobody listens, as the original does."""

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(timeout)
                probe.connect(path)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(error) from error
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        return super().connect_unix_socket(path, timeout, socket_options)


class _SocketTransport(httpx.HTTPTransport):
    def __init__(self, path: str) -> None:
        super().__init__(uds=path)
        self._pool = httpcore.ConnectionPool(uds=path, network_backend=_SocketBackend())


def connect_envoy_admin(address: str, *, timeout_s: float = 2.0) -> httpx.Client:
    """Return a client of ``http://127.0.0.1:9901`` or of ``unix:/path/to/admin.sock``.

    Opens nothing yet; no proxy of the environment is asked.
    """
    if address.startswith(SOCKET_SCHEME):
        transport = _SocketTransport(address.removeprefix(SOCKET_SCHEME))
        return httpx.Client(base_url="http://envoy", transport=transport, timeout=timeout_s)
    return httpx.Client(base_url=address, timeout=timeout_s, trust_env=False)
