"""The rules of an inspection: facts in, findings out, each with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qafila.core.inspection import Facts, Finding, Inspection, Severity, of_rows

OLDEST_PGVECTOR = (0, 8, 4)
OLDEST_QDRANT = (1, 16)
WORTH_AN_INDEX = 10_000  # rows under which an exact search takes a few milliseconds
_NEVER_USED = 100  # reads of a whole table beside which an index that is never used stands out
_DIMENSION_LIMITS = {"vector": 2000, "halfvec": 4000}

Rule = Callable[[Facts], Iterator[Finding]]


def inspect(facts: Facts) -> Inspection:
    """Apply every rule; the most serious first, and of those what is about the whole index."""
    found = [finding for rule in RULES for finding in rule(facts)]
    order = list(Severity)
    found.sort(key=lambda f: (order.index(f.severity), f.count is not None, -(f.count or 0)))
    return Inspection(facts, tuple(found))


def _mixed(facts: Facts) -> Iterator[Finding]:
    seen = facts.observed
    if len(seen.dimensions) > 1:
        most = max(seen.dimensions, key=lambda d: seen.dimensions[d].count)
        others = {d: t for d, t in seen.dimensions.items() if d != most}
        told = ", ".join(f"{t.count:,} of {d}" for d, t in others.items())
        yield of_rows(
            facts, "mixed-dimensions", Severity.SERIOUS, sum(t.count for t in others.values()),
            f"{{}} have another length of vector than the rest ({most}): {told}. More than one "
            "model wrote here, and a search over all of them fails.",
            "split them by model into one index each, or embed all of them again with one model",
            tuple(k for t in others.values() for k in t.examples)[:5],
        )  # fmt: skip
    if len(seen.models) > 1:
        most_named = max(seen.models, key=lambda m: seen.models[m].count)
        rest = {m: t for m, t in seen.models.items() if m != most_named}
        told = ", ".join(f"{m} ({t.count:,})" for m, t in list(rest.items())[:3])
        yield of_rows(
            facts, "mixed-models", Severity.SERIOUS, sum(t.count for t in rest.values()),
            f"{{}} say that they were made by another model than {most_named}: {told}.",
            "vectors of two models cannot be compared: embed the smaller part again, or copy each "
            "part into a generation of its own",
            tuple(k for t in rest.values() for k in t.examples)[:5],
        )  # fmt: skip
    if seen.contradictions.count:
        yield of_rows(
            facts, "same-text-other-vector", Severity.SERIOUS, seen.contradictions.count,
            "{} repeat a text with a vector that points elsewhere: two models, or two ways of "
            "preparing a text, wrote into one index.",
            "find out which model is meant, and embed everything again with it",
            seen.contradictions.examples,
        )  # fmt: skip
    if seen.norms is not None and seen.norms.clusters is not None:
        low, high, fewer = seen.norms.clusters
        yield of_rows(
            facts, "two-clusters-of-norms", Severity.WARNING, fewer.count,
            f"{{}} belong to a second group of vector lengths (about {low:.3g} and {high:.3g}, "
            "nothing between): perhaps two models, or one part was normalised.",
            "compare how the examples were made with the rest before copying any vector",
            fewer.examples,
        )  # fmt: skip


def _vectors(facts: Facts) -> Iterator[Finding]:
    seen = facts.observed
    counted = facts.counted_null_vectors
    if seen.null_vectors.count or counted:
        yield of_rows(
            facts, "null-vectors", Severity.SERIOUS, seen.null_vectors.count,
            "{} have no vector: no vector search finds them.",
            "embed them: in a backfill their text is embedded, not copied",
            seen.null_vectors.examples, counted=counted,
        )  # fmt: skip
    if seen.zero_vectors.count:
        unindexed = facts.store == "pgvector" and facts.metric in ("cosine", None)
        yield of_rows(
            facts, "zero-vectors", Severity.SERIOUS, seen.zero_vectors.count,
            "{} are all zero, which has no direction"
            + (": the index leaves them out under cosine." if unindexed else ": they fit nothing."),
            "embed them again; they come from an empty text or a failed call",
            seen.zero_vectors.examples,
        )  # fmt: skip
    if seen.broken_vectors.count:
        yield of_rows(
            facts, "nan-vectors", Severity.SERIOUS, seen.broken_vectors.count,
            "{} hold NaN or an infinite number: every comparison with them is wrong.",
            "embed them again; no target takes them",
            seen.broken_vectors.examples,
        )  # fmt: skip
    if seen.shared_vectors.count:
        yield of_rows(
            facts, "duplicate-vectors", Severity.SERIOUS, seen.shared_vectors.count,
            "{} share their vector, bit by bit, with a row whose text is another: a fallback of a "
            "failed call, or texts that were cut before they were embedded.",
            "embed them again and compare",
            seen.shared_vectors.examples,
        )  # fmt: skip
    yield from _lengths(facts)


def _lengths(facts: Facts) -> Iterator[Finding]:
    norms = facts.observed.norms
    if norms is None or not norms.not_unit.count:
        return
    spread = f"from {norms.least:.3g} to {norms.most:.3g}, median {norms.median:.3g}"
    if facts.metric == "dot":
        yield of_rows(
            facts, "unnormalised-vectors", Severity.SERIOUS, norms.not_unit.count,
            f"{{}} do not have length 1 ({spread}), and the index compares by inner product: long "
            "vectors win whatever they say.",
            "normalise them, or use the cosine; set corpus.source.vectors.normalised to false",
            norms.not_unit.examples, of=norms.count,
        )  # fmt: skip
    elif facts.metric == "l2":
        yield of_rows(
            facts, "unnormalised-vectors", Severity.WARNING, norms.not_unit.count,
            f"{{}} do not have length 1 ({spread}), and the index compares by Euclidean distance: "
            "the order of results will differ from that by cosine.",
            "if the model is meant for cosine, build the index with the cosine's operator class; "
            "set corpus.source.vectors.normalised to false",
            norms.not_unit.examples, of=norms.count,
        )  # fmt: skip
    else:
        yield of_rows(
            facts, "unnormalised-vectors", Severity.NOTE, norms.not_unit.count,
            f"{{}} do not have length 1 ({spread}). The cosine does not mind; a copy will "
            "normalise them, so their bytes change.",
            "set corpus.source.vectors.normalised to false",
            norms.not_unit.examples, of=norms.count,
        )  # fmt: skip


def _texts(facts: Facts) -> Iterator[Finding]:
    seen, layout = facts.observed, facts.layout
    if layout.text is None:
        where = f" It is {layout.text_inside}." if layout.text_inside else ""
        yield Finding(
            "no-text", Severity.SERIOUS,
            f"no column or field holds the text, so nothing here can be embedded again.{where}",
            "copy the vectors only with the same model; for another one, read the text from where "
            "it is kept and join it by key",
        )  # fmt: skip
    elif seen.missing_texts.count or facts.counted_missing_texts:
        places = ", ".join(f"{n:,} of them have it in {p}" for p, n in seen.elsewhere.items())
        yield of_rows(
            facts, "missing-text", Severity.SERIOUS, seen.missing_texts.count,
            "{} have no text: their vector can be copied, never embedded again."
            + (f" {places[:1].upper()}{places[1:]}." if places else ""),
            f"fill {layout.text} from the source, or expect these rows among the dead letters",
            seen.missing_texts.examples, counted=facts.counted_missing_texts,
        )  # fmt: skip
    if seen.cut_texts.count and layout.maker != "Qafila":
        yield of_rows(
            facts, "cut-texts", Severity.WARNING, seen.cut_texts.count,
            f"{{}} are exactly {seen.longest:,} characters long, the longest there are, and most "
            "end in the middle of a sentence: cut off, or windows of a chunker.",
            "compare one with its source; what was cut off is not in this index",
            seen.cut_texts.examples,
        )  # fmt: skip
    if seen.duplicate_texts.count:
        yield of_rows(
            facts, "duplicate-texts", Severity.WARNING, seen.duplicate_texts.count,
            "{} repeat a text that is there already: they take each other's place in results.",
            "remove them at the source; with corpus.cache they are at least embedded only once",
            seen.duplicate_texts.examples,
        )  # fmt: skip


def _pgvector_index(facts: Facts) -> Iterator[Finding]:
    if facts.store != "pgvector":
        return
    for index in facts.indexes:
        if not index.valid:
            yield Finding(
                "invalid-index", Severity.SERIOUS,
                f"index {index.name} is invalid: a build of it was broken off, and no query uses "
                "it while every write pays for it.",
                f"DROP INDEX CONCURRENTLY {index.name}; then build it again",
            )  # fmt: skip
        reads = facts.health.full_reads or 0
        if index.valid and index.scans == 0 and reads >= _NEVER_USED:
            yield Finding(
                "unused-index", Severity.WARNING,
                f"index {index.name} ({index.operators}) was never used, while the table was read "
                f"from end to end {reads:,} times: queries may use another operator.",
                "compare the operator in the queries (<=> cosine, <#> inner product, <-> Euclid) "
                "with the index's",
            )  # fmt: skip
        if index.partial:
            yield Finding(
                "partial-index", Severity.NOTE,
                f"index {index.name} holds only rows where {index.partial}.",
                "make sure that every query has this condition",
            )  # fmt: skip
        size, memory = index.size_bytes, facts.memory_bytes
        if size is not None and memory is not None and size > memory:
            yield Finding(
                "index-over-memory", Severity.WARNING,
                f"index {index.name} has {_mb(size)}, shared_buffers {_mb(memory)}: a cold search "
                "reads from disk.",
                "raise shared_buffers, or keep the vectors as halfvec (half the size)",
            )  # fmt: skip
    bare = facts.kind == "table" and not any(i.valid for i in facts.indexes)
    if bare and facts.rows >= WORTH_AN_INDEX:
        yield Finding(
            "no-index", Severity.WARNING,
            f"no index on {facts.vector}: every search reads all {facts.rows:,} rows.",
            f"CREATE INDEX CONCURRENTLY ON {facts.name} USING hnsw ({facts.vector} "
            f"{facts.vector_type}_cosine_ops)",
        )  # fmt: skip
    limit = _DIMENSION_LIMITS.get(facts.vector_type)
    widest = facts.declared_dimensions or max(facts.observed.dimensions, default=0)
    if limit is not None and widest > limit:
        other = "halfvec (up to 4,000)" if facts.vector_type == "vector" else "fewer dimensions"
        yield Finding(
            "too-wide-for-an-index", Severity.WARNING,
            f"HNSW on {facts.vector_type} takes {limit:,} dimensions, these have {widest:,}: "
            "there can be no index.",
            f"use {other}, or a model that can shorten its vectors",
        )  # fmt: skip
    if facts.declared_dimensions is None and facts.vector_type in _DIMENSION_LIMITS:
        yield Finding(
            "undeclared-dimensions", Severity.NOTE,
            f"{facts.vector} is declared without a length, so it takes vectors of any.",
            f"ALTER TABLE {facts.name} ALTER COLUMN {facts.vector} TYPE "
            f"{facts.vector_type}(N), once all have the same",
        )  # fmt: skip


def _qdrant_index(facts: Facts) -> Iterator[Finding]:
    if facts.store != "qdrant":
        return
    health, settings = facts.health, facts.settings
    if health.optimizer_error:
        yield Finding(
            "optimizer-error", Severity.SERIOUS,
            f"the optimizer has stopped: {health.optimizer_error}",
            "look for a full disk or a broken segment in Qdrant's log, then restart it",
        )  # fmt: skip
    elif health.status == "red":
        yield Finding(
            "status-red", Severity.SERIOUS,
            "the collection is red: some operations failed and were not recovered.",
            "look into Qdrant's log before anything reads from here",
        )  # fmt: skip
    elif health.status in ("yellow", "grey"):
        why = "is being optimised" if health.status == "yellow" else "waits to be optimised"
        yield Finding(
            f"status-{health.status}", Severity.WARNING,
            f"the collection {why} ({health.status}): part of it is searched without an index.",
            "wait for green" if health.status == "yellow"
            else "update the collection's optimizer settings once, which starts it",
        )  # fmt: skip
    if settings.get("m") == "0":
        yield Finding(
            "index-off", Severity.SERIOUS if facts.rows >= WORTH_AN_INDEX else Severity.WARNING,
            "m is 0: there is no HNSW index, as while loading; every search looks at all points.",
            "update the collection with m = 16 and wait for green",
        )  # fmt: skip
    elif health.indexing_threshold_kb == 0:
        yield Finding(
            "index-off", Severity.SERIOUS if facts.rows >= WORTH_AN_INDEX else Severity.WARNING,
            "indexing_threshold is 0: nothing new is indexed, as while loading.",
            "update the collection with indexing_threshold = 20000 and wait for green",
        )  # fmt: skip
    elif (missing := _unindexed(facts)) > 0:
        yield Finding(
            "unindexed-vectors", Severity.WARNING,
            f"{health.indexed_vectors or 0:,} of {facts.rows:,} vectors are indexed, which is "
            "fewer than the threshold of indexing explains.",
            "wait for green; if it is green, look at the optimizer's settings",
            missing, facts.rows,
        )  # fmt: skip


def _unindexed(facts: Facts) -> int:
    """Return how many vectors are not indexed beyond what small segments explain."""
    health, width = facts.health, facts.declared_dimensions
    if health.indexed_vectors is None or health.indexing_threshold_kb is None or not width:
        return 0
    allowed_kb = health.indexing_threshold_kb * max(1, health.segments or 1)
    missing = facts.rows - facts.observed.null_vectors.count - health.indexed_vectors
    return missing if missing * width * 4 / 1024 > allowed_kb else 0


def _versions(facts: Facts) -> Iterator[Finding]:
    version = facts.store_version
    if version is None:
        return
    shown = ".".join(str(n) for n in version)
    if facts.store == "pgvector" and version < OLDEST_PGVECTOR:
        yield Finding(
            "old-pgvector", Severity.SERIOUS,
            f"pgvector {shown}: up to 0.8.1 a parallel HNSW build writes past its buffer "
            "(CVE-2026-3172), up to 0.8.2 VACUUM can corrupt an HNSW index, up to 0.8.3 it can "
            "fail to repair the graph.",
            "install 0.8.4 or newer, ALTER EXTENSION vector UPDATE, and REINDEX what VACUUM may "
            "have touched",
        )  # fmt: skip
    if facts.store == "qdrant" and version[:2] < OLDEST_QDRANT:
        yield Finding(
            "old-qdrant", Severity.WARNING,
            f"Qdrant {shown}: conditional updates, with which a late writer is fenced off, come "
            "with 1.16. It can be copied from, not written to.",
            "update it, one minor version at a time",
        )  # fmt: skip


def _table(facts: Facts) -> Iterator[Finding]:
    if facts.rows_hidden:
        yield Finding(
            "rows-hidden", Severity.SERIOUS,
            f"row-level security applies to {facts.rows_hidden}: what was read here may be a part "
            "only, and a copy would be as well.",
            "connect as a role with BYPASSRLS that may only read",
        )  # fmt: skip
    if facts.kind != "table":
        return
    if not facts.unique_key:
        yield Finding(
            "no-key", Severity.SERIOUS,
            "no primary key or unique index over columns that are NOT NULL: rows cannot be paged, "
            "copied or compared one by one.",
            f"ALTER TABLE {facts.name} ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY "
            "KEY",
        )  # fmt: skip
    dead, live = facts.health.dead_rows, facts.health.live_rows
    if dead is not None and live is not None and dead > 1000 and dead > 0.2 * (dead + live):
        yield Finding(
            "dead-rows", Severity.WARNING,
            f"{dead:,} dead rows beside {live:,} live ones: deleted vectors are still walked in "
            "the graph.",
            f"VACUUM (ANALYZE) {facts.name}; see why autovacuum does not keep up",
        )  # fmt: skip
    if facts.health.analysed is False and facts.rows >= WORTH_AN_INDEX:
        yield Finding(
            "never-analysed", Severity.WARNING,
            "the table was never analysed: the planner guesses whether an index pays.",
            f"ANALYZE {facts.name}",
        )  # fmt: skip
    if not facts.tracking:
        yield Finding(
            "untracked-changes", Severity.NOTE,
            "nothing tracks changes: no trigger, no publication, no updated_at column.",
            "a copy of a table that is written to needs live sync (corpus.live_sync), or a pause",
        )  # fmt: skip


def _around(facts: Facts) -> Iterator[Finding]:
    for field in facts.access:
        if facts.store == "qdrant" and not (field.indexed and field.tenant):
            yield Finding(
                "tenant-not-indexed", Severity.WARNING if not field.indexed else Severity.NOTE,
                f"payload field {field.name} looks like a tenant or an access list, and "
                + ("has no index: a filtered search looks at every point."
                   if not field.indexed else "its index is not marked is_tenant."),
                f"create a keyword index on {field.name} with is_tenant = true",
            )  # fmt: skip
        elif facts.store == "pgvector" and not field.indexed and facts.rows >= WORTH_AN_INDEX:
            yield Finding(
                "tenant-not-indexed", Severity.NOTE,
                f"column {field.name} looks like a tenant or an access list, and has no index.",
                f"CREATE INDEX CONCURRENTLY ON {facts.name} ({field.name}); GIN for an array",
            )  # fmt: skip
    if facts.vector_type in ("sparsevec", "bit", "sparse", "multi"):
        yield Finding(
            "vector-not-copied", Severity.SERIOUS,
            f"{facts.vector} holds {facts.vector_type} vectors, which Qafila does not copy.",
            "embed the text with a dense model, or leave this column where it is",
        )  # fmt: skip
    if facts.other_vectors:
        yield Finding(
            "other-vectors", Severity.NOTE,
            f"beside {facts.vector or 'the unnamed vector'} there is "
            f"{', '.join(facts.other_vectors)}: one vector a chunk is copied.",
            "inspect the others on their own, by --vector",
        )  # fmt: skip
    if len(facts.layout.parts) > 1:
        told = ", ".join(f"{name} ({n:,})" for name, n in list(facts.layout.parts.items())[:6])
        yield Finding(
            "several-collections", Severity.WARNING,
            f"{len(facts.layout.parts)} collections share this table: {told}. Each may have a "
            "model of its own.",
            "read one at a time: " + facts.layout.part_view,
        )  # fmt: skip


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


RULES: tuple[Rule, ...] = (
    _mixed, _vectors, _texts, _pgvector_index, _qdrant_index, _versions, _table, _around,
)  # fmt: skip
