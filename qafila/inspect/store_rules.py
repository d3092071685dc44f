"""Rules about where vectors are kept: index, version, table, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterator

from qafila.inspect.model import Facts, Finding, Severity

OLDEST_PGVECTOR = (0, 8, 4)
OLDEST_QDRANT = (1, 16)
WORTH_AN_INDEX = 10_000  # rows under which an exact search takes a few milliseconds
_NEVER_USED = 100  # reads of a whole table beside which an index that is never used stands out
_DIMENSION_LIMITS = {"vector": 2000, "halfvec": 4000}


def pgvector_index(facts: Facts) -> Iterator[Finding]:
    """Judge the indexes on a column."""
    if facts.store != "pgvector":
        return
    for index in facts.indexes:
        if not index.valid:
            yield Finding(
                "invalid-index",
                Severity.SERIOUS,
                f"index {index.name} is invalid: a build of it was broken off, and no query uses "
                "it while every write pays for it.",
                f"DROP INDEX CONCURRENTLY {index.name}; then build it again",
            )
        reads = facts.health.full_reads or 0
        if index.valid and index.scans == 0 and reads >= _NEVER_USED:
            yield Finding(
                "unused-index",
                Severity.WARNING,
                f"index {index.name} ({index.operators}) was never used, while the table was read "
                f"from end to end {reads:,} times: queries may use another operator.",
                "compare the operator in the queries (<=> cosine, <#> inner product, <-> Euclid) "
                "with the index's",
            )
        if index.partial:
            yield Finding(
                "partial-index",
                Severity.NOTE,
                f"index {index.name} holds only rows where {index.partial}.",
                "make sure that every query has this condition",
            )
        size, memory = index.size_bytes, facts.memory_bytes
        if size is not None and memory is not None and size > memory:
            yield Finding(
                "index-over-memory",
                Severity.WARNING,
                f"index {index.name} has {_mb(size)}, shared_buffers {_mb(memory)}: a cold search "
                "reads from disk.",
                "raise shared_buffers, or keep the vectors as halfvec (half the size)",
            )
    bare = facts.kind == "table" and not any(i.valid for i in facts.indexes)
    if bare and facts.rows >= WORTH_AN_INDEX:
        yield Finding(
            "no-index",
            Severity.WARNING,
            f"no index on {facts.vector}: every search reads all {facts.rows:,} rows.",
            f"CREATE INDEX CONCURRENTLY ON {facts.name} USING hnsw ({facts.vector} "
            f"{facts.vector_type}_cosine_ops)",
        )
    limit = _DIMENSION_LIMITS.get(facts.vector_type)
    widest = facts.declared_dimensions or max(facts.dimensions, default=0)
    if limit is not None and widest > limit:
        other = "halfvec (up to 4,000)" if facts.vector_type == "vector" else "fewer dimensions"
        yield Finding(
            "too-wide-for-an-index",
            Severity.WARNING,
            f"HNSW on {facts.vector_type} takes {limit:,} dimensions, these have {widest:,}: "
            "there can be no index.",
            f"use {other}, or a model that can shorten its vectors",
        )
    if facts.declared_dimensions is None and facts.vector_type in _DIMENSION_LIMITS:
        yield Finding(
            "undeclared-dimensions",
            Severity.NOTE,
            f"{facts.vector} is declared without a length, so it takes vectors of any.",
            f"ALTER TABLE {facts.name} ALTER COLUMN {facts.vector} TYPE "
            f"{facts.vector_type}(N), once all have the same",
        )


def qdrant_index(facts: Facts) -> Iterator[Finding]:
    """Judge what Qdrant says of its index."""
    if facts.store != "qdrant":
        return
    health, settings = facts.health, facts.settings
    if health.optimizer_error:
        yield Finding(
            "optimizer-error",
            Severity.SERIOUS,
            f"the optimizer has stopped: {health.optimizer_error}",
            "look for a full disk or a broken segment in Qdrant's log, then restart it",
        )
    elif health.status == "red":
        yield Finding(
            "status-red",
            Severity.SERIOUS,
            "the collection is red: some operations failed and were not recovered.",
            "look into Qdrant's log before anything reads from here",
        )
    elif health.status in ("yellow", "grey"):
        why = "is being optimised" if health.status == "yellow" else "waits to be optimised"
        yield Finding(
            f"status-{health.status}",
            Severity.WARNING,
            f"the collection {why} ({health.status}): part of it is searched without an index.",
            "wait for green"
            if health.status == "yellow"
            else "update the collection's optimizer settings once, which starts it",
        )
    if settings.get("m") == "0":
        yield Finding(
            "index-off",
            Severity.SERIOUS if facts.rows >= WORTH_AN_INDEX else Severity.WARNING,
            "m is 0: there is no HNSW index, as while loading; every search looks at all points.",
            "update the collection with m = 16 and wait for green",
        )
    elif health.indexing_threshold_kb == 0:
        yield Finding(
            "index-off",
            Severity.SERIOUS if facts.rows >= WORTH_AN_INDEX else Severity.WARNING,
            "indexing_threshold is 0: nothing new is indexed, as while loading.",
            "update the collection with indexing_threshold = 20000 and wait for green",
        )
    elif (missing := _unindexed(facts)) > 0:
        yield Finding(
            "unindexed-vectors",
            Severity.WARNING,
            f"{health.indexed_vectors or 0:,} of {facts.rows:,} vectors are indexed, which is "
            "fewer than the threshold of indexing explains.",
            "wait for green; if it is green, look at the optimizer's settings",
            missing,
            facts.rows,
        )


def _unindexed(facts: Facts) -> int:
    """Return how many vectors are not indexed beyond what small segments explain."""
    health, width = facts.health, facts.declared_dimensions
    if health.indexed_vectors is None or health.indexing_threshold_kb is None or not width:
        return 0
    allowed_kb = health.indexing_threshold_kb * max(1, health.segments or 1)
    missing = facts.rows - facts.observed.null_vectors.count - health.indexed_vectors
    return missing if missing * width * 4 / 1024 > allowed_kb else 0


def versions(facts: Facts) -> Iterator[Finding]:
    """Name the faults of an old version."""
    version = facts.store_version
    if version is None:
        return
    shown = ".".join(str(n) for n in version)
    if facts.store == "pgvector" and version < OLDEST_PGVECTOR:
        yield Finding(
            "old-pgvector",
            Severity.SERIOUS,
            f"pgvector {shown}: up to 0.8.1 a parallel HNSW build writes past its buffer "
            "(CVE-2026-3172), up to 0.8.2 VACUUM can corrupt an HNSW index, up to 0.8.3 it can "
            "fail to repair the graph.",
            "install 0.8.4 or newer, ALTER EXTENSION vector UPDATE, and REINDEX what VACUUM may "
            "have touched",
        )
    if facts.store == "qdrant" and version[:2] < OLDEST_QDRANT:
        yield Finding(
            "old-qdrant",
            Severity.WARNING,
            f"Qdrant {shown}: conditional updates, with which a late writer is fenced off, come "
            "with 1.16. It can be copied from, not written to.",
            "update it, one minor version at a time",
        )


def table(facts: Facts) -> Iterator[Finding]:
    """Judge the table around the vectors: key, policies, health, tracking."""
    if facts.rows_hidden:
        yield Finding(
            "rows-hidden",
            Severity.SERIOUS,
            f"row-level security applies to {facts.rows_hidden}: what was read here may be a part "
            "only, and a copy would be as well.",
            "connect as a role with BYPASSRLS that may only read",
        )
    if facts.kind != "table":
        return
    if not facts.unique_key:
        yield Finding(
            "no-key",
            Severity.SERIOUS,
            "no primary key or unique index over columns that are NOT NULL: rows cannot be paged, "
            "copied or compared one by one.",
            f"ALTER TABLE {facts.name} ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY "
            "KEY",
        )
    dead, live = facts.health.dead_rows, facts.health.live_rows
    if dead is not None and live is not None and dead > 1000 and dead > 0.2 * (dead + live):
        yield Finding(
            "dead-rows",
            Severity.WARNING,
            f"{dead:,} dead rows beside {live:,} live ones: deleted vectors are still walked in "
            "the graph.",
            f"VACUUM (ANALYZE) {facts.name}; see why autovacuum does not keep up",
        )
    if facts.health.analysed is False and facts.rows >= WORTH_AN_INDEX:
        yield Finding(
            "never-analysed",
            Severity.WARNING,
            "the table was never analysed: the planner guesses whether an index pays.",
            f"ANALYZE {facts.name}",
        )
    if not facts.tracking:
        yield Finding(
            "untracked-changes",
            Severity.NOTE,
            "nothing tracks changes: no trigger, no publication, no updated_at column.",
            "a copy of a table that is written to needs live sync (corpus.live_sync), or a pause",
        )


def around(facts: Facts) -> Iterator[Finding]:
    """Judge what stands beside the vector: tenants, other vectors, other collections."""
    if facts.rows == 0:
        yield Finding(
            "empty",
            Severity.WARNING,
            "there is nothing in it.",
            "look whether this is the right name, and whether you may see its rows",
        )
    for field in facts.access:
        if facts.store == "qdrant" and not (field.indexed and field.tenant):
            yield Finding(
                "tenant-not-indexed",
                Severity.WARNING if not field.indexed else Severity.NOTE,
                f"payload field {field.name} looks like a tenant or an access list, and "
                + (
                    "has no index: a filtered search looks at every point."
                    if not field.indexed
                    else "its index is not marked is_tenant."
                ),
                f"create a keyword index on {field.name} with is_tenant = true",
            )
        elif facts.store == "pgvector" and not field.indexed and facts.rows >= WORTH_AN_INDEX:
            yield Finding(
                "tenant-not-indexed",
                Severity.NOTE,
                f"column {field.name} looks like a tenant or an access list, and has no index.",
                f"CREATE INDEX CONCURRENTLY ON {facts.name} ({field.name}); GIN for an array",
            )
    if facts.vector_type in ("sparsevec", "bit", "sparse", "multi"):
        yield Finding(
            "vector-not-copied",
            Severity.SERIOUS,
            f"{facts.vector or 'the unnamed vector'} holds {facts.vector_type} "
            "vectors, which Qafila does not copy.",
            "embed the text with a dense model, or leave this column where it is",
        )
    if facts.other_vectors:
        yield Finding(
            "other-vectors",
            Severity.NOTE,
            f"beside {facts.vector or 'the unnamed vector'} there is "
            f"{', '.join(facts.other_vectors)}: one vector a chunk is copied.",
            "inspect the others on their own, by --vector",
        )
    if len(facts.layout.parts) > 1:
        told = ", ".join(f"{name} ({n:,})" for name, n in list(facts.layout.parts.items())[:6])
        yield Finding(
            "several-collections",
            Severity.WARNING,
            f"{len(facts.layout.parts)} collections share this table: {told}. Each may have a "
            "model of its own.",
            "read one at a time: " + facts.layout.part_view,
        )


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
