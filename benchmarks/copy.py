"""Measure what copying vectors costs that an index holds already, and that nothing changes.

    qafila bench copy --rows 100000

Into pgvector: ``ratio`` is against a bare COPY of the same rows (benchmarks/copy_pgvector.py). Into
Qdrant: ``qdrant`` holds the ratios against a bare batched upsert (benchmarks/copy_qdrant.py).
``digests_equal`` is true when every row of every copy is the same as in its source.
"""

from __future__ import annotations

import argparse

from benchmarks import copy_pgvector, copy_qdrant, machine


def main() -> None:
    """Measure both, each in servers of its own."""
    parser = argparse.ArgumentParser(prog="qafila bench copy", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--into", choices=["pgvector", "qdrant", "both"], default="both")
    given = parser.parse_args()
    figures: dict[str, object] = {}
    raw: dict[str, list[float]] = {}
    notes: dict[str, str] = {}
    equal = True
    for name, part in (("pgvector", copy_pgvector), ("qdrant", copy_qdrant)):
        if given.into not in (name, "both"):
            continue
        found = part.measure(given.rows, given.seed)
        equal = equal and found.pop("digests_equal")
        raw |= {f"{name}_{k}": v for k, v in found.pop("raw_seconds").items()}
        notes |= {f"{name}_{k}": v for k, v in found.pop("notes").items()}
        figures |= found if name == "pgvector" else {name: found}
    figures["digests_equal"] = equal
    machine.show("copy", figures, seed=given.seed, raw_seconds=raw, notes=notes)


if __name__ == "__main__":
    main()
