"""Serve Prefect's API and UI on loopback, to requests that name this address and no other.

Prefect has no setting for the hosts that it answers to. A web page whose name is made to lead to
127.0.0.1 (DNS rebinding) would otherwise count as the UI's own page.
"""

from __future__ import annotations

import argparse

HOST = "127.0.0.1"  # not localhost: another account may listen there over IPv6


def serve(port: int) -> None:
    """Serve until a signal ends the process, as ``prefect server start`` does."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    api = get_current_settings().server.api
    uvicorn.run(
        TrustedHostMiddleware(create_app(final=True), allowed_hosts=[HOST], www_redirect=False),
        host=HOST,
        port=port,
        timeout_keep_alive=api.keepalive_timeout,
        ws_ping_interval=api.websocket_ping_interval,
        ws_ping_timeout=api.websocket_ping_timeout,
        log_level="warning",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    serve(parser.parse_args().port)
