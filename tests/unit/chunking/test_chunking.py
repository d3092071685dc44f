"""Chunks: nothing left out, nothing cut in two, and each points back to its place."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qafila.chunking import chunks as chunks
from qafila.chunking.boundaries import around, is_boundary, sentences, trimmed
from qafila.chunking.chunks import Span, split
from qafila.workload.corpus import Chunking

# letters in both scripts, accents and harakat, joiners, flags, skin tones, Hangul and Devanagari
# that join, an Arabic number sign (it joins what follows), line ends, ends of sentences
PIECES = [
    "a",
    "B",
    "é",
    "e\u0301",
    "\u0301",
    "م",
    "مَ",
    "\u0651",
    "العَرَبِيَّة",
    "؟",
    "۔",
    ". ",
    "! ",
    " »",
    "« ",
    " ",
    "\n",
    "\r\n",
    "\n\n",
    "\t",
    "\u00a0",
    "\u2029",
    "\u200d",
    "\u200c",
    "👩\u200d💻",
    "👍🏽",
    "🇫🇷",
    "🇲",
    "\u0600",
    "١",
    "한",
    "\u1112",
    "\u1161",
    "क्षि",
    "กำ",
    "。",
    "mot ",
    "word. ",
    "M. ",
    "d\u2019été, ",
    "# ",
    "\n## Titre\n",
    "\n# عنوان\n",
    "```\n",
    "\n---\n",
    "x" * 40,
    "\ufe0f",
    "\ufeff",
    "1. ",
    "\0",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=120).map("".join)
METHODS = ("window", "tokens", "sentences", "headings")


def words(text: str) -> list[tuple[int, int]]:
    """A tokenizer: words without the space before them, and every other character twice."""
    found = []
    for m in regex.finditer(r"\w+|\W", text):
        found += [m.span()] if m.group()[0].isalnum() else [m.span()] * 2
    return found


def chunking_of(method: str, size: int, lap: int) -> Chunking:
    return Chunking.model_validate(
        {
            "method": method,
            "max_characters": size,
            "overlap_characters": min(lap, size // 2),
            "max_tokens": size // 4,
            "overlap_tokens": min(lap, size // 8),
        }
    )


def cuts(spans: Sequence[Span]) -> set[int]:
    return {s.start for s in spans} | {s.end for s in spans}


@settings(max_examples=400)
@given(TEXTS, st.sampled_from(METHODS), st.integers(100, 160), st.integers(0, 60))
def test_chunks_keep_what_they_promise(text: str, method: str, size: int, lap: int) -> None:
    chunking = chunking_of(method, size, lap)
    spans = split(text, chunking, words)
    assert split(text, chunking, words) == spans  # deterministic
    assert [s.number for s in spans] == list(range(len(spans)))
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    for before, after in itertools.pairwise(spans):
        assert before.start < after.start
        assert before.end < after.end
    covered = set(itertools.chain.from_iterable(range(s.start, s.end) for s in spans))
    assert all(text[p].isspace() for p in set(range(len(text))) - covered)
    clusters = [m.span() for m in regex.finditer(r"\X", text)]
    assert cuts(spans) <= {0, len(text)} | {start for start, _ in clusters}
    if text and not text.isspace():
        assert all(text[s.start : s.end].strip() for s in spans) or method == "window"


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(METHODS), st.integers(100, 160), st.integers(0, 60))
def test_a_chunk_is_no_longer_than_asked_and_overlaps_no_more(
    text: str, method: str, size: int, lap: int
) -> None:
    chunking = chunking_of(method, size, lap)
    spans = split(text, chunking, words)
    longest = max((len(m.group()) for m in regex.finditer(r"\X", text)), default=1)
    if method == "tokens":
        starts = [start for start, _ in words(text)]
        for span in spans:
            inside = sum(span.start <= s < span.end for s in starts)
            assert inside <= chunking.max_tokens + 2 * longest
        return
    assert all(s.end - s.start <= max(size, longest) or s.heading for s in spans)
    for before, after in itertools.pairwise(spans):
        assert before.end - after.start <= chunking.overlap_characters


@settings(max_examples=200)
@given(TEXTS, st.sampled_from(("window", "sentences")), st.integers(100, 160), st.integers(0, 60))
def test_a_chunk_split_again_is_itself(text: str, method: str, size: int, lap: int) -> None:
    chunking = chunking_of(method, size, lap)
    for span in split(text, chunking):
        piece = text[span.start : span.end]
        if len(piece) <= size:
            assert [(s.start, s.end) for s in split(piece, chunking)] == [(0, len(piece))]


@settings(max_examples=300)
@given(TEXTS)
@example("\u0600🇫🇷🇲\u0301🇫🇷🇲🇦🇫")  # what joins the next letter, and flags of two halves or one
def test_boundaries_are_those_of_the_whole_text(text: str) -> None:
    # the library over the whole text is the oracle of our look at one place
    starts = [m.start() for m in regex.finditer(r"\X", text)] + [len(text)]
    for position in range(len(text) + 1):
        before = max((s for s in starts if s <= position), default=0)
        after = min((s for s in starts if s >= position), default=len(text))
        assert around(text, position) == (before, after)


@settings(max_examples=200)
@given(TEXTS)
def test_sentences_leave_no_gap(text: str) -> None:
    found = list(sentences(text))
    assert "".join(text[start:end] for start, end in found) == text
    assert all(is_boundary(text, end) for _, end in found)


# from Unicode's own GraphemeBreakTest.txt, one line a rule (UAX 29)
@pytest.mark.parametrize(
    "clusters",
    [
        ["\r\n", "a", "b"],  # GB3
        ["\u1100\u1160", "a"],  # GB6
        ["\uac01\u11a8"],  # GB8
        ["a\u0308", "b"],  # GB9
        ["a\u0903", "b"],  # GB9a
        ["a", "\u0600b"],  # GB9b
        ["\u0915\u094d\u0924"],  # GB9c
        ["\U0001f476\U0001f3ff", "\U0001f476"],  # GB11, a skin tone
        ["\U0001f6d1\u200d\U0001f6d1"],  # GB11
        ["a", "\U0001f1e6\U0001f1e7", "\U0001f1e8\U0001f1e9", "b"],  # GB12
    ],
)
def test_clusters_are_unicode_s(clusters: list[str]) -> None:
    text = "".join(clusters)
    ends = set(itertools.accumulate(map(len, clusters), initial=0))
    assert {p for p in range(len(text) + 1) if is_boundary(text, p)} == ends


@pytest.mark.parametrize(
    "expected",
    [
        ["M. Dupont est né en 1950. ", "Oui ! dit-il « ici. » ", "Voir p. 12 et art. 5."],
        ["« Partez ! » ", "Puis ils partirent… ", "Vraiment ? ", "Oui."],
        ["د. محمد هنا. ", "هل أنت بخير؟ ", "نعم! ", "هذا نص، وهذا آخر۔ ", "تمّ."],
        ["It costs 3.5 euros, e.g. in Fes. ", '"Stop!" he said (at last.) ', "Dr. No left."],
        ["A line that is\nwrapped. ", "And another\nline.\n\n", "no full stop\n \n", "End"],
        ["1. First item.\n", "2. Second item.\n", "See page 5. ", "Then go."],
        ["これは文です。", "次の文です！", "終わり"],
        ["Mixed نص. ", "والسلام عليكم. ", "Fin de 👩\u200d💻. ", "🇲🇦 Ok."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(expected: list[str]) -> None:
    text = "".join(expected)
    assert [text[start:end] for start, end in sentences(text)] == expected


def texts(text: str, **settings_: object) -> list[str]:
    chunking = Chunking.model_validate(settings_)
    return [text[s.start : s.end] for s in split(text, chunking, words)]


def test_whole_sentences_fill_a_chunk_and_are_repeated() -> None:
    one, two, three = "Un " * 14 + "un. ", "Deux " * 8 + "deux. ", "Trois " * 7 + "trois."
    found = texts(one + two + three, method="sentences", max_characters=100, overlap_characters=50)
    assert found == [(one + two).strip(), two + three]


def test_a_sentence_longer_than_a_chunk_is_cut_at_white_space() -> None:
    found = texts(
        "mot " * 60 + "fin.", method="sentences", max_characters=100, overlap_characters=0
    )
    assert all(len(f) <= 100 for f in found)
    assert " ".join(found) == "mot " * 60 + "fin."


def test_tokens_are_counted_as_the_tokenizer_does_and_cut_between_words() -> None:
    text = " ".join(f"word{n}" for n in range(60))  # a word is 1 token, a space 2 in this tokenizer
    found = texts(text, method="tokens", max_tokens=30, overlap_tokens=6)
    assert all(len(words(f)) <= 30 for f in found)
    assert all(not f.startswith(" ") and f.split()[0].startswith("word") for f in found)
    assert found[0].split()[-2:] == found[1].split()[:2]  # 6 tokens: two words, two spaces
    with pytest.raises(ValueError, match="needs a tokenizer"):
        split("text", Chunking(method="tokens"))


DOCUMENT = """---
title: not a heading
---
Préambule qui est assez long pour rester seul, car il a plus d'un quart de la taille.

