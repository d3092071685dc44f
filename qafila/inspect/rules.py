"""The rules of an inspection: facts in, findings out, each with what to do about it.

Here: vectors and texts. Index, store and table have theirs in ``inspection_store_rules``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qafila.inspect import store_rules as store
from qafila.inspect.model import Facts, Finding, Inspection, Severity, of_rows

Rule = Callable[[Facts], Iterator[Finding]]


def inspect(facts: Facts) -> Inspection:
    """Apply every rule; the most serious first, and of those what is about the whole index."""
    found = [finding for rule in RULES for finding in rule(facts)]
    order = list(Severity)
    found.sort(key=lambda f: (order.index(f.severity), f.count is not None, -(f.count or 0)))
    return Inspection(facts, tuple(found))


def _mixed(facts: Facts) -> Iterator[Finding]:
    seen = facts.observed
    if len(facts.dimensions) > 1:
        most = max(facts.dimensions, key=lambda d: facts.dimensions[d].count)
        others = {d: t for d, t in facts.dimensions.items() if d != most}
        told = ", ".join(f"{t.count:,} of {d}" for d, t in others.items())
        strays = sum(t.count for t in others.values())
        yield of_rows(
            facts,
            "mixed-dimensions",
            Severity.SERIOUS,
            strays,
            f"{{}} have another length of vector than the rest ({most}): {told}. More than one "
            "model wrote here, and a search over all of them fails.",
            "split them by model into one index each, or embed all of them again with one model",
            tuple(k for t in others.values() for k in t.examples)[:5],
            counted=None if facts.counted_dimensions is None else strays,
        )
    if len(seen.models) > 1:
        most_named = max(seen.models, key=lambda m: seen.models[m].count)
        rest = {m: t for m, t in seen.models.items() if m != most_named}
        told = ", ".join(f"{m} ({t.count:,})" for m, t in list(rest.items())[:3])
        yield of_rows(
            facts,
            "mixed-models",
            Severity.SERIOUS,
            sum(t.count for t in rest.values()),
            f"{{}} say that they were made by another model than {most_named}: {told}.",
            "vectors of two models cannot be compared: embed the smaller part again, or copy each "
            "part into a generation of its own",
            tuple(k for t in rest.values() for k in t.examples)[:5],
        )
    if seen.contradictions.count:
        yield of_rows(
            facts,
            "same-text-other-vector",
            Severity.SERIOUS,
            seen.contradictions.count,
            "{} repeat a text with a vector that points elsewhere: two models, or two ways of "
            "preparing a text, wrote into one index.",
            "find out which model is meant, and embed everything again with it",
            seen.contradictions.examples,
            pairs=True,
        )
    if seen.norms is not None and seen.norms.clusters is not None:
        low, high, fewer = seen.norms.clusters
        yield of_rows(
            facts,
            "two-clusters-of-norms",
            Severity.WARNING,
            fewer.count,
            f"{{}} belong to a second group of vector lengths (about {low:.3g} and {high:.3g}, "
            "nothing between): perhaps two models, or one part was normalised.",
            "compare how the examples were made with the rest before copying any vector",
            fewer.examples,
        )


def _vectors(facts: Facts) -> Iterator[Finding]:
    seen = facts.observed
    counted = facts.counted_null_vectors
    read = facts.vector_type != "multi"  # several vectors a point are not looked at
    if read and (seen.null_vectors.count or counted):
        yield of_rows(
            facts,
            "null-vectors",
            Severity.SERIOUS,
            seen.null_vectors.count,
            "{} have no vector: no vector search finds them.",
            "embed them: in a backfill their text is embedded, not copied",
            seen.null_vectors.examples,
            counted=counted,
        )
    if seen.zero_vectors.count:
        unindexed = facts.store == "pgvector" and facts.metric in ("cosine", None)
        yield of_rows(
            facts,
            "zero-vectors",
            Severity.SERIOUS,
            seen.zero_vectors.count,
            "{} are all zero, which has no direction"
            + (": the index leaves them out under cosine." if unindexed else ": they fit nothing."),
            "embed them again; they come from an empty text or a failed call",
            seen.zero_vectors.examples,
        )
    if seen.broken_vectors.count:
        yield of_rows(
            facts,
            "nan-vectors",
            Severity.SERIOUS,
            seen.broken_vectors.count,
            "{} hold NaN or an infinite number: every comparison with them is wrong.",
            "embed them again; no target takes them",
            seen.broken_vectors.examples,
        )
    if seen.shared_vectors.count:
        yield of_rows(
            facts,
            "duplicate-vectors",
            Severity.SERIOUS,
            seen.shared_vectors.count,
            "{} share their vector, bit by bit, with a row whose text is another: a fallback of a "
            "failed call, or texts that were cut before they were embedded.",
            "embed them again and compare",
            seen.shared_vectors.examples,
            pairs=True,
        )
    yield from _lengths(facts)


def _lengths(facts: Facts) -> Iterator[Finding]:
    norms = facts.observed.norms
    if norms is None or not norms.not_unit.count:
        return
    spread = f"from {norms.least:.3g} to {norms.most:.3g}, median {norms.median:.3g}"
    if facts.metric == "dot":
        yield of_rows(
            facts,
            "unnormalised-vectors",
            Severity.SERIOUS,
            norms.not_unit.count,
            f"{{}} do not have length 1 ({spread}), and the index compares by inner product: long "
            "vectors win whatever they say.",
            "normalise them, or use the cosine; set corpus.source.vectors.normalised to false",
            norms.not_unit.examples,
            of=norms.count,
        )
    elif facts.metric == "l2":
        yield of_rows(
            facts,
            "unnormalised-vectors",
            Severity.WARNING,
            norms.not_unit.count,
            f"{{}} do not have length 1 ({spread}), and the index compares by Euclidean distance: "
            "the order of results will differ from that by cosine.",
            "if the model is meant for cosine, build the index with the cosine's operator class; "
            "set corpus.source.vectors.normalised to false",
            norms.not_unit.examples,
            of=norms.count,
        )
    else:
        yield of_rows(
            facts,
            "unnormalised-vectors",
            Severity.NOTE,
            norms.not_unit.count,
            f"{{}} do not have length 1 ({spread}). The cosine does not mind; a copy will "
            "normalise them, so their bytes change.",
            "set corpus.source.vectors.normalised to false",
            norms.not_unit.examples,
            of=norms.count,
        )


def _texts(facts: Facts) -> Iterator[Finding]:
    seen, layout = facts.observed, facts.layout
    if layout.text is None:
        where = f" It is {layout.text_inside}." if layout.text_inside else ""
        yield Finding(
            "no-text",
            Severity.SERIOUS,
            f"no column or field holds the text, so nothing here can be embedded again.{where}",
            "copy the vectors only with the same model; for another one, read the text from where "
            "it is kept and join it by key",
        )
    elif seen.missing_texts.count or facts.counted_missing_texts:
        places = ", ".join(f"{n:,} of them have it in {p}" for p, n in seen.elsewhere.items())
        yield of_rows(
            facts,
            "missing-text",
            Severity.SERIOUS,
            seen.missing_texts.count,
            "{} have no text: their vector can be copied, never embedded again."
            + (f" {places[:1].upper()}{places[1:]}." if places else ""),
            f"fill {layout.text} from the source, or expect these rows among the dead letters",
            seen.missing_texts.examples,
            counted=facts.counted_missing_texts,
        )
    if seen.cut_texts.count and layout.maker != "Qafila":
        yield of_rows(
            facts,
            "cut-texts",
            Severity.WARNING,
            seen.cut_texts.count,
            f"{{}} are exactly {seen.longest:,} characters long, the longest there are, and most "
            "end in the middle of a sentence: cut off, or windows of a chunker.",
            "compare one with its source; what was cut off is not in this index",
            seen.cut_texts.examples,
        )
    if seen.duplicate_texts.count:
        yield of_rows(
            facts,
            "duplicate-texts",
            Severity.WARNING,
            seen.duplicate_texts.count,
            "{} repeat a text that is there already: they take each other's place in results.",
            "remove them at the source; with corpus.cache they are at least embedded only once",
            seen.duplicate_texts.examples,
            pairs=True,
        )


RULES: tuple[Rule, ...] = (
    _mixed,
    _vectors,
    _texts,
    store.pgvector_index,
    store.qdrant_index,
    store.versions,
    store.table,
    store.around,
)
