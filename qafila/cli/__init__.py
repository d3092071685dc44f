"""The command line: parses, calls, prints, exits. Commands live in one file per group.

Exit codes: 0 PASS, 1 FAIL or refused, 2 bad usage or input, 3 INCONCLUSIVE, 4 ERROR.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys

import typer

from qafila.cli import screen
from qafila.errors import QafilaError
from qafila.masked_output import mask_logs, mask_tracebacks, masked_traceback
from qafila.session_name import name_process

GROUPS = (
    "stack",
    "workloads",
    "status",
    "runs",
    "load",
    "live_sync",
    "rollout",
    "router",
    "cleaning",
    "evidence",
    "report",
    "demo",
    "bench",
    "inspect",
    "lock_in",
    "bills",
)  # each has `register(app)`

# A rollback, a watchdog and apply do it at a better moment; a bill is read with nothing running.
_WITHOUT_LEDGER = ("up", "down", "rollback", "watchdog", "bills", "apply")

app = typer.Typer(
    name="qafila",
    help="Move AI workloads onto AI-ready infrastructure, one reversible step at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _qafila(context: typer.Context) -> None:
    """Before a command, say where Prefect is; take in what was done while no ledger answered.

    What this process and those it starts write is readable by its owner alone: cards, logs,
    reports and exports name users, hosts and money.
    """
    os.umask(0o077)
    from qafila.settings import home
    from qafila.stack.environment import prefer_stack

    name_process(context.invoked_subcommand or "")
    prefer_stack()
    # Said at the end of a command that read a block: about what Prefect still sends, not to us.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    waiting = home() / "spool" / "rollbacks.jsonl"
    if context.invoked_subcommand in _WITHOUT_LEDGER or not waiting.is_file():
        return  # the usual case imports nothing more
    from qafila.rollback.spool import take_in_at_start

    take_in_at_start(screen.complain)


for _group in GROUPS:
    importlib.import_module(f"qafila.cli.{_group}").register(app)


def main() -> None:
    """Run a command; turn our errors into their message on stderr and their exit code."""
    mask_logs()
    mask_tracebacks()
    try:
        app()
    except QafilaError as error:
        screen.complain(error.render())
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the outermost edge: a bug is an ERROR, no verdict
        screen.complain(masked_traceback(error))
        screen.complain("This is a fault in Qafila itself, not in your input.")
        sys.exit(4)
