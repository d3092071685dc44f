"""Compare source and target while writes go on: first all rows, then again only what differed.

A row that is written between being read here and there differs for a moment, and is no fault. So
whatever differed is compared again after live sync has gone past that moment, until nothing
differs, or it differs still after so many times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from qafila.backfill.plan import Comparison
from qafila.backfill.verify import databases_answer, expected_digests, list_set_aside
from qafila.endpoints import Reach, open_source, open_store, reach_of
from qafila.ledger.ledger import Connection, Generation
from qafila.live_sync.drain import drain
from qafila.live_sync.feeds import list_feeds, meaning_at
from qafila.sources.port import Source, SourceRow
from qafila.stores.port import VectorStore
from qafila.workload.model import Workload

MOST_DIFFERENT = 20_000  # more than this is no race: the first pass alone is the answer
_BATCH_ROWS = 2_000


@dataclass
class _Found:
    """Documents that differ, and by what; counted in chunks as the backfill's comparison does."""

    rows: int = 0
    matched: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    stale: dict[str, int] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)

    @property
    def documents(self) -> list[str]:
        return list(dict.fromkeys([*self.missing, *self.stale, *self.extra]))


def verify_live(
    ledger: Connection,
    generation: Generation,
    *,
    rounds: int = 20,
    reach: Reach | None = None,
    catch_up: Callable[[], object] | None = None,
) -> Comparison:
    """Compare every row by key and digest; what differs, again after catching up, ``rounds`` times.

    ``catch_up`` returns when all that is committed is applied (default: ``drain``). Rows that
    differ in the end are counted; memory does not grow with rows.
    """
    meaning = meaning_at(ledger, generation)
    reach = reach or reach_of(ledger, meaning)
    known_reach = reach

    def drained() -> object:
        return drain(ledger, meaning, generation, reach=known_reach)

    catch_up = catch_up or drained
    with (
        databases_answer(meaning.name),
        open_source(ledger, meaning, reach) as source,
        open_store(ledger, meaning, generation, reach) as store,
    ):
        catch_up()
        return compare_until_equal(
            source,
            store,
            meaning,
            generation.fingerprint,
            lambda: list_set_aside(ledger, generation),
            catch_up,
            lambda: _position(ledger, generation),
            rounds=rounds,
        )


def compare_until_equal(
    source: Source,
    store: VectorStore,
    workload: Workload,
    fingerprint: str,
    set_aside: Callable[[], Collection[tuple[str, int]]],
    catch_up: Callable[[], object],
    moved: Callable[[], object],
    *,
    rounds: int,
) -> Comparison:
    """Do what ``verify_live`` says, over what is open already.

    ``moved`` answers something else once live sync has written meanwhile.
    """
    before, first, known = moved(), _Found(), set_aside()
    for batch in source.read(None, None, _BATCH_ROWS):
        keys = [row.key_text for row in batch]
        _compare(first, source, store, workload, fingerprint, known, keys, batch)
        if len(first.documents) > MOST_DIFFERENT:
            return _told(first, first, store, len(known))
    counted = store.count() - store.repeated()
    suspects = first.documents
    if counted != first.matched or moved() != before:  # the counts say something while all is still
        suspects += [key for key in _strangers(source, store) if key not in first.extra]
    left = _Found()
    for _ in range(rounds):
        if not suspects:
            break
        catch_up()
        left, known = _Found(), set_aside()
        for start in range(0, len(suspects), _BATCH_ROWS):
            part = suspects[start : start + _BATCH_ROWS]
            _compare(left, source, store, workload, fingerprint, known, part)
        suspects = left.documents
    return _told(first, left, store, len(known))


def _compare(
    found: _Found,
    source: Source,
    store: VectorStore,
    workload: Workload,
    fingerprint: str,
    set_aside: Collection[tuple[str, int]],
    keys: Sequence[str],
    rows: Sequence[SourceRow] | None = None,
) -> None:
    read = source.fetch(keys) if rows is None else rows
    expected = expected_digests(read, workload)
    there = store.digests(keys)
    found.rows += len(read)
    found.matched += len(there)
    gone = [k for k in expected if k not in there and k not in set_aside]
    for key, _ in gone:
        found.missing[key] = found.missing.get(key, 0) + 1
    for (key, number), (digest, mark) in there.items():
        if (key, number) not in expected:
            found.extra[key] = found.extra.get(key, 0) + 1
        elif (digest, mark) != (expected[key, number], fingerprint):
            found.stale[key] = found.stale.get(key, 0) + 1


def _strangers(source: Source, store: VectorStore) -> list[str]:
    """Return documents of the target that the source does not have."""
    found: list[str] = []
    for chunks, _ in store.scan(_BATCH_ROWS):
        keys = list(dict.fromkeys(c.source_key for c in chunks))
        there = {row.key_text for row in source.fetch(keys)}
        found += [key for key in keys if key not in there]
        if len(found) > MOST_DIFFERENT:
            break
    return list(dict.fromkeys(found))


def _position(ledger: Connection, generation: Generation) -> str | None:
    feed = list_feeds(ledger, generation.workload).get(generation.number)
    return None if feed is None else feed.position


def _told(first: _Found, left: _Found, store: VectorStore, set_aside: int) -> Comparison:
    examples = [f"missing {k}" for k in left.missing] + [f"stale {k}" for k in left.stale]
    examples += [f"extra {k}" for k in left.extra]
    return Comparison(
        rows_source=first.rows,
        rows_target=first.rows - len(left.missing),
        chunks_target=store.count(),
        missing=sum(left.missing.values()),
        stale=sum(left.stale.values()),
        extra=sum(left.extra.values()),
        duplicates=store.repeated(),
        dead_letters=set_aside,
        examples=tuple(examples[:10]),
    )
