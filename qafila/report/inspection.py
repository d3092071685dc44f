"""An inspection as its reader sees it: lines for the shell, plain data for JSON, one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qafila.inspect.model import Facts, Finding, Index, Inspection, Severity
from qafila.text.figures import number, size

_METRICS = {"cosine": "cosine", "dot": "inner product", "l2": "Euclidean distance"}


@dataclass(frozen=True)
class Inspected:
    """One vector column or collection, with the source to paste (empty when there can be none)."""

    inspection: Inspection
    source: str

    @property
    def facts(self) -> Facts:
        return self.inspection.facts


def title(facts: Facts) -> str:
    """Return what was looked at."""
    part = "column" if facts.store == "pgvector" else "vector"
    return f"{facts.name} ({part} {facts.vector})" if facts.vector else facts.name


def place(facts: Facts) -> str:
    """Return which server it is in, and whose layout it has when that was recognised."""
    known = facts.layout.maker not in ("its own", "as corpus.source says")
    return f"{facts.server} · layout of {facts.layout.maker}" if known else facts.server


def looked(facts: Facts) -> str:
    """Return how many rows there are, and how they were looked at."""
    things = "rows" if facts.store == "pgvector" else "points"
    about = "" if facts.rows_counted else "about "
    look = facts.look
    seed = "" if look.seed is None else f", seed {look.seed}"
    how = "every one read" if look.complete else f"{number(look.read)} read ({look.how}{seed})"
    return f"{about}{number(facts.rows)} {things}, {how} in {look.seconds:.1f} s; nothing written"


def summary(facts: Facts) -> list[tuple[str, str]]:
    """Return what is there, label by label; what does not apply is left out."""
    lines = [
        ("vectors", _vectors(facts)),
        ("lengths", _lengths(facts)),
        ("index", _indexes(facts)),
        ("search", _search(facts)),
        ("text", _text(facts)),
        ("key", ", ".join(facts.unique_key) or ("" if facts.kind == "view" else "none")),
        ("changes", _changes(facts)),
        ("access", ", ".join(a.name for a in facts.access) or "no column or field that says who"),
        ("health", _health(facts)),
        ("size", _size(facts)),
        ("models", ", ".join(f"{m} ({t.count:,})" for m, t in facts.observed.models.items())),
        ("collections", ", ".join(f"{n} ({c:,})" for n, c in facts.layout.parts.items())),
        ("aliases", ", ".join(facts.aliases)),
        ("to embed anew", _tokens(facts)),
        ("not seen", "; ".join(facts.unseen)),
    ]
    return [(label, value) for label, value in lines if value]


def _vectors(facts: Facts) -> str:
    widths = ", ".join(str(d) for d in facts.dimensions) or str(facts.declared_dimensions)
    declared = "" if facts.declared_dimensions else ", declared without a length"
    return f"{facts.vector_type}, {widths} dimensions{declared}"


def _lengths(facts: Facts) -> str:
    norms = facts.observed.norms
    if norms is None:
        return ""
    if norms.unit == norms.count:
        return "all 1"
    return f"{norms.least:.3g} to {norms.most:.3g}, median {norms.median:.3g}"


def _index(index: Index) -> str:
    settings = ", ".join(f"{k} {v}" for k, v in index.settings.items())
    valid = "" if index.valid else ", INVALID"
    scans = "" if index.scans is None else f", used {number(index.scans)} times"
    large = "" if index.size_bytes is None else f", {size(index.size_bytes)}"
    return f"{index.name}: {index.kind} {index.operators} ({settings}){large}{scans}{valid}"


def _indexes(facts: Facts) -> str:
    if facts.indexes:
        return "; ".join(_index(i) for i in facts.indexes)
    if facts.store == "pgvector":
        return "none: every search reads every row" if facts.kind == "table" else ""
    told = ", ".join(f"{k} {v}" for k, v in facts.settings.items())
    return f"{_METRICS.get(facts.metric or '', 'other distance')}; {told}"


def _search(facts: Facts) -> str:
    if facts.store != "pgvector" or not facts.indexes:
        return ""
    kinds = {i.kind for i in facts.indexes}
    names = [
        n
        for n, kind in (("hnsw.ef_search", "hnsw"), ("ivfflat.probes", "ivfflat"))
        if kind in kinds
    ]
    return ", ".join(f"{n} {facts.settings.get(n, '?')} unless a query sets it" for n in names)


def _text(facts: Facts) -> str:
    seen, layout = facts.observed, facts.layout
    if layout.text is None:
        return "none found"
    there = seen.rows - seen.missing_texts.count
    mean = seen.characters / there if there else 0
    return f"{layout.text}: {number(mean)} characters on average, {number(seen.longest)} at most"


def _changes(facts: Facts) -> str:
    if facts.kind == "view":
        return ""
    if facts.store == "qdrant":
        return "Qdrant keeps no track of them: pause writes while it is copied"
    return ", ".join(facts.tracking) or "nothing tracks them: live sync or a pause is needed"


def _health(facts: Facts) -> str:
    health = facts.health
    if facts.kind == "view":
        return ""
    if facts.store == "qdrant":
        if not health.status:
            return ""
        return (
            f"{health.status}, {number(health.indexed_vectors)} vectors indexed, "
            f"{number(health.segments)} segments"
        )
    analysed = "analysed" if health.analysed else "never analysed"
    return f"{number(health.dead_rows)} dead rows, {analysed}"


def _size(facts: Facts) -> str:
    if facts.table_bytes is None or facts.kind == "view":
        return ""
    memory = f", shared_buffers {size(facts.memory_bytes)}" if facts.memory_bytes else ""
    return f"{size(facts.table_bytes)} and {size(facts.index_bytes)} of indexes{memory}"


def _tokens(facts: Facts) -> str:
    return f"about {number(_rounded(facts.tokens))} tokens" if facts.tokens else ""


def _rounded(value: int) -> int:
    """Return two significant digits: an estimate should not look like a count."""
    digits = max(0, len(str(value)) - 2)
    return int(round(value, -digits))


def as_data(one: Inspected) -> dict[str, Any]:
    """Return everything under keys that stay."""
    facts, seen = one.facts, one.facts.observed
    norms = seen.norms
    return {
        "store": facts.store,
        "name": facts.name,
        "vector": facts.vector,
        "vector_type": facts.vector_type,
        "declared_dimensions": facts.declared_dimensions,
        "dimensions": {str(d): t.count for d, t in facts.dimensions.items()},
        "server": facts.server,
        "sentence": one.inspection.sentence,
        "findings": [_finding(f) for f in one.inspection.findings],
        "rows": facts.rows,
        "rows_counted": facts.rows_counted,
        "look": asdict(facts.look),
        "layout": {**asdict(facts.layout), "parts": dict(facts.layout.parts)},
        "metric": facts.metric,
        "indexes": [{**asdict(i), "settings": dict(i.settings)} for i in facts.indexes],
        "settings": dict(facts.settings),
        "norms": None
        if norms is None
        else {
            "least": norms.least,
            "median": norms.median,
            "most": norms.most,
            "unit": norms.unit,
            "of": norms.count,
        },
        "models": {m: t.count for m, t in seen.models.items()},
        "unique_key": list(facts.unique_key),
        "tracking": list(facts.tracking),
        "access": [asdict(a) for a in facts.access],
        "health": asdict(facts.health),
        "table_bytes": facts.table_bytes,
        "index_bytes": facts.index_bytes,
        "memory_bytes": facts.memory_bytes,
        "other_vectors": list(facts.other_vectors),
        "aliases": list(facts.aliases),
        "tokens_to_embed": facts.tokens,
        "unseen": list(facts.unseen),
        "source_yaml": one.source,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
        "count": finding.count,
        "of": finding.of,
        "sampled": finding.sampled,
        "share_low": finding.low,
        "share_high": finding.high,
        "examples": list(finding.examples),
    }


def headings(findings: Sequence[Finding]) -> Mapping[Severity, list[Finding]]:
    """Return the findings by severity, the most serious first; empty ones are left out."""
    by = {s: [f for f in findings if f.severity is s] for s in Severity}
    return {s: found for s, found in by.items() if found}