# Guide

## Install

{install}

```
# a comment, not a heading
```

Unter
-----

{short}

### Deeper

Also short.

# Other

{other}
"""


def test_a_section_keeps_to_its_heading() -> None:
    text = DOCUMENT.format(install="Install it. " * 10, short="Short.", other="Other text. " * 40)
    chunking = Chunking(method="headings", max_characters=300, overlap_characters=30)
    spans = split(text, chunking)
    found = [(s.heading, text[s.start : s.end]) for s in spans]
    assert [h for h, _ in found[:3]] == [(), ("Guide", "Install"), ("Guide", "Unter")]
    assert found[0][1].endswith("taille.")
    # a heading without text joins what it is above; a comment in code is no heading
    assert found[1][1].startswith("# Guide\n\n## Install")
    assert found[1][1].endswith("```")
    # two short sections under one heading are joined; the next, of a higher heading, is not
    assert found[2][1] == "Unter\n-----\n\nShort.\n\n### Deeper\n\nAlso short."
    assert {h for h, _ in found[3:]} == {("Other",)}
    assert len(found) > 4
    assert all(len(t) <= 300 for _, t in found)


def test_line_ends_of_every_system_are_counted() -> None:
    for end in ("\n", "\r\n", "\r"):
        text = end.join(["# A", "text " * 30, "", "## B", "more " * 30])
        chunking = Chunking(method="headings", max_characters=200, overlap_characters=0)
        spans = split(text, chunking)
        assert [text[s.start : s.start + 4].strip() for s in spans] == ["# A", "## B"]
        assert [s.heading for s in spans] == [("A",), ("A", "B")]


def test_nothing_gives_nothing_and_blank_text_one_chunk_to_set_aside() -> None:
    for method in ("whole", *METHODS):
        chunking = chunking_of(method, 100, 10)
        assert split("", chunking, words) == []
        assert [(s.start, s.end) for s in split(" \n\t", chunking, words)] == [(0, 3)]


def test_one_letter_longer_than_a_chunk_stays_whole() -> None:
    letter = "e" + "\u0301" * 300
    for method in METHODS:
        spans = split(f"ab {letter} cd", chunking_of(method, 100, 20), words)
        assert cuts(spans) <= {0, 1, 2, 3, 304, 305, 306, 307}
    assert trimmed(" \u0301a ", 0, 4) == (0, 3)  # a space that carries an accent is a letter


@pytest.mark.parametrize("link", ["👩\u200d", "\u0915\u094d", "e\u0301", "🇫", "\u0600"])
@pytest.mark.parametrize("method", METHODS)
def test_a_chain_of_letters_without_end_is_cut_like_any_other(link: str, method: str) -> None:
    """However long one cluster is, looking for its edges neither fails nor goes in circles."""
    text = f"a {link * 3000}b. c"
    spans = split(text, chunking_of(method, 120, 20), words)
    starts = {m.start() for m in regex.finditer(r"\X", text)} | {len(text)}
    assert cuts(spans) <= starts
    assert (spans[0].start, spans[-1].end) == (0, len(text))
    covered = {i for s in spans for i in range(s.start, s.end)}
    assert all(i in covered or c.isspace() for i, c in enumerate(text))


def test_the_version_names_what_decides_the_chunks() -> None:
    assert chunks.version_of(Chunking()) == 1
    assert "regex" in str(chunks.version_of(Chunking(method="window")))
    assert "pyromark" in str(chunks.version_of(Chunking(method="headings")))
    named = chunks.version_of(Chunking(method="tokens"), "wordllama 0.4")
    assert str(named).endswith("wordllama 0.4")


@pytest.mark.timing
def test_whole_documents_cost_next_to_nothing() -> None:
    chunking = Chunking()
    started = time.process_time()
    for _ in range(20_000):
        split("a short document", chunking)
    assert time.process_time() - started < 0.2  # 100 000 rows a second, also on a slow machine
