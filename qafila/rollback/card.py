"""The rollback card: a sealed file, written before the first weight, to go back without a ledger.

It holds no secret: only the name of the variable, and of the Prefect block, where one is. It is
kept in ``QAFILA_HOME/cards`` and, for a router with a folder, beside the router's own files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qafila import settings
from qafila.errors import BadInput, Refused
from qafila.home_keys import ensure_key, read_key
from qafila.ledger.connections import Lookup, Recorded, open_postgres, recorded_in
from qafila.ledger.ledger import Connection, Generation, identity_if_any
from qafila.routers.port import Router, RouterState
from qafila.seal import Seal, seal, seal_problem
from qafila.stores.pointer_row import Alias, read_alias
from qafila.text.masking import MASK, mask_text
from qafila.whole_file import write_whole
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload

KEY_VARIABLE = "QAFILA_CARD_KEY"
KEY = "rollback-card"
FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What a card says. ``pointer`` is the target's row before the first weight, None without one.

    ``ledger`` is the identity of the ledger that wrote it, None in a card of an earlier version.
    ``files`` is the whole backup of the router's folder, content by file name; empty where it has
    none: then ``state`` is the backup. ``note`` is what the seal does not prove here, if anything.
    """

    workload: Workload
    generation: int
    fingerprint: str
    epoch: int
    state: RouterState
    files: Mapping[str, str]
    connections: Mapping[str, Recorded]
    pointer: Alias | None
    written_at: datetime
    run_id: str | None
    digest: str
    path: Path
    note: str = ""
    ledger: str | None = None

    def find(self, name: str) -> Recorded | None:
        """Return a connection as it was recorded when the card was written."""
        return self.connections.get(name)


def card_path(workload: str) -> Path:
    """Return where this machine keeps the card of a workload."""
    return settings.home() / "cards" / f"{workload}.json"


def write_card(
    ledger: Connection,
    spec: Workload,
    generation: Generation,
    router: Router,
    epoch: int,
    run_id: str | None = None,
) -> Path:
    """Write the card before a rollout or drill gives its first weight; return its path.

    ``epoch`` is that of the lease held. Whole or not at all: temporary file, fsync, rename. The
    newest card of a workload replaces the one before. Sealed with ``card_key``, which is made where
    there is none.

    Raises:
        Refused: a connection that the way back needs was never recorded.
        Unavailable: the router or the target cannot be read now; nobody could go back by this card.
    """
    find = recorded_in(ledger)
    target = spec.corpus.target
    pointer = None
    if isinstance(target, PgvectorTarget):
        with open_postgres(find(target.block), target.block) as database:
            pointer = read_alias(database, spec.name)
    folders = _folders(router)
    body: dict[str, Any] = {
        "card": FORMAT,
        "ledger": identity_if_any(ledger),
        "workload": spec.model_dump(mode="json"),
        "generation": generation.number,
        "fingerprint": generation.fingerprint,
        "epoch": epoch,
        "state": asdict(router.read()),
        "files": dict(_backup(folders)),
        "connections": {c.name: _without_password(c) for c in _connections(spec, find)},
        "pointer": None if pointer is None else asdict(pointer),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": run_id,
    }
    content = {"body": body, "seal": asdict(seal(body, key_to_seal_with()))}
    here = card_path(spec.name)
    for path in (here, *(folder / f"rollback-card-{spec.name}.json" for folder in folders)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=1))
    return here


def card_key() -> str | None:
    """Return the key that seals cards and the spool: the variable's, else this home's, else none.

    Raises:
        Unavailable: the key file cannot be read.
    """
    return os.environ.get(KEY_VARIABLE) or read_key(KEY)


def key_to_seal_with() -> str:
    """Return the key that seals cards and the spool; make this home's where there is none.

    Raises:
        Unavailable: the key file cannot be read.
    """
    return os.environ.get(KEY_VARIABLE) or ensure_key(KEY)


