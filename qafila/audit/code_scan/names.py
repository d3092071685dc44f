"""Follow names inside one file: what does ``self._s3.put_object`` belong to?

Follows imports and their aliases, assignments, declared types, and services named by a literal or
by a variable that holds one. What a name means is decided by the nearest binding above it in the
same scope, else by the scope around. Values that come from another file are not followed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from qafila.audit.code_scan.api import Api
from qafila.audit.code_scan.facts import Binding, Called, Chain, Facts, Import
from qafila.audit.code_scan.model import Site
from qafila.audit.code_scan.objects import (
    BUILDERS,
    Client,
    Sdk,
    Step,
    Value,
    called_on,
    constructs,
    last,
)
from qafila.audit.code_scan.own import Own
from qafila.audit.code_scan.rules import Rules

_ROUNDS = 12  # a binding may stand before what it is made from


@dataclass(frozen=True, slots=True)
class _Bound:
    line: int
    value: Value
    literal: str | None = None


class Names:
    """The names of one file, resolved. ``own`` says which paths are the repository's own."""

    def __init__(self, facts: Facts, rules: Rules, own: Own) -> None:
        self._facts = facts
        self._rules = rules
        self._own = own
        self._table: dict[tuple[int, str], list[_Bound]] = {}
        self.known: set[str] = set()
        self._stars = [i.bound for i in facts.imports if i.star and self.api_of(i.bound)]
        self._fill()

    def api_of(self, path: str) -> Api | None:
        """Return the provider's API that an imported path belongs to; None for own modules."""
        found = self._rules.module(self._facts.language, path)
        return None if found is None or self._own.holds(found[1], path) else found[0]

    def _fill(self) -> None:
        """Bind names round by round, until nothing more is known."""
        imports = [(i, self._imported(i)) for i in self._facts.imports if i.local]
        self.known = {str(i.local) for i, value in imports if self._leads_to_api(value)}
        for _ in range(_ROUNDS):
            table: defaultdict[tuple[int, str], list[_Bound]] = defaultdict(list)
            for found, value in imports:
                table[found.scope, str(found.local)].append(_Bound(found.spot.line, value))
            for binding in self._facts.bindings:
                value = self._value(binding)
                table[binding.scope, binding.name].append(
                    _Bound(binding.line, value, binding.literal)
                )
            for bound in table.values():
                bound.sort(key=lambda b: b.line)
            before, self._table = self._table, dict(table)
            self.known |= {
                name for (_, name), bound in table.items() if any(b.value for b in bound)
            }
            if self._table == before:
                break

    def _leads_to_api(self, value: Value) -> bool:
        return isinstance(value, Sdk) and (
            value.api is not None or self._rules.leads(self._facts.language, value.path)
        )

    def may_know(self, chain: Chain) -> bool:
        """Say whether a chain begins with a name that leads to a provider."""
        first = chain[0]
        if first in self.known or self._stars:
            return True
        if len(chain) < 2:
            return False
        second = chain[1]
        return (f".{second}" if isinstance(second, str) else f"{first}()") in self.known

    def _imported(self, found: Import) -> Value:
        return Sdk(found.bound, self.api_of(found.bound))

    def _value(self, binding: Binding) -> Value:
        scope = binding.scope if binding.seen_from < 0 else binding.seen_from
        for chain in filter(self.may_know, binding.chains):
            value = self.evaluate(chain, scope, binding.line - 1)[0]
            if value is not None:
                return value
        for chain in filter(self.may_know, binding.declared):
            value = self.evaluate(chain, scope, binding.line - 1)[0]
            if isinstance(value, Sdk) and value.api and (made := self._of_type(value)) is not None:
                return made
        return None

    def _of_type(self, of: Sdk) -> Value:
        """Return what a value of a declared type is: a session, a client or an object of an SDK."""
        assert of.api is not None
        name = last(of.path)
        if name in of.api.sessions:
            return self._session(of.path, of.api)
        java = self._facts.language == "java" and name[:1].isupper()  # its data has methods too
        default = self._facts.language == "javascript" and self.is_module(of.path)
        if not (java or default or of.api.is_object(name)):
            return None
        return Client(of.api, plain=not (java or default or of.api.is_client(name)))

    def _session(self, path: str, api: Api) -> Sdk:
        """Return a session: what it is asked next is a path again, so .client is the factory."""
        return Sdk(path.split(".", 1)[0] if self._facts.language == "python" else path, api)

    def _find(self, name: str, scope: int, line: int) -> _Bound | None:
        here = True
        while scope >= 0:
            bound = self._table.get((scope, name))
            if bound:
                above = [b for b in bound if b.line <= line] if here else []
                known = [b for b in bound if b.value is not None or b.literal is not None]
                if name.startswith(("self.", ".")) or name.endswith("()") or not here:
                    return known[0] if known else bound[0]
                return self._reaching(above, line) if above else bound[0]
            here = False
            scope = self._facts.parents[scope]
        return None

    def _reaching(self, above: list[_Bound], line: int) -> _Bound:
        """Return the nearest binding, or the nearest known one that may still hold: a branch's.

        The block that a binding is in has ended where a later line is indented less. Nothing above
        a binding reaches a line of its block below it.
        """
        indents, last = self._facts.indents, 0
        for bound in reversed(above) if indents else ():
            if last and min(indents[bound.line - 1 : last]) >= indents[last - 1]:
                continue  # in the same branch, and overwritten there
            if bound.value is not None or bound.literal is not None:
                return bound
            if min(indents[bound.line : line], default=0) >= indents[bound.line - 1]:
                break
            last = bound.line
        return above[-1]

    def evaluate(self, chain: Chain, scope: int, line: int) -> tuple[Value, Step | None]:
        """Return what a chain is, and what its last element did if that is a call."""
        value, start = self._root(chain, scope, line)
        step: Step | None = None
        for element in chain[start:]:
            step = None
            if value is None:
                return None, None
            if isinstance(element, str):
                value = self._member(value, element)
            else:
                value, step = self._called(value, element, scope, line)
        return value, step

    def _root(self, chain: Chain, scope: int, line: int) -> tuple[Value, int]:
        first = chain[0]
        if not isinstance(first, str):
            return None, 1
        if len(chain) > 1 and isinstance(chain[1], Called):
            made = self._find(f"{first}()", scope, line)
            if made is not None:
                return made.value, 2
        bound = self._find(first, scope, line)
        if bound is not None and bound.value is not None:
            return bound.value, 1
        if len(chain) > 1 and isinstance(chain[1], str):
            field = self._find(f".{chain[1]}", scope, line)
            if field is not None:
                return field.value, 2
        if bound is None and first[:1].isupper():
            for star in self._stars:
                api = self.api_of(f"{star}.{first}")
                called_like_it = first.lower().startswith(last(star).lower())
                if api is not None and (api.is_client(first) or called_like_it):
                    return Sdk(f"{star}.{first}", api), 1
        return None, 1

    def _member(self, value: Value, name: str) -> Value:
        if isinstance(value, Sdk):
            path = f"{value.path}.{name}"
            return Sdk(path, self.api_of(path))
        if isinstance(value, Client):
            return replace(value, member=f"{value.member}.{name}" if value.member else name)
        return value

    def _called(
        self, value: Value, called: Called, scope: int, line: int
    ) -> tuple[Value, Step | None]:
        if isinstance(value, Client):
            return called_on(value, self._facts.language)
        if not isinstance(value, Sdk) or value.api is None:
            return None, None
        api, name = value.api, last(value.path)
        if name in api.factories:
            return self._service(api, called, scope, line)
        if name in api.sessions:
            return self._session(value.path, api), Step(api, Site.CALL, name)
        language = self._facts.language
        by_default = language == "javascript" and called.new and self.is_module(value.path)
        if by_default or constructs(language, api, value.path, called):
            building = name in BUILDERS
            form = self._form(api, value.path)
            return Client(api, building=building, plain=form is Site.CALL), Step(api, form, name)
        return None, Step(api, Site.CALL, name)

    def _form(self, api: Api, path: str) -> Site:
        """Return how making something counts: a client, or a call when it is another object."""
        names = {last(path), last(path[: -len(last(path)) - 1])}
        client = self._facts.language == "go" or self.is_module(path)
        return Site.CLIENT if client or any(map(api.is_client, names)) else Site.CALL

    def is_module(self, path: str) -> bool:
        """Say whether a path is a whole module of a provider (a default import)."""
        found = self._rules.module(self._facts.language, path)
        return found is not None and found[1] == path

    def _service(
        self, api: Api, called: Called, scope: int, line: int
    ) -> tuple[Value, Step | None]:
        service = _argument(called.literals)
        if service is None and (name := _argument(called.names)):
            bound = self._find(name, scope, line)
            service = bound.literal if bound else None
        if service is None:
            return Client(api), Step(api, Site.CLIENT, "named at run time")
        known = self._rules.service(api, service)
        return Client(known), Step(known, Site.CLIENT, service)


_NAMED_BY = ("service_name", "serviceName", "0")


def _argument(pairs: tuple[tuple[str, str], ...]) -> str | None:
    given = dict(pairs)
    return next((given[key] for key in _NAMED_BY if key in given), None)
