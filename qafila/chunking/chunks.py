"""Split a document into chunks that point back to their place in it.

Offsets count Unicode code points of the document; ``text[start:end]`` is the chunk, to the letter.
Whatever the method: no chunk is cut inside a grapheme cluster, every character that is not white
space is in at least one chunk, chunks are numbered from 0 in the order of the document, and the
same text with the same settings gives the same chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from qafila.chunking import boundaries, sections
from qafila.chunking.boundaries import around, is_boundary, sentences, trimmed
from qafila.workload.corpus import Chunking

Tokenizer = Callable[[str], Sequence[tuple[int, int]]]
"""Returns the range of every token of a text in order, in code points; ranges may overlap."""

_RULES = {"whole": 1, "window": 2, "tokens": 1, "sentences": 1, "headings": 1}
_SMALL_SECTION = 4  # a section shorter than a quarter of the largest chunk joins the next
_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Span:
    """One chunk of a document: half-open range of code points.

    ``heading`` names the Markdown headings it stands under, outermost first; only by ``headings``.
    """

    number: int
    start: int
    end: int
    heading: tuple[str, ...] = ()


def version_of(chunking: Chunking, tokenizer: str = "") -> int | str:
    """Return what, beside the settings, decides the chunks: our rules and the libraries' versions.

    ``tokenizer`` names the tokenizer and its version; it counts for ``tokens`` alone.
    """
    rules = _RULES[chunking.method]
    if chunking.method == "whole":
        return rules
    parts = [str(rules), boundaries.LIBRARY]
    if chunking.method == "headings":
        parts.append(sections.LIBRARY)
    if chunking.method == "tokens":
        parts.append(tokenizer)
    return ", ".join(parts)


def split(text: str, chunking: Chunking, tokenizer: Tokenizer | None = None) -> Sequence[Span]:
    """Return the spans of a document in order; none for an empty one.

    - ``whole``: one span.
    - ``window``: at most ``max_characters``, overlapping by at most ``overlap_characters``; a
      window ends at white space where there is some in its last quarter.
    - ``tokens``: at most ``max_tokens`` of the tokens that ``tokenizer`` finds in the document,
      overlapping by at most ``overlap_tokens``; cut at white space where there is some near.
    - ``sentences``: as many whole sentences as ``max_characters`` hold, repeating whole sentences
      of at most ``overlap_characters``; a sentence that is longer is cut into windows.
    - ``headings``: one Markdown section. One that is longer is cut by sentences, overlapping only
      within itself. One shorter than a quarter of ``max_characters`` joins the next, if both fit
      and the next is no higher heading; a heading without text always joins what it is above.

    A cluster or a token longer than the limit stays whole, so a span may then be longer. All but
    ``whole`` and ``window`` leave out white space around a chunk; a document of nothing else is
    one span, so that it is set aside with a reason and does not vanish.

    Raises:
        ValueError: ``tokens`` was asked for without a tokenizer.
    """
    if not text:
        return []
    if chunking.method == "whole":
        return [Span(0, 0, len(text))]
    size, overlap = chunking.max_characters, chunking.overlap_characters
    if chunking.method == "window":
        return _numbered(_windows(text, 0, len(text), size, overlap))
    if text.isspace():
        return [Span(0, 0, len(text))]
    if chunking.method == "tokens":
        if tokenizer is None:
            raise ValueError("chunking by tokens needs a tokenizer")
        ranges = _by_tokens(text, tokenizer(text), chunking.max_tokens, chunking.overlap_tokens)
        return _numbered(_trimmed(text, ranges))
    if chunking.method == "sentences":
        return _numbered(_trimmed(text, _by_sentences(text, 0, len(text), size, overlap)))
    return _by_headings(text, size, overlap)


def _numbered(ranges: Iterable[_Range]) -> list[Span]:
    return [Span(number, start, end) for number, (start, end) in enumerate(ranges)]


def _trimmed(text: str, ranges: Iterable[_Range]) -> Iterator[_Range]:
    """Yield ranges without white space around them, leaving out what adds nothing."""
    reached = 0
    for begun, ended in ranges:
        start, end = trimmed(text, begun, ended)
        if start < end and end > reached:
            yield start, end
            reached = end


def _windows(text: str, start: int, stop: int, size: int, overlap: int) -> Iterator[_Range]:
    """Yield windows that cover ``text[start:stop]``; starts and ends both rise."""
    reached = start
    while True:
        end = _end_of_window(text, start, stop, size)
        if end <= reached and start < reached:
            start = reached  # a long cluster leaves no room for an overlap
            continue
        yield start, end
        if end >= stop:
            return
        following = around(text, max(start, end - overlap), start)[1] if overlap else end
        start, reached = (following if start < following < end else end), end


def _end_of_window(text: str, start: int, stop: int, size: int) -> int:
    limit = start + size
    if limit >= stop:
        return stop
    for position in range(limit, start + size * 3 // 4, -1):
        if text[position - 1].isspace() and is_boundary(text, position, start):
            return position
    before, after = around(text, limit, start)
    return before if before > start else min(after, stop)


def _by_sentences(text: str, start: int, stop: int, size: int, overlap: int) -> Iterator[_Range]:
    units = list(sentences(text, start, stop))
    ends = [trimmed(text, *u)[1] for u in units]
    first = 0
    while first < len(units):
        begun = units[first][0]
        if ends[first] - begun > size:
            yield from _windows(text, *units[first], size, overlap)
            first += 1
            continue
        last = first
        while last + 1 < len(units) and ends[last + 1] - begun <= size:
            last += 1
        yield begun, units[last][1]
        following = last + 1
        back = following
        while (
            following < len(units)
            and back - 1 > first
            and ends[last] - units[back - 1][0] <= overlap
            and ends[following] - units[back - 1][0] <= size
        ):
            back -= 1
        first = back


def _by_tokens(text: str, tokens: Sequence[_Range], size: int, overlap: int) -> Iterator[_Range]:
    """Yield windows of whole tokens: token k reaches to where token k + 1 begins."""
    count = len(tokens)
    if count <= size:
        yield 0, len(text)
        return
    bounds = [0, *accumulate((start for start, _ in tokens[1:]), max), len(text)]
    first = reached = 0
    while True:
        last = _last_token(text, bounds, first, min(first + size, count))
        if bounds[last] <= bounds[reached] and first < reached:
            first = reached
            continue
        yield bounds[first], bounds[last]
        if bounds[last] >= len(text):
            return
        first, reached = _first_token(text, bounds, first, last, overlap), last


def _last_token(text: str, bounds: list[int], first: int, limit: int) -> int:
    """Return the token that a window from ``first`` ends before; ``limit`` is the most."""
    if bounds[limit] >= len(text):
        return limit
    for token in range(limit, first + (limit - first) * 3 // 4, -1):
        cut = bounds[token]
        if cut > bounds[first] and _between_words(text, cut) and is_boundary(text, cut):
            return token
    before, after = around(text, bounds[limit])
    token = limit
    while bounds[token] > before or not is_boundary(text, bounds[token]):
        token -= 1
    if bounds[token] > bounds[first]:
        return token
    token = limit  # one cluster of more tokens than a window holds: keep it whole
    while bounds[token] < after or not is_boundary(text, bounds[token]):
        token += 1
    return token


def _first_token(text: str, bounds: list[int], first: int, last: int, overlap: int) -> int:
    """Return the token that the next window begins with: the earliest that overlap allows."""
    earliest = max(last - overlap, first + 1)
    usable = [
        t
        for t in range(earliest, last)
        if bounds[first] < bounds[t] < bounds[last] and is_boundary(text, bounds[t])
    ]
    return next((t for t in usable if _between_words(text, bounds[t])), (usable or [last])[0])


def _between_words(text: str, position: int) -> bool:
    return text[position - 1].isspace() or text[position].isspace()


def _by_headings(text: str, size: int, overlap: int) -> list[Span]:
    spans: list[Span] = []
    for group in _joined(text, sections.sections(text), size):
        start, end = trimmed(text, group.start, group.end)
        if start == end:
            continue
        ranges = (
            [(start, end)]
            if end - start <= size
            else _trimmed(text, _by_sentences(text, start, end, size, overlap))
        )
        for begun, ended in ranges:
            spans.append(Span(len(spans), begun, ended, group.path))
    return spans


def _joined(text: str, found: Sequence[sections.Section], size: int) -> Iterator[sections.Section]:
    """Yield sections, small ones joined with the next; the path is that of the first with text."""
    group = found[0]
    for following in found[1:]:
        bare = not text[group.body : group.end].strip()
        length = trimmed(text, group.start, following.end)
        small = group.end - group.start < size // _SMALL_SECTION
        fits = length[1] - length[0] <= size
        if following.level >= max(group.level, 1) and (
            (bare and following.level > group.level) or (small and fits)
        ):
            group = sections.Section(
                group.start,
                following.body if bare else group.body,
                following.end,
                group.level,
                following.path if bare else group.path,
            )
        else:
            yield group
            group = following
    yield group
