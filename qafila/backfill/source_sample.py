"""Sample a source for the plan: how its rows get their vectors, what that takes. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from qafila.backfill.load import chunks_of
from qafila.backfill.vectors import Vectorise, open_vectorise
from qafila.embedders.careful import embed_carefully
from qafila.endpoints import Reach, open_embedder, open_source
from qafila.inspect.spread import Portion, Sample
from qafila.ledger.ledger import Generation, open_ledger
from qafila.sources.modes import Mode
from qafila.sources.port import KeyRange, SourceRow
from qafila.stores.port import Chunk
from qafila.workload.corpus import OpenAIEmbedder
from qafila.workload.model import Workload

BATCH_ROWS = 64
_MOST_BATCHES = 8
_COSTLIEST_FIRST = (Mode.RE_EMBED, Mode.MAP, Mode.REUSE, Mode.COPY)


def take_sample(
    workload: Workload, generation: Generation, reach: Reach, ranges: Sequence[KeyRange]
) -> tuple[Sample, float | None]:
    """Return what a few batches from all over the keys show, and the rows a second of reading.

    A model in this process is timed on them. One behind HTTP is not asked: its tokens are counted,
    and the account's limits say how long they take.
    """
    asks = isinstance(workload.corpus.embedder, OpenAIEmbedder)
    batches, characters, rows_read, seconds_read = [], 0, 0, 0.0
    with (
        open_ledger() as ledger,
        open_source(ledger, workload, reach) as source,
        open_vectorise(workload, generation, reach, wait=time.sleep, run_id=None) as vectorise,
        open_embedder(None, workload, reach) as embedder,
    ):
        if not asks:
            embedder.embed(["warm up"])
        for start in _spread(ranges):
            began = time.perf_counter()
            rows = next(iter(source.read(start.low, start.high, BATCH_ROWS)), [])
            seconds_read += time.perf_counter() - began
            rows_read += len(rows)
            if rows:
                portions, seen = _portions(rows, workload, vectorise, embedder, timed=not asks)
                batches.append(portions)
                characters += seen
    rate = rows_read / seconds_read if rows_read and seconds_read else None
    return Sample.of(batches, characters), rate


def _spread(ranges: Sequence[KeyRange]) -> list[KeyRange]:
    """Return up to eight starts, from the first range to the last, each once."""
    if len(ranges) <= _MOST_BATCHES:
        return list(ranges)
    step = (len(ranges) - 1) / (_MOST_BATCHES - 1)
    return [ranges[round(n * step)] for n in range(_MOST_BATCHES)]


def _portions(
    rows: Sequence[SourceRow],
    workload: Workload,
    vectorise: Vectorise,
    embedder: Any,
    *,
    timed: bool,
) -> tuple[list[Portion], int]:
    began = time.perf_counter()
    by_row = [chunks_of([row], workload) for row in rows]
    chunks: list[Chunk] = [c for of_row in by_row for c in of_row]
    ways = vectorise.ways(rows, chunks)
    shared = (time.perf_counter() - began) / max(1, len(chunks))
    modes = [d.mode for d in ways.decisions]
    at, row_modes = 0, []
    for of_row in by_row:
        mine = modes[at : at + len(of_row)]
        at += len(of_row)
        row_modes.append(next((m for m in _COSTLIEST_FIRST if m in mine), Mode.COPY))
    portions = []
    for mode in _COSTLIEST_FIRST:
        places = ways.of(mode)
        of_mode = sum(m is mode for m in row_modes)
        if not places and not of_mode:
            continue
        texts = [chunks[n].text for n in places]
        seconds, tokens = shared * len(places), 0
        if mode is Mode.RE_EMBED and texts:
            tokens = embedder.count_tokens(texts)
            if timed:
                began = time.perf_counter()
                embed_carefully(embedder, texts)
                seconds += time.perf_counter() - began
        reason = ways.decisions[places[0]].reason if places else ""
        portions.append(Portion(mode, of_mode, len(places), tokens, seconds, reason))
    return portions, sum(len(c.text) for c in chunks)


def as_told(sample: Sample, rate: float | None) -> dict[str, Any]:
    """Return a sample as JSON values, for a pipe."""
    return {
        "batches": [[asdict(p) for p in b] for b in sample.batches],
        "characters": sample.characters,
        "rate": rate,
    }


def from_told(told: dict[str, Any]) -> tuple[Sample, float | None]:
    """Return the sample that ``as_told`` described."""
    batches = [[Portion(**{**p, "mode": Mode(p["mode"])}) for p in b] for b in told["batches"]]
    return Sample.of(batches, told["characters"]), told["rate"]
