"""How critical one thing is, and who says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from qafila.audit.dependencies.derived_edges import app_of
from qafila.audit.estate import Resource


class Criticality(IntEnum):
    """What breaks when it breaks; the least critical moves first."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2

    @property
    def word(self) -> str:
        """Return it as tags and workload files spell it."""
        return self.name.lower()


MANY_DEPENDENTS = 5

_ENVIRONMENT_TAGS = ("env", "environment", "stage", "tier")
_BEFORE_PRODUCTION = frozenset(
    {
        "dev",
        "develop",
        "development",
        "test",
        "testing",
        "qa",
        "sandbox",
        "staging",
        "stage",
        "preprod",
        "pre-production",
        "uat",
        "demo",
        "review",
        "ci",
    }
)
_PRODUCTION = frozenset({"prod", "production", "prd", "live"})


@dataclass(frozen=True, order=True)
class Standing:
    """A criticality, whether it serves in production, and why; ordered, least critical first.

    ``whose``: the id of the thing that ``why`` speaks of.
    """

    criticality: Criticality
    production: bool
    why: str
    whose: str = ""


def said_of(
    resource: Resource | None, criticality_of: Mapping[str, str], name: str = ""
) -> Standing | None:
    """Return what somebody said about a thing; None when nobody did.

    In this order: its own tag ``criticality``, the criticality given for its application or its
    name (a workload file's), and an environment that is not production, which is low.
    """
    environment = environment_of(resource)
    production = environment not in _BEFORE_PRODUCTION
    own = (resource.tags if resource is not None else {}).get("criticality", "")
    if (found := _read(own)) is not None:
        return Standing(found, production, "its tag criticality")
    app = app_of(resource) if resource is not None else ""
    for subject in (app, name):
        if subject and (found := _read(criticality_of.get(subject, ""))) is not None:
            return Standing(found, production, f"workload {subject}")
    return None if production else Standing(Criticality.LOW, False, f"environment {environment}")


def supposed(
    resource: Resource | None, dependents: int, highest_dependent: Standing | None
) -> Standing:
    """Return a standing where nobody said one.

    As critical as the most critical thing that depends on it; at least medium in production; high
    when five or more depend on it; medium when nothing is known.
    """
    if dependents >= MANY_DEPENDENTS:
        return Standing(Criticality.HIGH, True, f"{dependents} things depend on it")
    production = environment_of(resource) in _PRODUCTION
    plain = Standing(
        Criticality.MEDIUM, True, "environment production" if production else "nothing is said"
    )
    if highest_dependent is None:
        return plain
    inherited = Standing(
        highest_dependent.criticality, highest_dependent.production, "what depends on it"
    )
    return max(plain, inherited, key=level) if production else inherited


def level(standing: Standing) -> tuple[int, bool]:
    """Return what waves are ordered by: criticality, then production after what comes before it."""
    return standing.criticality, standing.production


def environment_of(resource: Resource | None) -> str:
    """Return the environment in a resource's tags, in lower case; "" when none says it."""
    tags = {k.lower(): v for k, v in (resource.tags if resource is not None else {}).items()}
    return next((tags[t].strip().lower() for t in _ENVIRONMENT_TAGS if tags.get(t)), "")


def _read(word: str) -> Criticality | None:
    return Criticality.__members__.get(word.strip().upper())
