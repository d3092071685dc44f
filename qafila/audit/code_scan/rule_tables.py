"""Read the rules of the lock-in scan from their tables, and check every row.

They are data, ``qafila/data/lock_in/``, one file for each kind; ``namespaces.toml`` among them says
what the fields mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qafila.audit.code_scan.api import Api, Special
from qafila.audit.code_scan.integrations import integrations_of
from qafila.audit.code_scan.model import Effort, Kind
from qafila.audit.code_scan.namespaces import Members, Namespace, words_of
from qafila.audit.code_scan.rules import ANY, LANGUAGES, Rules
from qafila.errors import BadInput
from qafila.text.strict_toml import load_toml

_FIELDS = frozenset(
    {
        *LANGUAGES,
        "rule",
        "kind",
        "provider",
        "api",
        "effort",
        "reason",
        "services",
        "hosts",
        "schemes",
        "texts",
        "clients",
        "handles",
        "sessions",
        "factories",
        "special",
        "stubs",
        "generic",
        "names",
    }
)
_NAMESPACE_FIELDS = frozenset(
    {*LANGUAGES, "rule", "depth", "general", "strip", "classes", "effort", "reason"}
)


def parse_rules(*texts: str) -> Rules:
    """Read the rules, TOML in one text or several, and check every row.

    Raises:
        BadInput: a row lacks a field, has an unknown one, a value that is none of the allowed
            ones, or claims a module, service or address that another has; all problems at once.
    """
    tables = [load_toml(text, "the rules") for text in texts]
    rows: list[dict[str, Any]] = [row for table in tables for row in table.get("api", [])]
    spaces: list[dict[str, Any]] = [s for table in tables for s in table.get("namespace", [])]
    words = {kind: w for table in tables for kind, w in table.get("words", {}).items()}
    _take_roots(rows, spaces)
    problems: list[str] = []
    for number, row in enumerate(rows, 1):
        name = f"row {number} ({row.get('rule', 'without a name')})"
        missing = {"rule", "kind", "provider", "api", "effort", "reason"} - row.keys()
        problems += [f"{name} lacks {field!r}" for field in sorted(missing)]
        problems += [f"{name} has an unknown {field!r}" for field in sorted(row.keys() - _FIELDS)]
        if row.get("kind") not in set(Kind):
            problems.append(f"{name}: kind is one of {', '.join(Kind)}")
        for part in (row, *row.get("special", [])):
            if part.get("effort") not in set(Effort):
                problems.append(f"{name}: effort is one of {', '.join(Effort)}")
    for what in (*LANGUAGES, "services", "hosts", "schemes"):
        seen: dict[str, str] = {}
        for row in rows:
            for value in row.get(what, []):
                if value in seen:
                    problems.append(
                        f"{what} {value!r} is claimed by {seen[value]} and {row['rule']}"
                    )
                seen[value] = str(row.get("rule"))
    problems += _problems_of_members(spaces, words, {row.get("rule") for row in rows})
    if problems:
        raise BadInput("the rules of the lock-in scan are not usable:", problems)
    places = [place for table in tables for place in table.get("integration", [])]
    return _indexed(rows, spaces, words, places)


def _take_roots(rows: list[dict[str, Any]], spaces: list[dict[str, Any]]) -> None:
    """Give each row the roots of its namespaces, as paths of its own."""
    for space in spaces:
        for row in (row for row in rows if row.get("rule") == space.get("rule")):
            for language in LANGUAGES:
                own = row.setdefault(language, [])
                own += [root for root in space.get(language, []) if root not in own]


def _problems_of_members(
    spaces: list[dict[str, Any]], words: Mapping[str, list[str]], rows: set[str | None]
) -> Iterator[str]:
    for number, space in enumerate(spaces, 1):
        name = f"namespace {number} ({space.get('rule', 'without a rule')})"
        for unknown in sorted(space.keys() - _NAMESPACE_FIELDS):
            yield f"{name} has an unknown {unknown!r}"
        if space.get("rule") not in rows:
            yield f"{name}: rule is the name of no row"
        if space.get("effort", Effort.M) not in set(Effort):
            yield f"{name}: effort is one of {', '.join(Effort)}"
    for kind in words:
        if kind not in set(Kind):
            yield f"words: {kind!r} is none of {', '.join(Kind)}"


def _indexed(
    rows: list[dict[str, Any]],
    spaces: list[dict[str, Any]],
    kinds: Mapping[str, list[str]],
    places: list[dict[str, Any]],
) -> Rules:
    apis = [_api(row) for row in rows]
    both = list(zip(rows, apis, strict=True))

    def index(what: str) -> dict[str, Api]:
        return {value: api for row, api in both for value in row.get(what, [])}

    hosts = sorted(index("hosts").items(), key=lambda pair: (-len(pair[0].replace("*", "")), pair))
    texts = [(text, api) for row, api in both for text in row.get("texts", [])]
    schemes = {f"{name}://": api for name, api in index("schemes").items()}
    words = {host.rsplit("*", 1)[-1].strip(".") for host, _ in hosts} | set(schemes)
    words = {w for w in words if not any(o != w and w.endswith(f".{o}") for o in words)}
    return Rules(
        tuple(apis),
        {
            language: {**index(language), **dict.fromkeys(index("generic"))}
            for language in LANGUAGES
        },
        index("services"),
        index("stubs"),
        tuple((re.compile(re.escape(h).replace(r"\*", ANY) + "$"), api) for h, api in hosts),
        schemes,
        tuple((re.compile(text["pattern"], re.I), api) for text, api in texts),
        tuple(sorted(words)),
        tuple((word, text["pattern"].strip("^$")) for text, _ in texts for word in text["seek"]),
        Members(
            tuple(map(_namespace, spaces)),
            words_of(kinds),
            {name.replace("-", ""): api for name, api in index("services").items()},
            {api.provider: api for api in reversed(apis) if api.kind is Kind.IDENTITY},
        ),
        integrations_of(places, [(api, row.get("names", [])) for row, api in both]),
    )


def _namespace(space: Mapping[str, Any]) -> Namespace:
    return Namespace(
        space["rule"],
        {language: frozenset(space.get(language, ())) for language in LANGUAGES},
        space.get("depth", 1),
        frozenset(space.get("general", ())),
        tuple(space.get("strip", ())),
        space.get("classes", False),
        Effort(space["effort"]) if "effort" in space else None,
        space.get("reason", ""),
    )


def _api(row: Mapping[str, Any]) -> Api:
    special = [
        Special(tuple(s["operations"]), Effort(s["effort"]), s["reason"])
        for s in row.get("special", [])
    ]
    return Api(
        row["rule"],
        Kind(row["kind"]),
        row["provider"],
        row["api"],
        Effort(row["effort"]),
        row["reason"],
        clients=frozenset(row.get("clients", ())),
        handles=frozenset(row.get("handles", ())),
        sessions=frozenset(row.get("sessions", ())),
        factories=frozenset(row.get("factories", ())),
        special=tuple(special),
        named=bool(row.get("services") or row.get("factories")),
    )
