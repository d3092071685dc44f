"""Which of the languages that we have lexemes for a text is in: by rule, the same each time.

Arabic by its script; French and English by the function words that only one of the two uses. A text
of names and figures alone is in no language that this can tell: None, never a guess.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

Language = Literal["english", "french", "arabic"]
FEWEST_SHARE = 0.5  # of the texts with a known language that one must have to speak for all

_WORD = re.compile(r"[^\W\d_]+")
_ARABIC = re.compile(r"[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufeff]")
# words that the two share ("a", "on", "me", "as", "plus", "son", "sans", "but") tell nothing
_FRENCH = frozenset(
    {
        "le",
        "la",
        "les",
        "l",
        "un",
        "une",
        "des",
        "du",
        "de",
        "et",
        "est",
        "sont",
        "dans",
        "que",
        "qui",
        "quel",
        "quelle",
        "quels",
        "quelles",
        "où",
        "combien",
        "pourquoi",
        "quand",
        "au",
        "aux",
        "ce",
        "cette",
        "ces",
        "sur",
        "avec",
        "pas",
        "ne",
        "il",
        "elle",
        "ils",
        "elles",
        "nous",
        "vous",
        "je",
        "tu",
        "leur",
        "leurs",
        "ses",
        "sa",
        "été",
        "être",
        "avoir",
        "ont",
        "avait",
        "était",
        "ou",
        "en",
        "y",
        "se",
        "qu",
        "mais",
        "donc",
        "entre",
        "sous",
        "chez",
        "dont",
        "quoi",
        "lequel",
        "laquelle",
        "faire",
        "très",
        "aussi",
    }
)
_ENGLISH = frozenset(
    {
        "the",
        "of",
        "and",
        "is",
        "are",
        "was",
        "were",
        "to",
        "in",
        "for",
        "that",
        "which",
        "what",
        "who",
        "whom",
        "whose",
        "how",
        "why",
        "when",
        "where",
        "an",
        "it",
        "its",
        "this",
        "these",
        "those",
        "with",
        "by",
        "from",
        "be",
        "been",
        "being",
        "have",
        "has",
        "had",
        "not",
        "they",
        "he",
        "she",
        "his",
        "her",
        "their",
        "our",
        "your",
        "you",
        "we",
        "i",
        "do",
        "does",
        "did",
        "can",
        "could",
        "should",
        "would",
        "will",
        "may",
        "must",
        "at",
        "or",
        "if",
        "than",
        "then",
        "there",
        "between",
        "into",
        "about",
        "any",
        "all",
        "some",
        "such",
        "other",
        "more",
        "most",
        "only",
    }
)


def detect_language(text: str) -> Language | None:
    """Return the language of a text of any length; None when nothing in it tells.

    Arabic where more than half of the letters are of its script. Else the language of which the
    text has more function words; as many of one as of the other tell nothing.
    """
    words = _WORD.findall(text.lower())
    letters = sum(map(len, words))
    if letters and 2 * len(_ARABIC.findall(text)) > letters:
        return "arabic"
    french = sum(w in _FRENCH for w in words)
    english = sum(w in _ENGLISH for w in words)
    if french == english:
        return None
    return "french" if french > english else "english"


def common_language(texts: Iterable[str]) -> Language | None:
    """Return the language of most of the texts in which one can be told; None without a majority.

    Texts in which nothing tells have no voice.
    """
    seen = Counter(found for t in texts if (found := detect_language(t)) is not None)
    if not seen:
        return None
    language, times = seen.most_common(1)[0]
    return language if times > FEWEST_SHARE * seen.total() else None
