"""One arm of a benchmark's edge: a small HTTP/1.1 service in a process of its own.

    python -m benchmarks.arm --name candidate --port 0

Prints ``{"port": …}`` when it listens on loopback, and works until it is killed or its standard
input is closed. Cheap on purpose, so that a thousand requests a second and the router that is
measured find room on two cores; real HTTP with kept connections all the same. What shall go wrong
is told to its own port: ``POST /faults`` with a JSON object of ``Faults``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from dataclasses import dataclass, field, fields

_REASONS = {200: "OK", 400: "Bad Request", 500: "Internal Server Error"}


@dataclass
class Faults:
    """Shares from 0 to 1; ``bad_tenants`` always get an empty answer; ``hang``: nobody gets one."""

    delay_s: float = 0.0
    errors: float = 0.0
    empties: float = 0.0
    bad_tenants: list[str] = field(default_factory=list)
    hang: bool = False


class Arm:
    """What all connections share: the name in each answer, and the faults of the moment."""

    def __init__(self, name: str, seed: int = 7, work_s: float = 0.0) -> None:
        self.name = name
        self.work_s = work_s  # what an answer takes when nothing is wrong
        self.faults = Faults()
        self.chance = random.Random(seed)

    def answer(self, path: str, tenant: str) -> bytes:
        """Return the whole reply to one question."""
        if path.startswith("/health"):
            return self.reply(200, 1)
        if self.faults.errors and self.chance.random() < self.faults.errors:
            return self.reply(500, 0)
        empty = tenant in self.faults.bad_tenants or (
            self.faults.empties > 0 and self.chance.random() < self.faults.empties
        )
        return self.reply(200, 0 if empty else 3)

    def reply(self, status: int, results: int) -> bytes:
        body = f'{{"from": "{self.name}"}}'.encode()
        return (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-length: {len(body)}\r\n"
            f"x-qafila-results: {results}\r\n\r\n"
        ).encode() + body

    def change(self, body: bytes) -> bytes:
        """Take other faults; what is not named goes back to none."""
        try:
            told = json.loads(body)
            known = {f.name for f in fields(Faults)}
            self.faults = Faults(**{k: v for k, v in told.items() if k in known})
        except (ValueError, TypeError, AttributeError):
            return self.reply(400, 0)
        return self.reply(200, 0)


class Connection(asyncio.Protocol):
    """One kept connection; questions are answered in the order in which they came."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = self.waiting[:end].decode("latin-1")
            length = int(header(head, "content-length") or 0)
            if len(self.waiting) < end + 4 + length:
                return
            body = self.waiting[end + 4 : end + 4 + length]
            self.waiting = self.waiting[end + 4 + length :]
            method, path, _ = head.split(" ", 2)
            if method == "POST" and path == "/faults":
                self.transport.write(self.arm.change(body))
                continue
            if self.arm.faults.hang:
                continue
            tenant = header(head, "x-tenant-id") if self.arm.faults.bad_tenants else ""
            self.say(self.arm.answer(path, tenant))

    def say(self, reply: bytes) -> None:
        delay = self.arm.work_s + self.arm.faults.delay_s
        if delay:
            asyncio.get_running_loop().call_later(delay, self.write, reply)
        else:
            self.write(reply)

    def write(self, reply: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(reply)


def header(head: str, name: str) -> str:
    """Return a header's value; empty when it is not there."""
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


async def serve(name: str, port: int, work_s: float) -> None:
    """Listen and answer until standard input is closed."""
    arm = Arm(name, work_s=work_s)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(arm), "127.0.0.1", port, backlog=512)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="baseline")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--work-ms", type=float, default=0.0, help="what each answer takes")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.name, arguments.port, arguments.work_ms / 1000))


if __name__ == "__main__":
    main()
