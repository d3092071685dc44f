"""The phase table, and phases.md."""

from __future__ import annotations

from docs.reference_pages.markdown import grid
from qafila.workload.phases import CAUSED_BY, ENDED, STEP_FROM, TRANSITIONS, Event, Phase


def phases_page() -> str:
    """Return docs/reference/phases.md."""
    rows = [
        [f"`{a}`", event.value, f"`{b}`", _cause(event)] for (a, event), b in TRANSITIONS.items()
    ]
    steps = [
        [f"`{p}`", f"`{STEP_FROM[p]}`" if p in STEP_FROM else "ends here" if p in ENDED else "—"]
        for p in Phase
    ]
    return "\n".join(
        [
            "# Phases",
            "",
            "A phase belongs to one generation of a workload. This table is the only thing that "
            "moves one; whatever is not in it is refused.",
            "",
            grid(["from", "event", "to", "caused by"], rows),
            "",
            "Which flow moves a generation on:",
            "",
            grid(["phase", "next flow"], steps),
            "",
            "`designed` needs a passed `preflight` first. A generation in `canary` is moved by the "
            "run that holds its lease, or taken back. After a phase that ends, the next migration "
            "opens the next generation. A promoted generation stays as it is until somebody "
            "[settles and cleans up](../how-to/clean-up.md).",
        ]
    )


def _cause(event: Event) -> str:
    cause = CAUSED_BY[event]
    if cause is None:
        return "nothing yet"
    return f"`{cause}`" if cause.startswith("qafila") and "," not in cause else cause
