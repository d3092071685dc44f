"""Load rows as a worker does, in this process: all shards that are left, or one of them."""

from __future__ import annotations

from qafila.backfill.claims import claim_shard
from qafila.backfill.generations import meaning_of
from qafila.backfill.load import Loaded
from qafila.backfill.pulse import Pulse
from qafila.backfill.worker import Assignment, load_one, open_desk, work
from qafila.endpoints import reach_of
from qafila.ledger.ledger import Generation, open_ledger


def load_all(generation: Generation, batch_rows: int) -> int:
    """Load every shard that is not loaded; return how many rows that were."""
    loaded = work(Assignment(generation.workload, generation.number, batch_rows, led=False))
    return sum(shard.rows for shard in loaded)


def load_shard(generation: Generation, number: int, batch_rows: int) -> Loaded:
    """Claim one shard and load it from its checkpoint on."""
    assignment = Assignment(generation.workload, generation.number, batch_rows, led=False)
    with open_ledger() as ledger:
        shard = claim_shard(ledger, generation, number=number)
        assert shard is not None, f"shard {number} is claimed or loaded"
        workload = meaning_of(ledger, generation)
        with (
            Pulse(generation) as pulse,
            open_desk(workload, generation, reach_of(ledger, workload), assignment, pulse) as desk,
        ):
            return load_one(desk, workload, generation, shard, batch_rows, pulse)
