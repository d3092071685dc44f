"""The world around a storm: an application that writes all the time, and the truth at the end."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import psycopg

from benchmarks.setting import WORKLOAD, Setting
from benchmarks.storm_victims import AWAY
from qafila.endpoints import embedder_of
from qafila.ledger.ledger import Generation
from qafila.stores.port import Place
from qafila.workload_file import read_file


class Application:
    """Inserts, updates and deletes at random until it is told to stop; waits out every stop."""

    def __init__(self, here: Setting, writes_per_s: float, seed: int) -> None:
        self._here, self._pause = here, 1.0 / writes_per_s
        self.writes = 0
        self._chance = random.Random(seed + 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Application:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._here.source() as source:
                    while not self._stop.wait(self._pause):
                        self._write(source)
                        self.writes += 1
            except AWAY:
                self._stop.wait(0.1)

    def _write(self, source: psycopg.Connection[Any]) -> None:
        n, kind = self._chance.randrange(10**8), self._chance.random()
        word = f"{n:x}"
        if kind < 0.3:
            source.execute(
                "INSERT INTO operation (operation_id, title, body) VALUES (%s, %s, %s)"
                " ON CONFLICT DO NOTHING",
                [f"op-{self._chance.randrange(10**8):08}", f"New {word}", f"written live {word}"],
            )
        elif kind < 0.7:
            source.execute(
                "UPDATE operation SET body = %s WHERE operation_id = (SELECT operation_id"
                " FROM operation WHERE operation_id >= %s ORDER BY operation_id LIMIT 1)",
                [f"changed live {word}", self._some_key()],
            )
        elif kind < 0.9:
            source.execute(
                "DELETE FROM operation WHERE operation_id = (SELECT operation_id FROM operation"
                " WHERE operation_id >= %s ORDER BY operation_id LIMIT 1)",
                [self._some_key()],
            )
        else:  # several at once, and sometimes in vain
            with suppress(_Changed), source.transaction():
                for _ in range(5):
                    source.execute(
                        "UPDATE operation SET title = %s WHERE operation_id = (SELECT operation_id"
                        " FROM operation WHERE operation_id >= %s ORDER BY operation_id LIMIT 1)",
                        [f"Renamed {word}", self._some_key()],
                    )
                if kind > 0.97:
                    raise _Changed

    def _some_key(self) -> str:
        return f"op-{self._chance.randrange(70_000):08}"


class _Changed(Exception):
    """The application changed its mind."""


def compare(here: Setting, generation: Generation) -> tuple[dict[str, int], int]:
    """Compare source and target row by row; return the figures and the number of rows.

    Every figure is 0 when nothing went wrong. ``vectors_wrong``: rows whose vector is not the one
    that the model makes of the row's text in the source.
    """
    expected, texts = {}, {}
    with here.source() as source:
        rows = source.execute("SELECT operation_id, title, body FROM operation").fetchall()
        for key, title, body in rows:
            text = "\n".join(t for t in (title, body) if t)
            expected[key] = hashlib.sha256(text.encode()).digest()
            texts[key] = text
    place = Place(generation.workload, generation.number, generation.fingerprint, 256)
    seen: dict[str, int] = {}
    stale = extra = mixed = 0
    with here.target() as target:
        rows = target.execute(
            "SELECT source_key, text_digest, fingerprint, embedding::real[]"
            f" FROM qafila.{place.name}"  # type: ignore[arg-type]
        ).fetchall()
    for key, digest, fingerprint, _ in rows:
        seen[key] = seen.get(key, 0) + 1
        extra += key not in expected
        stale += key in expected and bytes(digest) != expected[key]
        mixed += fingerprint != place.fingerprint
    figures = {
        "missing": sum(key not in seen for key in expected),
        "duplicates": sum(times - 1 for times in seen.values()),
        "stale": stale + extra,
        "fingerprint_mixed": mixed,
        "vectors_wrong": vectors_wrong({key: vector for key, _, _, vector in rows}, texts),
    }
    return figures, len(expected)


def vectors_wrong(stored: Mapping[str, Sequence[float]], texts: Mapping[str, str]) -> int:
    """Return how many stored vectors are not what the model makes of the source's text now."""
    embedder = embedder_of(read_file(WORKLOAD).corpus.embedder)  # type: ignore[arg-type]
    keys = [key for key in stored if key in texts]
    wrong = 0
    for first in range(0, len(keys), 1000):
        some = keys[first : first + 1000]
        expected = embedder.embed([texts[key] for key in some])
        found = np.array([stored[key] for key in some], dtype=np.float32)
        # float32 all the way; a batch of another size may round the last bits differently
        wrong += int((np.abs(expected - found).max(axis=1) > 1e-4).sum())
    return wrong
