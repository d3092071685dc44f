"""The rules of the lock-in scan: which modules, services and addresses belong to which provider.

They are data, ``qafila/data/lock_in/``, one file for each kind; this module checks them and
answers questions.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from qafila.core.lock_in.api import Api, Special
from qafila.core.lock_in.namespaces import Members, Namespace, words_of
from qafila.core.lock_in.values import Effort, Kind
from qafila.errors import BadInput

LANGUAGES = ("python", "javascript", "java", "go")
_HOLE = re.compile(r"\$?\{[^{}]*\}|%s|%\(\w+\)s")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^@/\s]*@)?([a-z0-9_*-]+(?:\.[a-z0-9_*-]+)+)(?::\w+)?(?:[/?#]\S*)?$")  # fmt: skip  # noqa: E501
_FIELDS = frozenset({*LANGUAGES, "rule", "kind", "provider", "api", "effort", "reason", "services",
                     "hosts", "schemes", "texts", "clients", "handles", "sessions", "factories",
                     "special", "stubs", "generic"})  # fmt: skip
_NAMESPACE_FIELDS = frozenset({*LANGUAGES, "rule", "depth", "general", "strip", "classes",
                               "effort", "reason"})  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """All rows, with an index for every question that a scan asks."""

    apis: tuple[Api, ...]
    modules: Mapping[str, Mapping[str, Api | None]]
    """By language; None: a module inside an SDK that touches no provider."""
    services: Mapping[str, Api]
    stubs: Mapping[str, Api]
    """Beginnings of a package's name, when the rest of it names a service of a cloud's SDK."""
    hosts: tuple[tuple[re.Pattern[str], Api], ...]
    schemes: Mapping[str, Api]
    texts: tuple[tuple[re.Pattern[str], Api], ...]
    fragments: tuple[str, ...]
    """Every address that the rules know holds one of these, after a quote, dot, slash, @ or }."""
    seeks: tuple[tuple[str, str], ...]
    """For texts: a word in lower case, and the expression to look for where a file holds it."""
    members: Members
    _known: dict[tuple[str, str], tuple[Api, str] | None] = field(default_factory=dict)

    @cached_property
    def _beginnings(self) -> Mapping[str, frozenset[str]]:
        return {
            language: frozenset(
                path[:at] for path in modules for at, c in enumerate(path) if c in "./"
            )
            for language, modules in self.modules.items()
        }

    def module(self, language: str, path: str) -> tuple[Api, str] | None:
        """Return the row of the longest prefix of an imported path, and that prefix."""
        key = (language, path)
        if key not in self._known:
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[key] = self._longest(language, path)
        return self._known[key]

    def leads(self, language: str, path: str) -> bool:
        """Say whether a path is the beginning of one in the rules: ``google``, ``azure``."""
        return path in self._beginnings[language]

    def _longest(self, language: str, path: str) -> tuple[Api, str] | None:
        modules = self.modules[language]
        end = len(path)
        while end > 0:
            if path[:end] in modules:
                api = modules[path[:end]]
                if api is None:
                    return None
                return self.members.refined(language, path, api, path[:end])
            end = max(path.rfind(".", 0, end), path.rfind("/", 0, end))
        return self._stub(path) if language == "python" else None

    def _stub(self, path: str) -> tuple[Api, str] | None:
        package = path.split(".", 1)[0]
        for beginning, api in self.stubs.items():
            if package.startswith(beginning):
                return self.service(api, package[len(beginning) :].replace("_", "-")), package
        return None

    def service(self, api: Api, name: str) -> Api:
        """Return the row of a service that is named to a cloud's SDK; outside the five: its own."""
        known = self.services.get(name) if api.factories else None
        return known or self.members.named(api, (name,))

    def address(self, text: str) -> Api | None:
        """Return the row whose address this whole string is: no sentence, and no bare ``s3://``."""
        if len(text) > 2_000 or not text or text.split() != [text]:
            return None
        scheme = text[: text.find("://") + 3] if "://" in text else ""
        if scheme and (api := self.schemes.get(scheme)) is not None:
            return api if text != scheme else None
        found = _ADDRESS.match(_HOLE.sub("x", text.lower()))
        if found is None:
            return None
        return next((api for host, api in self.hosts if host.match(found[1])), None)

    def text(self, text: str) -> Api | None:
        """Return the row whose language a string speaks."""
        return next((api for pattern, api in self.texts if pattern.search(text)), None)


def parse_rules(*texts: str) -> Rules:
    """Read the rules, TOML in one text or several, and check every row.

    Raises:
        BadInput: a row lacks a field, has an unknown one, a value that is none of the allowed
            ones, or claims a module, service or address that another has; all problems at once.
    """
    tables = [tomllib.loads(text) for text in texts]
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
    return _indexed(rows, spaces, words)


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
    rows: list[dict[str, Any]], spaces: list[dict[str, Any]], kinds: Mapping[str, list[str]]
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
        tuple((re.compile(re.escape(h).replace(r"\*", r"[\w.-]*") + "$"), api) for h, api in hosts),
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
    )
