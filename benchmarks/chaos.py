"""Break everything that a rollout stands on, once each, and say what users met.

    python -m benchmarks.chaos --seed 1

Starts an Envoy, two services, a PostgreSQL and users on loopback, then breaks them scenario by
scenario under controllers and a watchdog in processes of their own. Prints one JSON object:
``scenarios``, each with ``name``, ``ok``, ``figure``, ``unit`` and the ``bound`` on the figure.
Exits with 1 when one did not hold.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import machine
from benchmarks.chaos_scenarios import SCENARIOS, Outcome
from benchmarks.chaos_world import NotReached, World, chaos_world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides when things break")
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    arguments = parser.parse_args()
    names = [name for name in SCENARIOS if arguments.only in name]
    if not names:
        parser.error(f"no scenario has {arguments.only!r} in its name: {', '.join(SCENARIOS)}")
    rows, seconds = [], []
    with chaos_world(arguments.seed) as world:
        for name in names:
            begun = time.monotonic()
            outcome = play(world, name)
            seconds.append(time.monotonic() - begun)
            rows.append(_row(name, outcome))
            print(f"{'ok  ' if outcome.ok else 'FAIL'} {name}: {outcome.said}", file=sys.stderr)
    machine.show(
        "chaos", {"scenarios": rows}, seed=arguments.seed, raw_seconds={"scenarios": seconds}
    )
    if not all(row["ok"] for row in rows):
        raise SystemExit(1)


def play(world: World, name: str) -> Outcome:
    """Make everything well, then play one scenario; what it did not expect is not ok.

    A rollout that ended before anything was broken has shown nothing: it is tried once more.
    """
    for last in (False, True):
        try:
            world.reset()
            return SCENARIOS[name](world)
        except NotReached as error:
            if last:
                return Outcome(False, None, "", None, f"twice not reached: {error}")
        except Exception as error:  # noqa: BLE001 - what nobody expected is a scenario that failed
            return Outcome(False, None, "", None, f"{type(error).__name__}: {error}")
    raise AssertionError("unreachable")


def _row(name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": name,
        "ok": outcome.ok,
        "figure": outcome.figure,
        "unit": outcome.unit,
        "bound": outcome.bound,
        "said": outcome.said,
    }


if __name__ == "__main__":
    main()
