"""The rules of the lock-in scan: which modules, services and addresses belong to which provider.

They are data that ``parsing`` reads; this module answers questions from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from qafila.audit.code_scan.api import Api
from qafila.audit.code_scan.integrations import Integrations
from qafila.audit.code_scan.namespaces import Members

LANGUAGES = ("python", "javascript", "java", "go")
_HOLE = re.compile(r"\$?\{[^{}]*\}|%s|%\(\w+\)s")
_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:[^@/\s]*@)?([a-z0-9_*-]+(?:\.[a-z0-9_*-]+)+)(?::\w+)?(?:[/?#]\S*)?$"
)
ANY = r"[\w.-]*"  # what a star of a host becomes


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
    integrations: Integrations
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
        stub = self._stub(path) if language == "python" else None
        return stub or self.integrations.found(language, path)

    def _stub(self, path: str) -> tuple[Api, str] | None:
        package = path.split(".", 1)[0]
        for beginning, api in self.stubs.items():
            if package.startswith(beginning):
                return self.service(api, package[len(beginning) :].replace("_", "-")), package
        return None

    def service(self, api: Api, name: str) -> Api:
        """Return the row of a service that is named to a cloud's SDK; outside the five: its own."""
        known = self.services.get(name)
        if known is not None and known.provider == api.provider:
            return known
        return self.members.named(api, (name,))

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
        host, api = next((pair for pair in self.hosts if pair[0].match(found[1])), (None, None))
        if host is None or api is None or not host.pattern.startswith(ANY):
            return api
        return self.members.at_host(found[1], api)

    def text(self, text: str) -> Api | None:
        """Return the row whose language a string speaks."""
        return next((api for pattern, api in self.texts if pattern.search(text)), None)
