"""Which collection serves, in Qdrant: three aliases a workload, all switched in one call.

A service asks the alias ``chunk_<workload>_serving``, and a candidate
``chunk_<workload>_trial``; ``_previous`` remembers the way back. Qdrant changes any number of
aliases in one step, so no reader ever sees half a switch.

Qdrant has no condition on an alias. The epoch is therefore kept in a point beside; a conditional
update only ever raises it, and a writer with an older epoch is refused before it touches an alias.
What that leaves open: a switch that was on its way at the very moment a newer epoch took over can
land after the newer one. Every function here reads the aliases back after switching, so the newer
writer sees it, unless the old request was under way for longer than its own two; reading again, as
a watchdog does, sees that too.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant, require_completed
from qafila.errors import BackfillHalted, Refused, StaleEpoch
from qafila.stores.pointer_row import Alias, named_generation
from qafila.stores.port import Place

_POINT = 0  # the only point of a workload's own collection
_ROLES = ("serving", "trial", "previous")
_KEPT = "all aliases as they were."


def alias_name(workload: str, role: str = "serving") -> str:
    """Return the name that a service searches under."""
    return f"chunk_{_safe(workload)}_{role}"


def list_aliases(client: QdrantClient) -> dict[str, str]:
    """Return every alias of the server with the collection that it points at."""
    with asking_qdrant("listing aliases", kept=_KEPT):
        return {a.alias_name: a.collection_name for a in client.get_aliases().aliases}


def read_alias(client: QdrantClient, workload: str) -> Alias | None:
    """Return what serves, is on trial and came before; None when nothing was ever set."""
    all_aliases, epoch = list_aliases(client), _read_epoch(client, workload)
    found = {
        role: _generation(workload, all_aliases[name])
        for role in _ROLES
        if (name := alias_name(workload, role)) in all_aliases
    }
    if not found and epoch is None:
        return None
    return Alias(
        workload, found.get("serving"), found.get("trial"), found.get("previous"), epoch or 0
    )


def set_trial(client: QdrantClient, workload: str, generation: int, epoch: int) -> Alias:
    """Put a generation on trial; what serves stays. Idempotent by workload and generation.

    ``epoch`` is the workload's lease epoch, or 0 when no lease is held; the kept one only rises.

    Raises:
        Refused: a newer generation serves or is on trial, or there is no such generation.
    """
    _require_collection(client, workload, generation)
    now = read_alias(client, workload)
    if now is not None and generation < max(now.generation or 0, now.trial or 0):
        raise Refused(
            f"generation {generation} of {workload} cannot go on trial: "
            f"generation {now.generation} serves and {now.trial} is on trial.",
            kept=_KEPT,
            remedy=f"qafila status {workload}",
        )
    _raise_epoch(client, workload, epoch)
    served, before = (now.generation, now.previous) if now else (None, None)
    return _switch(client, workload, served, generation, before)


def move_alias(client: QdrantClient, workload: str, generation: int, epoch: int) -> Alias:
    """Make a generation the one that serves and end its trial. Idempotent by generation.

    Raises:
        StaleEpoch: a newer epoch has moved the aliases already.
        Refused: there is no such generation.
    """
    _require_collection(client, workload, generation)
    _require_raised(client, workload, epoch)
    now = read_alias(client, workload)
    served, before = (now.generation, now.previous) if now else (None, None)
    previous = before if served == generation else served
    return _switch(client, workload, generation, None, previous)


def return_alias(
    client: QdrantClient, workload: str, generations: Collection[int], epoch: int
) -> Alias | None:
    """Let what served before serve again, and end the trial; None when nothing was ever set.

    Only an alias that points at one of ``generations`` goes back; a second call changes nothing.

    Raises:
        StaleEpoch: a newer epoch has moved the aliases already.
    """
    now = read_alias(client, workload)
    if now is None:
        return None
    _require_raised(client, workload, epoch)
    if now.generation in generations:
        return _switch(client, workload, now.previous, None, None)
    return _switch(client, workload, now.generation, None, now.previous)


def end_trial(client: QdrantClient, workload: str, generation: int) -> None:
    """Take a generation off trial, before it is emptied; what serves stays. Idempotent."""
    now = read_alias(client, workload)
    if now is not None and now.trial == generation:
        _switch(client, workload, now.generation, None, now.previous)


def forget_previous(client: QdrantClient, workload: str, generation: int) -> None:
    """Give up the way back to a generation, before it is dropped. Idempotent."""
    now = read_alias(client, workload)
    if now is not None and now.previous == generation:
        _switch(client, workload, now.generation, now.trial, None)


def fence_aliases(client: QdrantClient, workload: str, epoch: int) -> None:
    """Raise the kept epoch and end the trial, where the workload has aliases."""
    now = read_alias(client, workload)
    if now is not None:
        _raise_epoch(client, workload, epoch)
        _switch(client, workload, now.generation, None, now.previous)


def require_no_alias(client: QdrantClient, place: Place) -> None:
    """Refuse to go on when an alias names the collection of a generation.

    Raises:
        Refused: one does, whoever made it; names it.
    """
    names = sorted(n for n, there in list_aliases(client).items() if there == place.name)
    if names:
        raise named_generation(
            place.workload, place.generation, f"the alias {', '.join(names)} names {place.name}"
        )


def _switch(
    client: QdrantClient,
    workload: str,
    serving: int | None,
    trial: int | None,
    previous: int | None,
) -> Alias:
    """Bring all three aliases to what is wanted in one call, and see that they are there."""
    there = list_aliases(client)
    changes: list[models.AliasOperations] = []
    for role, generation in zip(_ROLES, (serving, trial, previous), strict=True):
        name = alias_name(workload, role)
        wanted = None if generation is None else _collection(workload, generation)
        if there.get(name) == wanted:
            continue
        if name in there:
            gone = models.DeleteAlias(alias_name=name)
            changes.append(models.DeleteAliasOperation(delete_alias=gone))
        if wanted is not None:
            new = models.CreateAlias(alias_name=name, collection_name=wanted)
            changes.append(models.CreateAliasOperation(create_alias=new))
    if changes:
        with asking_qdrant(f"switching the aliases of {workload}", kept=_KEPT):
            client.update_collection_aliases(changes)
    found = read_alias(client, workload)
    assert found is not None
    if (found.generation, found.trial, found.previous) != (serving, trial, previous):
        raise BackfillHalted(
            f"the aliases of {workload} are not where they were moved: {found.generation} serves, "
            f"{found.trial} is on trial.",
            kept="what another writer, or the server, made of them.",
            remedy=f"qafila status {workload}",
        )
    return found


def _require_collection(client: QdrantClient, workload: str, generation: int) -> None:
    name = _collection(workload, generation)
    with asking_qdrant(f"looking for {name}", kept=_KEPT):
        there = client.collection_exists(name)
    if not there:
        raise Refused(
            f"there is no collection {name} to point at.",
            kept=_KEPT,
            remedy=f"qafila run embedding-backfill {workload}",
        )


def _require_raised(client: QdrantClient, workload: str, epoch: int) -> None:
    if _raise_epoch(client, workload, epoch) > epoch:
        raise StaleEpoch(
            f"the aliases of {workload} were moved by a newer epoch than {epoch}.", kept=_KEPT
        )


def _raise_epoch(client: QdrantClient, workload: str, epoch: int) -> int:
    """Raise the kept epoch, never lower it; return what it is afterwards."""
    doing = f"raising the alias epoch of {workload}"
    with asking_qdrant(doing, kept=_KEPT):
        if not client.collection_exists(_beside(workload)):
            client.create_collection(
                _beside(workload),
                vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT),
                shard_number=1,
            )
        lower = models.FieldCondition(key="epoch", range=models.Range(lt=epoch))
        point = models.PointStruct(id=_POINT, vector=[1.0], payload={"epoch": epoch})
        result = client.upsert(
            _beside(workload),
            [point],
            wait=True,
            ordering=models.WriteOrdering.STRONG,
            update_filter=models.Filter(must=[lower]),
        )
        require_completed(result, doing, kept=_KEPT)
    now = _read_epoch(client, workload)
    assert now is not None
    return now


def _read_epoch(client: QdrantClient, workload: str) -> int | None:
    with asking_qdrant(f"reading the alias epoch of {workload}", kept=_KEPT):
        if not client.collection_exists(_beside(workload)):
            return None
        points = client.retrieve(
            _beside(workload),
            [_POINT],
            with_payload=True,
            consistency=models.ReadConsistencyType.MAJORITY,
        )
    return int((points[0].payload or {})["epoch"]) if points else None


def _collection(workload: str, generation: int) -> str:
    return f"chunk_{_safe(workload)}_g{generation}"


def _generation(workload: str, collection: str) -> int | None:
    found = re.fullmatch(rf"chunk_{re.escape(_safe(workload))}_g(\d+)", collection)
    return int(found[1]) if found else None


def _safe(workload: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", workload)


def _beside(workload: str) -> str:
    return f"chunk_{_safe(workload)}_epoch"
