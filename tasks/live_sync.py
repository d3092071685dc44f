"""Steps of live-sync: feed every living generation, show how far each is."""

from __future__ import annotations

import logging
from dataclasses import asdict

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qafila.ledger.ledger import open_ledger, read_workload
from qafila.live_sync.feeder import POLL_SECONDS, Fed, feed_all, follow
from tasks.artifact_tables import show_table
from tasks.runs import current_run_id, progress_bar


@task(task_run_name="feed every living generation of {name}", cache_policy=NO_CACHE)
def feed(name: str, minutes: float, every: float = POLL_SECONDS) -> list[Fed]:
    """Feed them once, or for ``minutes``; idempotent by the marks in the targets."""
    log, run_id = get_run_logger(), current_run_id()
    move_bar = progress_bar(0.0)

    def show_share(fed: list[Fed]) -> None:
        share = share_applied(fed)
        if share is not None:
            move_bar(round(100 * share, 1))

    def tell(fed: list[Fed]) -> None:
        log.info("%s", "; ".join(map(sentence, fed)) or "no generation is fed")
        show_share(fed)

    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, name)
        if minutes == 0:
            fed = feed_all(ledger, workload, run_id=run_id, tell=tell)
        else:
            fed = follow(
                ledger, workload, seconds=minutes * 60, every=every, run_id=run_id, tell=tell
            )
    show_share(fed)
    return fed


@task(task_run_name="show live sync of {name}", cache_policy=NO_CACHE)
def show(name: str, fed: list[Fed]) -> None:
    """Log one line for each generation, and keep the table as an artifact."""
    log = get_run_logger()
    for one in fed:
        log.log(logging.WARNING if one.note else logging.INFO, "%s", sentence(one))
    show_table(
        key="live-sync",
        rows=[
            {
                "generation": one.generation,
                **asdict(one.applied),
                "behind by changes": "" if one.lag is None else one.lag.changes,
                "behind by seconds": "" if one.lag is None else round(one.lag.seconds, 1),
                "state": one.problem or "fed",
                "note": one.note,
            }
            for one in fed
        ],
        description=f"What live sync of {name} applied, and how far behind each generation is.",
    )


def sentence(fed: Fed) -> str:
    """Return one line about a generation."""
    done = fed.applied
    counts = (
        f"g{fed.generation}: {done.changes} changes, {done.documents} documents, "
        f"{done.rejected} dead letters"
    )
    if fed.lag is not None:
        counts += f", {fed.lag.changes} changes ({fed.lag.seconds:.1f} s) behind"
    return "; ".join(part for part in (counts, fed.problem, fed.note) if part)


def share_applied(fed: list[Fed]) -> float | None:
    """Return the share of the known changes that is applied, from 0 to 1.

    None while the lag of a generation is not known, because it cannot be fed.
    """
    mine = [one for one in fed if not one.elsewhere]
    if any(one.lag is None or one.problem for one in mine):
        return None
    done = sum(one.applied.changes for one in mine)
    left = sum(one.lag.changes for one in mine if one.lag is not None)
    return done / (done + left) if left else 1.0
