"""Which provider a framework's package for it serves: ``langchain_pinecone``, ``@ai-sdk/groq``.

Frameworks name such packages and modules after the provider. They are told by that name and by no
list; what names none of the providers (``langchain_core``, ``vector_stores.faiss``) is generic and
no hit, and so is a class in a module that serves many (``from langchain.vectorstores import X``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qafila.audit.code_scan.api import Api
from qafila.audit.code_scan.model import Kind

_APART = re.compile(r"[-_.]+")
_DRESSED = re.compile(
    r"^(?:async|chat|bulk)?(.+?)(?:chat)?(?:embeddings?|embedder|vectorstores?|vectorsearch|vectors?"
    r"|vectordb|documentstore|embeddingstore|llm|rerank|reranker|chatmodel|model|endpoint|generator"
    r"|store|ai|multimodal)?$"
)


@dataclass(frozen=True, slots=True)
class Integrations:
    """``places`` are paths by language, in which a star stands for the provider's name."""

    places: Mapping[str, tuple[tuple[str, re.Pattern[str], Kind | None], ...]]
    by_kind: Mapping[tuple[Kind, str], Api]
    by_name: Mapping[str, Api] = field(default_factory=dict)

    def found(self, language: str, path: str) -> tuple[Api, str] | None:
        """Return the row of the provider that a framework's module serves, and the path to it."""
        for beginning, place, kind in self.places.get(language, ()):
            if path.startswith(beginning) and (match := place.match(path)) is not None:
                api = self._named(match[1], kind)
                if api is not None:
                    return api, match[0]
        return None

    def _named(self, member: str, kind: Kind | None) -> Api | None:
        name = _APART.sub("", member).lower()
        bare = _DRESSED.match(name)
        for each in dict.fromkeys((name, bare[1] if bare else name)):
            api = self.by_name.get(each) if kind is None else self.by_kind.get((kind, each))
            if api is not None:
                return api
        return None


def integrations_of(
    tables: Sequence[Mapping[str, Any]], named: Sequence[tuple[Api, Sequence[str]]]
) -> Integrations:
    """Return the index of some tables of places, and of rows with further names of each."""
    places: dict[str, list[tuple[str, re.Pattern[str], Kind | None]]] = {}
    for table in tables:
        kind = Kind(table["kind"]) if "kind" in table else None
        for language, paths in table.items():
            for path in paths if language not in ("kind", "generic") else ():
                before = path.removesuffix("*")
                generic = "".join(rf"(?!{word}(?![\w-]))" for word in table.get("generic", ()))
                pattern = rf"{re.escape(before)}{generic}([a-z0-9_-]+)(?![\w-])"
                places.setdefault(language, []).append((before, re.compile(pattern), kind))
    by_kind: dict[tuple[Kind, str], Api] = {}
    by_name: dict[str, Api] = {}
    for api, names in named:
        for name in _names(api, names):
            by_name.setdefault(name, api)
            by_kind.setdefault((api.kind, name), api)
    for api, _ in named:
        by_kind.setdefault((api.kind, _APART.sub("", api.provider)), api)
    return Integrations({lang: tuple(found) for lang, found in places.items()}, by_kind, by_name)


def _names(api: Api, names: Sequence[str]) -> Iterator[str]:
    if api.kind in (Kind.MODEL, Kind.VECTOR):
        yield from (_APART.sub("", name).lower() for name in (api.rule, *names))
