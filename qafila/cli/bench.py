"""qafila bench: measure, side by side in one run, and print one JSON object."""

from __future__ import annotations

from typing import Annotated

import typer

NAMES = (
    "loader",
    "copy",
    "backfill",
    "kill-storm",
    "live",
    "claims",
    "governor",
    "validation",
    "judge",
    "judge-offline",
    "retrieval",
    "comparison",
    "embedders",
    "answers",
    "rollback",
    "chaos",
    "bills",
    "audit",
    "lock-in",
)


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"{', '.join(NAMES)}.")],
) -> None:
    """Measure what this machine reaches against a floor measured in the same run.

    Options go to the benchmark: qafila bench loader --help. Starts servers of its own on loopback
    and stops them again; exits with 4 when it could not measure.
    """
    import importlib
    import sys
    from pathlib import Path

    from qafila.cli import screen
    from qafila.errors import BadInput

    if name not in NAMES:
        raise BadInput(
            f"there is no benchmark {name!r}.", [], remedy=f"name one of: {', '.join(NAMES)}"
        )
    sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks/ stands in the checkout
    module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    not_measured = importlib.import_module("benchmarks.machine").NotMeasured
    sys.argv = [f"qafila bench {name}", *context.args]
    try:
        module.main()
    except not_measured as error:
        screen.complain(f"Not measured: {error}")
        raise typer.Exit(4) from error
