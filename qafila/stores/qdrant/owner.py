"""Which ledger owns a generation in Qdrant: a point of its own among the generation's checkpoints.

It is created under a condition that no point meets, so the first ledger stays whoever comes later,
and it goes with the checkpoints when the generation is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant, require_completed
from qafila.ledger.ownership import SCRATCH_FROM, TargetRecord, why_foreign
from qafila.stores.pointer_row import foreign_generation
from qafila.stores.port import Place
from qafila.stores.qdrant.alias import fence_aliases, list_aliases, read_alias
from qafila.stores.qdrant.marks import OWNER, Marks, checkpoint_collection, no_point


def take_ownership(client: QdrantClient, place: Place) -> None:
    """Own the generation in the name of the place's ledger, before anything of it is changed.

    A second time it changes nothing. Without a claimant there is no ledger to ask for.

    Raises:
        Refused: the generation, or one that an alias of ours names, belongs to another ledger.
    """
    problems = ownership_problems(client, place)
    if problems:
        raise foreign_generation(place.workload, problems[0])
    if place.claimant is None or place.generation >= SCRATCH_FROM:
        return
    with asking_qdrant(f"owning {place.name}"):
        if not client.collection_exists(checkpoint_collection(place.name)):
            return
    _put_owner(client, place, place.claimant.ledger)
    if owner_of(client, place) != place.claimant.ledger:
        raise foreign_generation(place.workload, "another ledger has just begun it")


def _put_owner(client: QdrantClient, place: Place, ledger: str) -> None:
    """Write who owns a generation, where nobody does."""
    doing = f"owning {place.name}"
    payload = {"ledger": ledger, "fingerprint": place.fingerprint}
    point = models.PointStruct(id=OWNER, vector=[1.0], payload={"epoch": 0, **payload})
    with asking_qdrant(doing):
        put = client.upsert(
            checkpoint_collection(place.name),
            [point],
            wait=True,
            ordering=models.WriteOrdering.STRONG,
            update_filter=no_point(),
        )
        require_completed(put, doing)


def ownership_problems(client: QdrantClient, place: Place) -> list[str]:
    """Return why ``take_ownership`` would refuse. Changes nothing."""
    if place.claimant is None or place.generation >= SCRATCH_FROM:
        return []
    pointer = read_alias(client, place.workload)
    roles = pointer.roles() if pointer is not None else {}
    places = {n: _at(place, n) for n in {place.generation, *roles}}
    owners = {n: owner for n, p in places.items() if (owner := owner_of(client, p)) is not None}
    found = TargetRecord(owners, roles, begun_with(client, place))
    why = why_foreign(place.claimant, place.generation, place.fingerprint, found)
    return [] if why is None else [why]


def owner_of(client: QdrantClient, place: Place) -> str | None:
    """Return the ledger that owns a generation; None where nobody does."""
    collection = checkpoint_collection(place.name)
    with asking_qdrant(f"asking who owns {place.name}"):
        if not client.collection_exists(collection):
            return None
        majority = models.ReadConsistencyType.MAJORITY
        points = client.retrieve(collection, [OWNER], with_payload=True, consistency=majority)
    return str((points[0].payload or {})["ledger"]) if points else None


def begun_with(client: QdrantClient, place: Place) -> set[str]:
    """Return the fingerprints that a generation was begun with; none where nothing is there."""
    found: set[str] = set()
    with asking_qdrant(f"looking at {place.name}"):
        for name in (checkpoint_collection(place.name), place.name):
            if not found and client.collection_exists(name):
                points, _ = client.scroll(name, limit=100, with_payload=["fingerprint"])
                found |= {str(p.payload["fingerprint"]) for p in points if p.payload}
    return found


def generations_in(client: QdrantClient, workload: str) -> list[int]:
    """Return every generation of a workload that has a collection; scratch copies apart."""
    start = re.escape(Place(workload, 0, "", 0).name.removesuffix("0"))
    with asking_qdrant(f"looking for collections of {workload}"):
        names = [c.name for c in client.get_collections().collections]
    names += list_aliases(client).values()
    found = (re.fullmatch(rf"{start}(\d+)(_checkpoint)?", name) for name in names)
    return sorted({n for one in found if one and (n := int(one[1])) < SCRATCH_FROM})


def _at(place: Place, generation: int) -> Place:
    return Place(place.workload, generation, place.fingerprint, place.dimensions)


class QdrantOwners:
    """Who owns the generations of one workload in Qdrant; the caller owns the client."""

    def __init__(self, client: QdrantClient, workload: str) -> None:
        self._client = client
        self._workload = workload

    def generations(self) -> list[int]:
        return generations_in(self._client, self._workload)

    def owner(self, place: Place) -> str | None:
        return owner_of(self._client, place)

    def begun(self, place: Place) -> set[str]:
        return begun_with(self._client, place)

    def hand_over(self, places: Sequence[Place], ledger: str, epoch: int) -> None:
        """Make the checkpoints of each anew with the new owner; a writer of before finds none."""
        for place in places:
            marks = Marks(self._client, place)
            with asking_qdrant(f"handing {place.name} over"):
                self._client.delete_collection(marks.collection)
            marks.prepare()
            _put_owner(self._client, place, ledger)
        fence_aliases(self._client, self._workload, epoch)