def read_card(path: Path, *, accepted: str | None = None) -> Card:
    """Return a card whose seal holds.

    ``accepted`` is the digest of a card that a person takes without a seal of this home's key: one
    of an earlier version, or of another machine.

    Raises:
        Refused: there is no such file, or its seal does not hold.
        BadInput: it is not a card.
    """
    try:
        content = json.loads(path.read_text())
        body, found = content["body"], Seal(**content["seal"])
    except FileNotFoundError as error:
        raise Refused(
            f"there is no rollback card {path}.",
            kept="all weights.",
            remedy="one lies beside the router's files as rollback-card-WORKLOAD.json: "
            "qafila rollback WORKLOAD --card FILE",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{path} is not a rollback card: {error}") from error
    note = _require_seal(path, body, found, accepted)
    try:
        if body["card"] != FORMAT:
            raise ValueError(f"it is of format {body['card']}, this version reads {FORMAT}")
        return _card(body, found.sha256, path, note)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a card that this version can read: {error}") from error


def _require_seal(path: Path, body: Mapping[str, Any], found: Seal, accepted: str | None) -> str:
    """Return what the seal does not prove, empty where it proves all; refuse what does not hold."""
    if (problem := seal_problem(body, found)) is not None:
        raise Refused(
            f"the seal of {path} does not hold: {problem}.",
            kept="all weights.",
            remedy="use another copy of the card, such as the one in the folder of Envoy's files: "
            "qafila rollback WORKLOAD --card FILE",
        )
    key = card_key()
    problem = seal_problem(body, found, key) if key else "there is no key here to check it with"
    if problem is None:
        return ""
    if accepted == found.sha256:
        return f"accepted by its digest; its seal proves nothing here: {problem}"
    workload = body["workload"]["name"] if isinstance(body.get("workload"), Mapping) else "WORKLOAD"
    raise Refused(
        f"the seal of {path} does not prove who wrote it: {problem}.",
        kept="all weights.",
        remedy=f"where another machine sealed it: set {KEY_VARIABLE} to the content of that "
        f"machine's QAFILA_HOME/keys/{KEY}. Where an earlier version wrote it and you know its "
        f"digest: qafila rollback {workload} --card {path} --accept-digest {found.sha256}",
    )


def _card(body: dict[str, Any], digest: str, path: Path, note: str) -> Card:
    pointer = body["pointer"]
    return Card(
        workload=Workload.model_validate(body["workload"]),
        generation=int(body["generation"]),
        fingerprint=str(body["fingerprint"]),
        epoch=int(body["epoch"]),
        state=RouterState(**body["state"]),
        files=body["files"],
        connections={
            name: Recorded(name, c["kind"], c["settings"], c["has_secret"])
            for name, c in body["connections"].items()
        },
        pointer=None if pointer is None else Alias(**pointer),
        written_at=datetime.fromisoformat(body["written_at"]),
        run_id=body["run_id"],
        digest=digest,
        path=path,
        note=note,
        ledger=body.get("ledger"),
    )


def _folders(router: Router) -> list[Path]:
    """Return the folders whose files are the router's record: one, none, or one a fleet member."""
    members = getattr(router, "members", None) or [router]
    return [Path(d) for m in members if (d := getattr(m, "directory", None)) is not None]


def _backup(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for name in ("cds.json", "rds.json"):
            if (folder / name).is_file():
                yield str(folder / name), (folder / name).read_text()


def _connections(spec: Workload, find: Lookup) -> Iterator[Recorded]:
    """Yield the router's and the target's connections, and those that they name in turn."""
    named = [*_words(spec.service.router.model_dump()), *_words(spec.corpus.target.model_dump())]
    seen: set[str] = set()
    while named:
        name = named.pop()
        if name in seen:
            continue
        seen.add(name)
        found = find(name)
        if found is not None:
            named += _words(found.settings)
            yield found


def _words(value: object) -> Iterator[str]:
    """Yield every text in settings that could be the name of a connection."""
    if isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,99}", value):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _words(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _words(inner)


def _without_password(found: Recorded) -> dict[str, Any]:
    """Return a connection for the card; an address loses a secret that should not be in it."""
    kept, secret = dict(found.settings), found.has_secret
    for field, value in kept.items():
        if isinstance(value, str):
            bare = mask_text(value).replace(f":{MASK}@", "@")
            secret = secret or bare != value
            kept[field] = bare
    return {
        "kind": found.kind,
        "settings": kept,
        "has_secret": secret,
        "secret_in": f"variable {found.variable}, block {found.kind}/{found.name}"
        if secret
        else None,
    }
