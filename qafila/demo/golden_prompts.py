"""Golden prompts for a small model: the same lines each time, in English and French.

python -m qafila.demo.golden_prompts > golden.jsonl
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

_EN = (
    ("bridge", "was built in"),
    ("library", "opened in"),
    ("tower", "was finished in"),
    ("market", "was founded in"),
    ("station", "was opened in"),
    ("school", "was founded in"),
)
_FR = (
    ("le pont", "a été construit en"),
    ("la bibliothèque", "a ouvert en"),
    ("la tour", "a été achevée en"),
    ("le marché", "a été fondé en"),
    ("la gare", "a été ouverte en"),
    ("l'école", "a été fondée en"),
)
_NAMES = ("Amina", "Karim", "Sofia", "Omar", "Leila", "Hugo", "Nadia", "Yusuf", "Clara", "Idris")
_CITIES = ("Fes", "Rabat", "Agadir", "Tangier", "Lyon", "Nantes", "Turin", "Porto", "Ghent", "Bern")
_COLOURS = ("red", "blue", "green", "yellow", "black", "white")
_COULEURS = {
    "red": "rouge",
    "blue": "bleu",
    "green": "vert",
    "yellow": "jaune",
    "black": "noir",
    "white": "blanc",
}
_PERSON = {
    "type": "object",
    "required": ["name", "city"],
    "properties": {"name": {"type": "string"}, "city": {"type": "string"}},
}


def golden_prompts(count: int = 96, seed: int = 7) -> list[dict[str, Any]]:
    """Return so many prompts; kinds and languages take turns."""
    chance = random.Random(seed)
    kinds = {
        "year": _year,
        "name": _name,
        "sum": _sum,
        "json": _json,
        "colour": _colour,
        "annee": _annee,
        "couleur": _couleur,
        "nom": _nom,
    }
    names = [list(kinds)[n % len(kinds)] for n in range(count)]
    return [{"id": f"{name}-{n:03}", **kinds[name](chance)} for n, name in enumerate(names)]


def _year(chance: random.Random) -> dict[str, Any]:
    what, verb = chance.choice(_EN)
    year, city = chance.randrange(1801, 1999), chance.choice(_CITIES)
    return _prompt(
        "extraction",
        "en",
        {"kind": "numeric", "expected": year},
        f"The {what} of {city} {verb} {year}. It is well known.\n"
        f"In which year was that? Answer with the year.",
    )


def _name(chance: random.Random) -> dict[str, Any]:
    name, city = chance.choice(_NAMES), chance.choice(_CITIES)
    return _prompt(
        "extraction",
        "en",
        {"kind": "contains", "all": [name]},
        f"{name} lives in {city} and sells books.\nWho lives in {city}?",
    )


def _sum(chance: random.Random) -> dict[str, Any]:
    a, b = chance.randrange(1, 10), chance.randrange(1, 10)
    return _prompt(
        "arithmetic",
        "en",
        {"kind": "numeric", "expected": a + b, "which": "only"},
        "3 + 4 =",
        "7",
        "5 + 1 =",
        "6",
        f"{a} + {b} =",
    )


def _json(chance: random.Random) -> dict[str, Any]:
    name, city = chance.choice(_NAMES), chance.choice(_CITIES)
    first, second = chance.sample(_NAMES, 2)
    return _prompt(
        "format",
        "en",
        {"kind": "json_schema", "schema": _PERSON},
        f"Write JSON. {first} lives in Oslo.",
        '{"name": "' + first + '", "city": "Oslo"}',
        f"Write JSON. {second} lives in Kyoto.",
        '{"name": "' + second + '", "city": "Kyoto"}',
        f"Write JSON. {name} lives in {city}.",
    )


def _colour(chance: random.Random) -> dict[str, Any]:
    colour, other = chance.sample(_COLOURS, 2)
    return _prompt(
        "reading",
        "en",
        {"kind": "exact", "expected": colour},
        "The car is pink and the house is grey.\nWhat colour is the car?",
        "pink",
        f"The door is {colour} and the roof is {other}.\nWhat colour is the door?",
    )


def _annee(chance: random.Random) -> dict[str, Any]:
    what, verb = chance.choice(_FR)
    year = chance.randrange(1801, 1999)
    return _prompt(
        "extraction",
        "fr",
        {"kind": "numeric", "expected": year},
        f"{what.capitalize()} {verb} {year}.\nEn quelle année ? Réponds par l'année.",
    )


def _couleur(chance: random.Random) -> dict[str, Any]:
    first, second = (_COULEURS[c] for c in chance.sample(_COLOURS, 2))
    return _prompt(
        "reading",
        "fr",
        {"kind": "exact", "expected": first},
        "Le sac est rose et le mur est gris.\nDe quelle couleur est le sac ?",
        "rose",
        f"Le stylo est {first} et le cahier est {second}.\nDe quelle couleur est le stylo ?",
    )


def _nom(chance: random.Random) -> dict[str, Any]:
    name, city = chance.choice(_NAMES), chance.choice(_CITIES)
    return _prompt(
        "extraction",
        "fr",
        {"kind": "contains", "all": [name]},
        "Samir habite à Oslo.\nQui habite à Oslo ?",
        "Samir",
        f"{name} habite à {city}.\nQui habite à {city} ?",
    )


def _prompt(group: str, language: str, grader: dict[str, Any], *turns: str) -> dict[str, Any]:
    messages = [
        {"role": "assistant" if n % 2 else "user", "content": turn} for n, turn in enumerate(turns)
    ]
    return {"class": group, "language": language, "messages": messages, "grader": grader}


def main() -> None:
    """Print them as JSONL."""
    for prompt in golden_prompts():
        sys.stdout.write(json.dumps(prompt, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
