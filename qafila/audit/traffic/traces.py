"""Read traces, and say who calls whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.spans import Span, SpanJoin
from qafila.audit.estate import Collected, Outcome, Resource
from qafila.audit.traffic.files import Gaps, files, opened
from qafila.audit.traffic.json_stream import Broken, elements
from qafila.audit.traffic.span_formats import FIELDS, KEYS, READ, spans_of
from qafila.errors import BadInput

NAME = "traces"


def read_traces(paths: Sequence[Path | str], resources: Sequence[Resource]) -> Collected:
    """Return the edges that traces show: OTLP, Jaeger, Zipkin v2 or X-Ray as JSON, plain or gzip.

    A service that bears the name of one resource is that resource; others become nodes
    ``service:NAME``, ``host:NAME``, ``database:SYSTEM/NAME``, ``queue:NAME``. Of a statement only
    its first word is read. One element is in memory at a time, and a bounded number of spans
    waits for its other end.

    Raises:
        BadInput: a path is no file, or no span could be read from any of them.
    """
    join, gaps = SpanJoin(Directory(resources)), Gaps()
    for path in files(paths, "traces"):
        before, wrong = join.spans, gaps.bad
        _read(path, join, gaps)
        if (before, wrong) == (join.spans, gaps.bad):
            gaps.wrong(path, 1, "holds no span")
    if not join.spans:
        raise BadInput(
            "no span could be read:",
            gaps.examples,
            remedy=f"give {READ}; each may be gzip",
        )
    edges = join.edges()
    if join.lost or join.left_out:
        gaps.note(
            Outcome.TRUNCATED,
            f"{join.lost + join.left_out:,} spans waited too long for their other end",
        )
    if join.orphans:
        gaps.note(
            Outcome.TRUNCATED, f"the callers of {join.orphans:,} spans are in none of the files"
        )
    return Collected(NAME, "", gaps.outcome, (), edges, 0, gaps.missed)


def _read(path: Path, join: SpanJoin, gaps: Gaps) -> None:
    with opened(path) as stream:
        for element in elements(stream, KEYS, FIELDS):
            if isinstance(element, Broken):
                gaps.wrong(path, element.line, element.why)
                continue
            for span in spans_of(element.key, element.value):
                if isinstance(span, Span):
                    join.add(span)
                else:
                    gaps.wrong(path, element.line, span)
