"""The phase table, and phases.md."""

from __future__ import annotations

from docs.reference_pages.markdown import grid
from qafila.core.phases import ENDED, STEP_FROM, TRANSITIONS, Phase


def phases_page() -> str:
    """Return docs/reference/phases.md."""
    rows = [[f"`{a}`", event.value, f"`{b}`"] for (a, event), b in TRANSITIONS.items()]
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
            grid(["from", "event", "to"], rows),
            "",
            "Which flow moves a generation on:",
            "",
            grid(["phase", "next flow"], steps),
            "",
            "`designed` needs a passed `preflight` first. A generation in `canary` is moved by the "
            "run that holds its lease, or taken back. After a phase that ends, the next migration "
            "opens the next generation. No command causes `hold elapsed, approved`, `clean-up "
            "approved` or `cause recorded` yet.",
        ]
    )
