"""Which found resource an id on a bill means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from qafila.audit.bills.resource_ids import aliases, is_arn, kind_of_id, places_of, subject_of, tail
from qafila.audit.estate import Resource


class FoundResources:
    """The resources of an audit, looked up by what bills call them.

    A bill names a machine by its id, a queue by its ARN and a bucket by its name alone. The same
    word may name things of several kinds, and the same name may stand in two regions: a match has
    the kind that the billed id tells, and does not contradict its region and account.
    """

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._by_name: defaultdict[str, list[Resource]] = defaultdict(list)
        for resource in resources:
            for name in aliases(resource):
                self._by_name[name].append(resource)

    def called(self, billed_id: str, service: str = "") -> list[Resource]:
        """Return all resources that a billed id may mean; ``service`` as the bill calls it."""
        subject = subject_of(billed_id)
        kind = kind_of_id(billed_id, service)
        for name in (billed_id, subject, tail(subject)):
            found = [
                r
                for r in self._by_name.get(name, ())
                if (kind is None or r.kind == kind or _arn_of(r) == subject) and _may_be(r, subject)
            ]
            if found and (kind is not None or len(found) == 1 or name == billed_id):
                return found
        return []

    def the_one_called(self, billed_id: str, service: str = "") -> Resource | None:
        """Return the resource that a billed id means; None where there is none, or several."""
        found = self.called(billed_id, service)
        return found[0] if len(found) == 1 else None


def _arn_of(resource: Resource) -> str:
    arn = str(resource.facts.get("arn") or resource.id)
    return arn if is_arn(arn) else ""


def _may_be(resource: Resource, billed_id: str) -> bool:
    own = _arn_of(resource)
    if not is_arn(billed_id) or not own:
        return True
    return all(
        not one or not other or one == other
        for one, other in zip(places_of(own), places_of(billed_id), strict=True)
    )
