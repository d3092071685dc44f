"""Tell the Prefect server and the ledger what there is: connections, deployments, the automation.

Runs as a process of its own (``python -m qafila.cli.registering``), because Prefect reads its
settings when it is imported, and does everything in one process, because that import is slow.
"""

from __future__ import annotations

import hashlib
import sys
import time
from importlib.metadata import version

from qafila import settings
from qafila.errors import Unavailable
from qafila.stack import prefect
from qafila.stack.automations import ensure_automation
from qafila.stack.environment import root


def digest() -> str:
    """Return what the deployments depend on, as one hash: prefect.yaml, flows, their models."""
    total = hashlib.sha256(version("prefect").encode())
    base = root()
    files = [
        *base.glob("flows/*.py"),
        *base.glob("qafila/workload/*.py"),
        *base.glob("blocks/*.py"),
    ]
    files += [
        base / "qafila" / "connections" / "settings.py",
        base / "qafila" / "validation" / "options.py",
        base / "qafila" / "stack" / "automations.py",
    ]
    for file in [base / "prefect.yaml", *sorted(files)]:
        if file.is_file():
            total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()


def register_connections() -> None:
    """Store the demo's four connections as Prefect blocks and in the ledger; repeatable."""
    from pydantic import SecretStr

    from blocks import ALL, AwsAccount, EnvoyEdge, PostgresDatabase
    from qafila.ledger.connections import record_connection
    from qafila.ledger.ledger import open_ledger

    stack = settings.stack_state()
    edge = stack["envoy"]
    connections: dict[str, AwsAccount | EnvoyEdge | PostgresDatabase] = {
        "demo-source": PostgresDatabase(url=stack["postgres"]["source_url"]),
        "demo-target": PostgresDatabase(url=stack["postgres"]["target_url"]),
        "demo-edge": EnvoyEdge(
            directory=edge["directory"],
            admin_url=edge["admin_url"],
            listen_url=edge["listen_url"],
            allowed_loopback=["any"],  # services of a trial run on this machine
        ),
        "demo-aws": AwsAccount(
            regions=["eu-west-3"],
            endpoint_url=stack["moto"]["url"],
            access_key_id="demo",
            secret_access_key=SecretStr("demo"),
        ),
    }
    _wait_for_server(stack["prefect"]["api_url"])
    for kind in ALL:
        kind.register_type_and_schema()
    with open_ledger() as ledger:
        for name, block in connections.items():
            block.save(name, overwrite=True)
            record_connection(ledger, name, block)


def register_deployments() -> int:
    """Run `prefect deploy --all` on prefect.yaml in this process; return its exit code."""
    from prefect.cli import app

    sys.argv = ["prefect", "--no-prompt", "deploy", "--all"]
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _wait_for_server(api: str, timeout_s: float = 180.0) -> None:
    """Wait for the server, which starts while this process was busy importing Prefect."""
    deadline = time.monotonic() + timeout_s
    while not prefect.healthy(api):
        if time.monotonic() > deadline:
            raise Unavailable(f"the Prefect server at {api} does not answer.", remedy="qafila up")
        time.sleep(0.1)
    prefect.ensure_pool(api)


if __name__ == "__main__":
    register_connections()
    code = register_deployments()
    if code == 0:
        ensure_automation(settings.stack_state()["prefect"]["api_url"])
    sys.exit(code)
