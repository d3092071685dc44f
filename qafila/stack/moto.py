"""The AWS API on loopback: a moto server. It keeps its estate in memory only."""

from __future__ import annotations

import argparse
import logging
import sys

import httpx


def command(port: int) -> list[str]:
    """Return the command that serves moto on a loopback port."""
    return [sys.executable, "-m", "qafila.stack.moto", str(port)]


def healthy(url: str, timeout_s: float = 2.0) -> bool:
    """Say whether the server answers."""
    try:
        return httpx.get(f"{url}/moto-api/", timeout=timeout_s).status_code == 200
    except httpx.TransportError:
        return False


def serve(port: int) -> None:
    """Serve until a signal ends the process, a thread a request, without a line per request."""
    from moto.server import main

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    main(["--host", "127.0.0.1", "--port", str(port)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    serve(parser.parse_args().port)
