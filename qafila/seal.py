"""The seal of a file that must still be true when nobody can be asked about it.

A digest proves that the content is whole and as it was written; whoever may write the file may
also seal it anew. With a key (HMAC-SHA-256, RFC 2104) it also proves that the writer had the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from qafila.workload.fingerprint import canonical_json


@dataclass(frozen=True)
class Seal:
    """SHA-256 over the canonical JSON, and the same with a key where one was set; in hex."""

    sha256: str
    hmac_sha256: str | None = None


def seal(body: Mapping[str, object], key: str | None = None) -> Seal:
    """Return the seal of a body that holds JSON-able values only."""
    content = canonical_json(body)
    keyed = None if not key else hmac.new(key.encode(), content, hashlib.sha256).hexdigest()
    return Seal(hashlib.sha256(content).hexdigest(), keyed)


def seal_problem(body: Mapping[str, object], found: Seal, key: str | None = None) -> str | None:
    """Return what is wrong with a seal, if anything.

    With a key at hand a seal without one is a problem: it could have been made by anybody.
    """
    right = seal(body, key)
    if not hmac.compare_digest(right.sha256, found.sha256):
        return "its content is not what was sealed: it was changed or cut off"
    if right.hmac_sha256 is None:
        return None
    if found.hmac_sha256 is None:
        return "a key is set here, and it was sealed without one"
    if not hmac.compare_digest(right.hmac_sha256, found.hmac_sha256):
        return "it was sealed with another key"
    return None
