"""The small real model of the demo, served in a thread; for tests, where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qafila.demo import language_model
from tests.support.openai_service import in_a_thread


@contextmanager
def local_model(keep_tokens: int | None = None) -> Iterator[str]:
    """Serve the real model in a thread for the block; gives its address."""
    model = language_model.SmallModel()
    try:
        with in_a_thread(language_model.application(model, keep_tokens)) as url:
            yield url
    finally:
        model.close()
