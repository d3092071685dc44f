"""Languages are told by script and function words, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.validation.language import common_language, detect_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Combien d'employeurs", "french"),
        ("En quelle année Jakob Böhme tombe-t-il malade ?", "french"),
        ("l'équipe", "french"),
        ("what problems of heat conduction have been solved so far .", "english"),
        ("It doesn't work, I'd say", "english"),
        ("ما هي شروط التسجيل", "arabic"),
        ("شروط حماية RGPD", "arabic"),  # most letters
        ("Deletes a comment", None),
        ("Julien Darui", None),
        ("2019", None),
        ("", None),
    ],
)
def test_what_a_text_is_in(text: str, language: str | None) -> None:
    assert detect_language(text) == language


@given(st.text())
def test_the_case_of_a_text_never_changes_its_language(text: str) -> None:
    if text.lower() == text.upper().lower():  # ß and a few others come back as something else
        assert detect_language(text.upper()) == detect_language(text)


def test_most_texts_speak_for_all() -> None:
    french, english, none = "le chat est sur la table", "the cat is on the table", "42"
    assert common_language([french, french, english, none, none, none]) == "french"
    assert common_language([french, english]) is None
    assert common_language([none]) is None
    assert common_language([]) is None
