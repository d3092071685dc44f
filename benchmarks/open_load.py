"""Users of a benchmark: requests that fall due at a steady rate, whatever the answers do.

A process of its own, so that whoever measures is not slowed by it, with kept connections and
asyncio. ``Load`` starts it and returns every request as a row of ``ROW`` when it is stopped.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
BASELINE, CANDIDATE, TWIN = 1, 2, 3
_ARMS = {b"baseline": BASELINE, b"candidate": CANDIDATE, b"twin": TWIN}
_MOST_CONNECTIONS = 512
_TIMEOUT_S = 10.0

# Unix times in seconds; status 0 is no answer; served is an arm above, 0 when nobody said.
ROW = np.dtype(
    [
        ("due", "f8"),
        ("sent", "f8"),
        ("ended", "f8"),
        ("status", "i4"),
        ("served", "i1"),
        ("tenant", "i4"),
    ]
)
Rows = NDArray[np.void]


@dataclass(frozen=True)
class Orders:
    """What the process is told on standard input; it ends when that is closed."""

    host: str
    port: int
    path: str
    rps: float
    tenants: int
    file: str
    most_seconds: float = 900.0


class Load:
    """Users of ``url`` at ``rps`` requests a second, drawn from ``tenants`` different ones."""

    def __init__(
        self, url: str, rps: float, *, tenants: int = 500, path: str = "/search?q=x&k=10"
    ) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._file = Path(tempfile.mkdtemp(prefix="qafila-load-")) / "rows.npy"
        self.orders = Orders(host, int(port), path, rps, tenants, str(self._file))

    def __enter__(self) -> Load:
        self._child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.open_load"],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps(asdict(self.orders)) + "\n")
        self._child.stdin.flush()
        if self._child.stdout.readline().strip() != "begun":
            raise RuntimeError("the load did not begin")
        return self

    def stop(self) -> Rows:
        """End it, wait for the last answers, return all requests in the order they fell due."""
        self._child.communicate(timeout=_TIMEOUT_S + 20)
        rows: Rows = np.load(self._file)
        self._file.unlink()
        self._file.parent.rmdir()
        return rows

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()


def failed(rows: Rows) -> int:
    """Return how many users got no answer or a 5xx."""
    return int(((rows["status"] == 0) | (rows["status"] >= 500)).sum())


class _Users:
    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.rows: list[tuple[float, float, float, int, int, int]] = []
        self.idle: deque[_Connection] = deque()
        self.queue: deque[tuple[float, int]] = deque()
        self.connections = self.busy = 0
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(8):
            await self.connect()
        print("begun", flush=True)
        loop.run_in_executor(None, self.listen, loop)
        begun, n, chance = time.time(), 0, random.Random(7)
        while not self.stopped.is_set() and time.time() - begun < self.orders.most_seconds:
            while (due := begun + n / self.orders.rps) <= time.time():
                self.ask(due, chance.randrange(self.orders.tenants))
                n += 1
            await asyncio.sleep(max(0.0, due - time.time()))
        end = time.time() + _TIMEOUT_S
        while (self.busy or self.queue) and time.time() < end:
            await asyncio.sleep(0.01)
        self.rows.extend((due, due, time.time(), 0, 0, t) for due, t in self.queue)
        self.rows.sort()
        np.save(self.orders.file, np.array(self.rows, dtype=ROW))

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(self.stopped.set)

    def ask(self, due: float, tenant: int) -> None:
        while self.idle:
            connection = self.idle.popleft()
            if not connection.transport.is_closing():
                connection.send(due, tenant)
                return
        self.queue.append((due, tenant))
        if self.connections < _MOST_CONNECTIONS:
            asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        self.connections += 1
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: _Connection(self), self.orders.host, self.orders.port
            )
        except OSError:
            self.connections -= 1
            if self.queue:  # nobody listens: a user who cannot connect has no answer
                due, tenant = self.queue.popleft()
                self.rows.append((due, time.time(), time.time(), 0, 0, tenant))

    def free(self, connection: _Connection) -> None:
        if self.queue:
            connection.send(*self.queue.popleft())
        else:
            self.idle.append(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, users: _Users) -> None:
        self.users = users
        self.waiting = b""
        self.asked: tuple[float, float, int] | None = None
        host = f"{users.orders.host}:{users.orders.port}"
        self.head = f"GET {users.orders.path} HTTP/1.1\r\nhost: {host}\r\nx-tenant-id: t"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.users.free(self)

    def send(self, due: float, tenant: int) -> None:
        self.users.busy += 1
        self.asked = (due, time.time(), tenant)
        self.transport.write(f"{self.head}{tenant}\r\n\r\n".encode())
        self.timer = asyncio.get_running_loop().call_later(_TIMEOUT_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        end = self.waiting.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.waiting[:end].lower()
        if len(self.waiting) < end + 4 + int(_value(head, b"content-length") or 0):
            return
        self.waiting = b""
        self.done(int(head[9:12]), _ARMS.get(_value(head, b"x-qafila-served"), 0))
        self.users.free(self)

    def done(self, status: int, served: int) -> None:
        if self.asked is None:
            return
        due, sent, tenant = self.asked
        self.users.rows.append((due, sent, time.time(), status, served, tenant))
        self.asked = None
        self.users.busy -= 1
        self.timer.cancel()

    def connection_lost(self, error: Exception | None) -> None:
        self.users.connections -= 1
        self.done(0, 0)


def _value(head: bytes, name: bytes) -> bytes:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    return head[start + len(name) + 3 :].partition(b"\r\n")[0].strip()


def main() -> None:
    orders = Orders(**json.loads(sys.stdin.readline()))
    gc.disable()  # bounded by most_seconds; a collection would look like a slow router
    asyncio.run(_Users(orders).run())


if __name__ == "__main__":
    main()
