"""Say where one file touches a provider: its facts, held against the rules."""

from __future__ import annotations

from dataclasses import dataclass

from qafila.audit.code_scan.api import Api
from qafila.audit.code_scan.facts import Facts, Spot
from qafila.audit.code_scan.model import Effort, Kind, Site
from qafila.audit.code_scan.names import Names
from qafila.audit.code_scan.own import Own
from qafila.audit.code_scan.rules import Rules


@dataclass(frozen=True, slots=True)
class Sighting:
    """A hit before it is known whether the repository keeps it behind an abstraction."""

    line: int
    column: int
    kind: Kind
    provider: str
    api: str
    operation: str
    rule: str
    site: Site
    text: str
    effort: Effort
    reason: str


def match(facts: Facts, rules: Rules, own: Own = Own()) -> list[Sighting]:  # noqa: B008 - a value
    """Return where the file touches a provider, by line and column, once for each API."""
    names = Names(facts, rules, own)
    found = []
    for imported in facts.imports:
        if (api := names.api_of(imported.path)) is not None:
            found.append(_seen(imported.spot, api, Site.IMPORT, ""))
    for use in facts.uses:
        if not names.may_know(use.chain):
            continue
        step = names.evaluate(use.chain, use.scope, use.spot.line)[1]
        if step is not None:
            found.append(_seen(use.spot, step.api, step.site, step.operation))
    for text in facts.texts:
        address = rules.address(text.value)
        if address is not None:
            found.append(_seen(text.spot, address, Site.ENDPOINT, ""))
        elif (api := rules.text(text.value)) is not None:
            found.append(_seen(text.spot, api, Site.TEXT, ""))
    return _once(found)


def _seen(spot: Spot, api: Api, site: Site, operation: str) -> Sighting:
    effort, reason = api.effort_of(operation)
    return Sighting(
        spot.line,
        spot.column,
        api.kind,
        api.provider,
        api.api,
        operation,
        api.rule,
        site,
        spot.text,
        effort,
        reason,
    )


def _once(found: list[Sighting]) -> list[Sighting]:
    kept: dict[tuple[int, int, str, str, Site, str], Sighting] = {}
    for seen in found:
        key = (seen.line, seen.column, seen.rule, seen.api, seen.site, seen.operation)
        kept.setdefault(key, seen)
    return sorted(kept.values(), key=lambda s: (s.line, s.column, s.rule, s.api, s.operation))
