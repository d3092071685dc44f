"""What a member of a cloud's SDK is for, when the rules know the SDK but not the member.

A cloud publishes one package for each service below one name: ``azure.mgmt.redis``,
``@aws-sdk/client-s3``, ``cloud.google.com/go/redis``. No table names all of them, so a member that
has no row is told by the services that the rules know, else by the words in its name, and is the
cloud's own where no word says more. It is never silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qafila.audit.code_scan.api import Api
from qafila.audit.code_scan.model import Effort, Kind

_APART = re.compile(r"[-_.]+")
_SEPARATORS = re.compile(r"[./]")
_PART_OF_MEMBER = re.compile(r"(?:models?|aio|types?|operations|exceptions|enums|v\d\w*)$|_")
_VERSION = re.compile(r"_v\d\w*$")
_SERVICE_HOST = re.compile(
    r"([a-z][a-z0-9-]+)(?:\.[a-z0-9-]+)?\.(?:amazonaws\.com(?:\.cn)?|api\.aws)$"
    r"|(?:[a-z0-9]+-[a-z0-9]+-)?([a-z]+)\.googleapis\.com$"
)
"""``polly.eu-west-1.amazonaws.com``, ``europe-west4-speech.googleapis.com``."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where a cloud's SDK has its members, by language.

    ``roots`` are paths whose next part is a member; ``depth`` is how many parts may name it.
    ``general`` are parts that serve all members and are none, ``strip`` what stands before or after
    a member's own name, ``classes`` that members are classes. ``effort`` is another than the
    member's row has, with its reason.
    """

    rule: str
    roots: Mapping[str, frozenset[str]]
    depth: int = 1
    general: frozenset[str] = frozenset()
    strip: tuple[str, ...] = ()
    classes: bool = False
    effort: Effort | None = None
    reason: str = ""

    def names(self, language: str, root: str, path: str) -> tuple[str, ...]:
        """Return the parts of a path below a root that may name a member, in lower case."""
        parts: list[str] = []
        for part in _SEPARATORS.split(path[len(root) :].lstrip("./")):
            if not part or len(parts) == self.depth or not (self.classes or part.islower()):
                break  # a class is mostly no member
            parts.append(self._bare(part.lower()))
        return tuple(parts)

    def _bare(self, part: str) -> str:
        for text in self.strip:
            if part.startswith(text) and len(part) > len(text):
                return part[len(text) :]
        return part


@dataclass(frozen=True, slots=True)
class Members:
    """What the rules say of members that have no row of their own."""

    namespaces: tuple[Namespace, ...]
    words: tuple[tuple[Kind, re.Pattern[str]], ...]
    services: Mapping[str, Api]
    """By a service's name without dashes: sagemakerruntime."""
    identities: Mapping[str, Api]
    """By provider: its row of kind identity, for a module called so inside another's SDK."""

    def refined(self, language: str, path: str, api: Api, prefix: str) -> tuple[Api, str]:
        """Return what a path belongs to that the rules know only by the beginning ``prefix``."""
        for namespace in self.namespaces:
            if namespace.rule == api.rule and prefix in namespace.roots.get(language, ()):
                names = namespace.names(language, prefix, path)
                if not names or names[0] in namespace.general:
                    break
                return self._member(namespace, names, api), self._until(path, prefix)
        nested = self.identities.get(api.provider)
        if nested is not None and nested.kind is not api.kind and "/" not in path:
            parts = path[len(prefix) :].split(".")
            if "identity" in parts:
                return nested, path[: len(prefix)] + ".".join(parts[: parts.index("identity") + 1])
        return api, prefix

    def _until(self, path: str, prefix: str) -> str:
        """Return a path up to the first part below a prefix: what it shares with its siblings."""
        found = _SEPARATORS.search(path, len(prefix) + 1)
        return path[: found.start()] if found else path

    def _member(self, namespace: Namespace, names: Sequence[str], api: Api) -> Api:
        found = self.named(api, names)
        if namespace.effort is None:
            return found
        return replace(found, effort=namespace.effort, reason=namespace.reason, special=())

    def named(self, api: Api, names: Sequence[str]) -> Api:
        """Return the row of a service by its name: its own, one of its kind, or the cloud's."""
        name = _APART.sub("", names[-1])
        known = self.services.get(name)
        if known is not None and known.provider == api.provider:
            return known
        service = _service_of(names)
        return replace(
            api,
            kind=self.kind_of(names),
            api=service,
            effort=Effort.M,
            reason=f"{service} is a service of this cloud: another one needs an adapter at least.",
        )

    def at_host(self, host: str, api: Api) -> Api:
        """Return the row of the service that a host of a cloud names; the cloud's if none does."""
        found = _SERVICE_HOST.match(host)
        if found is None:
            return api
        name = next(part for part in found.groups() if part)
        if api.kind is not Kind.CLOUD:
            return api
        known = self.named(api, (name,))
        return api if known.kind is Kind.CLOUD else known

    def kind_of(self, names: Sequence[str]) -> Kind:
        """Return the kind that words in names speak of; cloud where none does."""
        for kind, pattern in self.words:
            for name in names:
                if any(pattern.fullmatch(w) for w in (name, *_APART.split(name))):
                    return kind
        return Kind.CLOUD


def _service_of(names: Sequence[str]) -> str:
    """Return one name for a service, whichever module and version of it the parts name."""
    parts = [names[0], *(n for n in names[1:] if not _PART_OF_MEMBER.match(n))]
    return "-".join(_VERSION.sub("", part) for part in parts)


def words_of(table: Mapping[str, Sequence[str]]) -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    """Return the expressions of a table of words by kind; ``*`` in a word stands for anything."""
    return tuple(
        (Kind(kind), re.compile("|".join(re.escape(w).replace(r"\*", ".*") for w in words)))
        for kind, words in table.items()
    )
