"""The static model inside the wordllama package: in process, offline, no account."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODEL = "wordllama-l2_supercat"
_BATCH, _BATCH_CHARACTERS = 64, 20_000


class WordLlamaEmbedder:
    """Embeds texts as unit vectors; thread-safe.

    A text without one token that the model knows gives a zero vector, never NaN.
    """

    model = MODEL

    def __init__(self, dimensions: int = 256, *, lowercase: bool = True) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wordllama

            # its own default looks in the wrong folder and would reach for the network
            folder = Path(wordllama.__file__).parent
            self._model: Any = wordllama.WordLlama.load(
                cache_dir=folder, disable_download=True, trunc_dim=dimensions
            )
        self.dimensions = dimensions
        self.lowercase = lowercase

    @property
    def revision(self) -> str:
        """Return what, beside the model's name, decides its vectors."""
        from importlib.metadata import version

        return f"{version('wordllama')}{'+lower' if self.lowercase else ''}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array of shape (texts, dimensions): rows of length 1, or all zero."""
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        prepared = [t.lower() for t in texts] if self.lowercase else list(texts)
        # a batch is padded to its longest text, so texts of like length go together
        order = np.argsort([len(t) for t in prepared], kind="stable")
        raw = np.empty((len(prepared), self.dimensions), np.float32)
        start = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            while start < len(order):
                # a batch is held in full width, so long texts go in smaller ones
                longest = len(prepared[order[min(start + _BATCH, len(order)) - 1]])
                some = order[
                    start : start + max(1, min(_BATCH, _BATCH_CHARACTERS // (longest + 1)))
                ]
                raw[some] = self._model.embed([prepared[i] for i in some], batch_size=len(some))
                start += len(some)
        np.nan_to_num(raw, copy=False)
        lengths = np.linalg.norm(raw, axis=1, keepdims=True)
        unit: NDArray[np.float32] = np.divide(
            raw, lengths, out=np.zeros_like(raw), where=lengths > 0
        )
        return unit

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens the model reads in these texts."""
        prepared = [t.lower() for t in texts] if self.lowercase else list(texts)
        encoded = self._model.tokenizer.encode_batch(prepared, add_special_tokens=False)
        return sum(sum(e.attention_mask) for e in encoded)  # padding is no token
