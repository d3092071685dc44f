"""Steps of migrate-workload: open a generation, say what was done."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from qafila.backfill.generations import open_for
from qafila.ledger.evidence import evidence_of
from qafila.ledger.ledger import Generation, newest_generation, open_ledger, read_workload
from qafila.text.foreign_text import markdown_row
from tasks.artifact_tables import show_markdown


@task(task_run_name="open generation of {name}", cache_policy=NO_CACHE)
def open_generation(name: str) -> Generation:
    """Return the generation in migration, or open the next one."""
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, name)
        return open_for(ledger, workload)


@task(task_run_name="summarise {generation.workload}", cache_policy=NO_CACHE)
def summarise(generation: Generation, done: list[str]) -> dict[str, Any]:
    """Write one page on what happened, from evidence."""
    with open_ledger() as ledger:
        rows = evidence_of(ledger, generation.workload, generation=generation.number)
        now = newest_generation(ledger, generation.workload)
    phase = now.phase if now else "unknown"
    lines = "\n".join(
        markdown_row((f"{r.recorded_at:%H:%M:%S}", r.kind, r.verdict or "", r.sentence))
        for r in reversed(rows)
    )
    show_markdown(
        key="migration",
        markdown=f"# {generation.workload} g{generation.number}: {phase}\n\n"
        f"| when (UTC) | what | verdict | sentence |\n|---|---|---|---|\n{lines}\n\n"
        f"One word brings it back: `qafila rollback {generation.workload}`",
    )
    return {
        "workload": generation.workload,
        "generation": generation.number,
        "phase": phase,
        "ran": done,
    }
