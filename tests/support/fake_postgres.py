"""A listener that speaks just enough of PostgreSQL's protocol to ask a client for its password."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104


class FakePostgres:
    """Asks every client for a clear-text password, and keeps what it is given.

    ``connections`` counts the clients that came, ``passwords`` holds what they sent.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.connections = 0
        self.passwords: list[str] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Answer clients until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with client, suppress(OSError, struct.error):
                client.settimeout(5)
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        while True:
            (length,) = struct.unpack("!i", _exactly(client, 4))
            (code,) = struct.unpack("!i", _exactly(client, length - 4)[:4])
            if code not in (_SSL_REQUEST, _GSS_REQUEST):
                break
            client.sendall(b"N")
        client.sendall(b"R" + struct.pack("!ii", 8, 3))  # AuthenticationCleartextPassword
        if _exactly(client, 1) == b"p":
            (length,) = struct.unpack("!i", _exactly(client, 4))
            self.passwords.append(_exactly(client, length - 4).rstrip(b"\0").decode())


def _exactly(client: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = client.recv(count - len(received))
        if not part:
            raise OSError("the client went away")
        received += part
    return received


@contextmanager
def fake_postgres(host: str = "127.0.0.1") -> Iterator[FakePostgres]:
    """Run a fake server on a free port until the end of the block."""
    with socket.create_server((host, 0)) as listener:
        fake = FakePostgres(listener)
        thread = threading.Thread(target=fake.serve, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(10)
