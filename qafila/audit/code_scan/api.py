"""One row of the rules: how code touches one API of one provider, and what leaving it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qafila.audit.code_scan.model import Effort, Kind

_CLIENT = re.compile(
    r"(?:\w*Client(?:Async|Builder|V\d)?|(?:\w+_)?client|connect(?:_\w+)?|\w+(?:Producer|Consumer))$"
)
_DATA = re.compile(
    r"\w*(?:Error|Exception|Warning|Fault|Results?|Responses?|Reply|Messages?|Requests?|Inputs?|Outputs?"
    r"|Params?|Parameters|Options?|Config|Configuration|Settings|Properties|Metadata|Info|Dict"
    r"|Enum|Type|Types|TypeDef|Row|Callback|Record|Event|Events|Chunk|Delta|Usage|Items?|Details)$"
)


@dataclass(frozen=True, slots=True)
class Special:
    """Operations of an API whose effort is another; ``operations`` are shell patterns."""

    operations: tuple[str, ...]
    effort: Effort
    reason: str


@dataclass(frozen=True, slots=True)
class Api:
    """One row of the rules: how code touches one API of one provider, and what leaving it takes."""

    rule: str
    kind: Kind
    provider: str
    api: str
    effort: Effort
    reason: str
    clients: frozenset[str] = frozenset()
    handles: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    factories: frozenset[str] = frozenset()
    special: tuple[Special, ...] = ()
    named: bool = False
    """Its clients are named to a cloud's general SDK, whose answers are dictionaries."""

    def is_client(self, name: str) -> bool:
        """Say whether calling this name of the SDK constructs a client."""
        if self.provider == "aws" and name.endswith("ServiceResource"):
            return True  # what boto3.resource returns; Azure has data of that name
        return name in self.clients or _CLIENT.match(name) is not None

    def is_object(self, name: str) -> bool:
        """Say whether a name is a class whose methods are the SDK's; data it passes is none."""
        return self.is_client(name) or (name[:1].isupper() and _DATA.match(name) is None)

    def effort_of(self, operation: str) -> tuple[Effort, str]:
        """Return the effort class of one operation, and why."""
        for special in self.special:
            if any(fnmatchcase(operation, pattern) for pattern in special.operations):
                return special.effort, special.reason
        return self.effort, self.reason
