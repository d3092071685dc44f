"""The head of the evidence chain, signed and kept in the home folder, outside of the ledger.

Whoever can write to the ledger can also write a new chain whose digests and head row fit. The head
that was seen here before tells such a chain from the one that only grew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from qafila import settings
from qafila.errors import Unavailable
from qafila.home_keys import ensure_key, read_key
from qafila.ledger.chain import SeenHead
from qafila.ledger.ledger import Connection
from qafila.seal import Seal, seal, seal_problem
from qafila.sql import statement
from qafila.whole_file import write_whole

_LOG = logging.getLogger(__name__)
_PURPOSE = "evidence-head"


@dataclass(frozen=True)
class KeptHead:
    """A head as it was kept: the last row's number and digest, and the file that holds them."""

    number: int
    digest: str
    path: Path


def head_path(ledger: Connection) -> Path:
    """Return the file that holds the head of this ledger's chain, one file per ledger."""
    name = hashlib.sha256(_address(ledger).encode()).hexdigest()[:16]
    return settings.home() / "evidence-heads" / f"{name}.json"


def seen_head(ledger: Connection) -> SeenHead | None:
    """Return the head that was last seen here; None where none was kept yet.

    A file that this home did not sign is returned with its ``problem``.
    """
    path = head_path(ledger)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        sealed = Seal(**stored.pop("seal"))
        number, digest = int(stored["number"]), str(stored["digest"])
        key = read_key(_PURPOSE)
        if key is None:
            problem: str | None = "its key is missing"
        elif stored["ledger"] != _address(ledger):
            problem = "it was kept for another ledger"
        else:
            problem = seal_problem(stored, sealed, key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Unavailable) as error:
        number, digest, problem = 0, "", f"it cannot be read ({type(error).__name__})"
    if problem is None:
        return SeenHead(number, digest, str(path))
    return SeenHead(number, digest, str(path), problem)


def keep_head(ledger: Connection) -> KeptHead | None:
    """Sign the head of the chain and keep it in the home folder; return what was kept.

    None, with a warning in the log, where the chain does not hold the head that was kept before or
    where the home cannot be written: the former head stays, and ``check_chain`` reports it. None
    also inside of a transaction, whose rows may still be taken back. Never raises for the home's
    sake: a rollback goes on without it.
    """
    if ledger.info.transaction_status != pq.TransactionStatus.IDLE:
        return None
    head = ledger.execute(statement("report", "evidence_head")).fetchone()
    if head is None or int(head[0]) == 0:
        return None
    path = head_path(ledger)
    try:
        seen = seen_head(ledger)
        if seen is not None and not _holds(ledger, seen):
            _LOG.warning("The chain differs from %s; see: qafila evidence verify", path)
            return None
        kept = KeptHead(int(head[0]), str(head[1]), path)
        body = {
            "ledger": _address(ledger),
            "number": kept.number,
            "digest": kept.digest,
            "seen_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        sealed = seal(body, ensure_key(_PURPOSE))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        write_whole(path, json.dumps({**body, "seal": asdict(sealed)}, indent=2) + "\n")
        path.chmod(0o600)
    except (OSError, Unavailable) as error:
        _LOG.warning("The head of the evidence chain was not kept in %s: %s", path, error)
        return None
    return kept


def _holds(ledger: Connection, seen: SeenHead) -> bool:
    if seen.problem is not None:
        return False
    key = {"numbers": [seen.number]}
    row = ledger.execute(statement("rollouts", "digests_of"), key).fetchone()
    return row is not None and row[1] == seen.digest


def _address(ledger: Connection) -> str:
    """Return where a ledger is, without user and password; the embedded one has a name."""
    info = ledger.info
    embedded = settings.stack_state().get("postgres", {}).get("ledger_url")
    if embedded:
        with suppress(Exception):
            named = conninfo_to_dict(str(embedded))
            if (named.get("host"), named.get("dbname")) == (info.host, info.dbname):
                return "embedded"
    return f"{info.host}:{info.port}/{info.dbname}"
