"""What a sample of real rows says of all of them, and how far it may be off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from qafila.sources.modes import Mode

_RESAMPLES = 2000
_MEASURED = ("rows", "chunks", "tokens", "seconds")
TOKENS, REQUESTS, SOURCE = (
    "the account's tokens a minute",
    "the account's requests a minute",
    "reading the source",
)
Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Portion:
    """The part of one sampled batch whose vectors come the same way.

    A row counts where its costliest chunk does, so that the rows of all portions are the batch.
    ``tokens`` is what the model has to read, 0 where it need not; ``seconds`` is wall time on one
    worker. ``reason`` says why these rows go this way.
    """

    mode: Mode
    rows: int
    chunks: int
    tokens: int
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """What embedding a sample of real rows showed.

    ``batch_seconds`` are wall seconds of equal batches of ``batch_rows`` rows on one worker;
    ``batches`` are the same batches, each in its portions.
    """

    rows: int
    chunks: int
    tokens: int
    characters: int
    batch_rows: int
    batch_seconds: Sequence[float]
    batches: Sequence[Sequence[Portion]] = ()

    @classmethod
    def of(cls, batches: Sequence[Sequence[Portion]], characters: int = 0) -> Sample:
        """Return the sample that these batches make."""
        portions = [p for batch in batches for p in batch]
        return cls(
            rows=sum(p.rows for p in portions),
            chunks=sum(p.chunks for p in portions),
            tokens=sum(p.tokens for p in portions),
            characters=characters,
            batch_rows=max((sum(p.rows for p in b) for b in batches), default=1),
            batch_seconds=tuple(sum(p.seconds for p in b) for b in batches),
            batches=tuple(tuple(b) for b in batches),
        )


@dataclass(frozen=True)
class Limits:
    """What no number of workers goes beyond; None: no limit. Rates of the account and the source.

    ``texts_per_request`` is how many texts share one request.
    """

    tokens_per_minute: float | None = None
    requests_per_minute: float | None = None
    texts_per_request: int = 1
    source_rows_per_s: float | None = None


@dataclass(frozen=True)
class Share:
    """What goes one way, of all rows: money in the plan's currency, time in seconds."""

    mode: Mode
    rows: int
    chunks: int
    tokens: int
    cost_p50: float
    cost_p95: float
    seconds_p50: float
    seconds_p95: float
    reason: str = ""


class Spread:
    """Totals for all rows: as the sample has them, and as it might have had them.

    The batches of the sample are drawn again with replacement (the bootstrap: Efron and Tibshirani
    1993), each draw is scaled to all rows, and its distance from the sample widened by the root of
    n / (n - 1), since n batches drawn from n vary too little. A sample that is not split by mode
    counts as embedded, and of its spread only the slowest batch is known.
    """

    def __init__(
        self, rows: int, workers: int, sample: Sample, price: float, limits: Limits, seed: int
    ) -> None:
        self._sample, self._price = sample, price
        if sample.batches:
            self._modes = [m for m in Mode if any(p.mode is m for b in sample.batches for p in b)]
            draws = _redrawn(rows, sample.batches, self._modes, seed)
        else:
            self._modes = [Mode.RE_EMBED]
            draws = _unsplit(rows, sample)
        self._draws = {**draws, "seconds": draws["seconds"] / max(1, workers)}
        self._bounds = self._bounds_of(limits, rows)

    @property
    def chunks(self) -> float:
        return float(self._draws["chunks"][0].sum())

    @property
    def tokens(self) -> tuple[float, float]:
        return _p50_p95(self._draws["tokens"].sum(1))

    @property
    def cost(self) -> tuple[float, float]:
        return _p50_p95(self._draws["tokens"].sum(1) * self._price)

    @property
    def seconds(self) -> tuple[float, float]:
        return _p50_p95(np.max([self._draws["seconds"].sum(1), *self._bounds.values()], axis=0))

    @property
    def limited_by(self) -> str:
        """Return what the duration depends on when it is not the workers; else nothing."""
        name, bound = max(self._bounds.items(), key=lambda item: float(item[1][0]))
        return name if bound[0] > self._draws["seconds"][0].sum() else ""

    def shares(self) -> tuple[Share, ...]:
        """Return what goes each way, in the order of the ways; nothing when it was not sampled."""
        return tuple(
            self._share_of(n, mode) for n, mode in enumerate(self._modes) if self._sample.batches
        )

    def _share_of(self, column: int, mode: Mode) -> Share:
        measured = {what: self._draws[what][:, column] for what in _MEASURED}
        seconds = measured["seconds"]
        if mode is Mode.RE_EMBED:
            seconds = np.max([seconds, self._bounds[TOKENS], self._bounds[REQUESTS]], axis=0)
        cost, time = _p50_p95(measured["tokens"] * self._price), _p50_p95(seconds)
        reasons = [p.reason for b in self._sample.batches for p in b if p.mode is mode]
        return Share(
            mode=mode,
            rows=round(measured["rows"][0]),
            chunks=round(measured["chunks"][0]),
            tokens=round(measured["tokens"][0]),
            cost_p50=cost[0],
            cost_p95=cost[1],
            seconds_p50=time[0],
            seconds_p95=time[1],
            reason=max(reasons, key=reasons.count),
        )

    def _bounds_of(self, limits: Limits, rows: int) -> dict[str, Draws]:
        """Return the seconds that each limit takes at least, for every draw."""
        tokens = self._draws["tokens"].sum(1)
        asked = [n for n, mode in enumerate(self._modes) if mode is Mode.RE_EMBED]
        requests = self._draws["chunks"][:, asked].sum(1) / max(1, limits.texts_per_request)
        return {
            TOKENS: tokens * _seconds_each(limits.tokens_per_minute, 60),
            REQUESTS: requests * _seconds_each(limits.requests_per_minute, 60),
            SOURCE: np.full_like(tokens, rows * _seconds_each(limits.source_rows_per_s, 1)),
        }


def _seconds_each(rate: float | None, unit_seconds: float) -> float:
    return unit_seconds / rate if rate else 0.0


def _redrawn(
    rows: int, batches: Sequence[Sequence[Portion]], modes: Sequence[Mode], seed: int
) -> dict[str, Draws]:
    """Return totals of shape (1 + resamples, modes) for all rows; the first is the sample's."""
    count = len(batches)
    drawn = np.random.default_rng(seed).integers(count, size=(_RESAMPLES, count))
    sizes = np.array([sum(p.rows for p in b) for b in batches], np.float64)
    wider = np.sqrt(count / (count - 1)) if count > 1 else 1.0
    totals = {}
    for what in _MEASURED:
        held = np.array(
            [[sum(getattr(p, what) for p in b if p.mode is m) for m in modes] for b in batches],
            np.float64,
        )
        sample = held.sum(0) * (rows / max(sizes.sum(), 1.0))
        again = held[drawn].sum(1) * (rows / np.maximum(sizes[drawn].sum(1), 1.0))[:, None]
        totals[what] = np.vstack([sample, np.maximum(sample + (again - sample) * wider, 0.0)])
    return totals


def _unsplit(rows: int, sample: Sample) -> dict[str, Draws]:
    share = rows / sample.rows if sample.rows else 0.0
    timings = sample.batch_seconds or (0.0,)
    batches = rows / sample.batch_rows
    totals = {
        what: np.full((2, 1), getattr(sample, what) * share)
        for what in ("rows", "chunks", "tokens")
    }
    return {**totals, "seconds": batches * np.array([[median(timings)], [max(timings)]])}


def _p50_p95(draws: Draws) -> tuple[float, float]:
    """Return the sample's own value, and the 95th percentile of the draws, never below it."""
    return float(draws[0]), max(float(draws[0]), float(np.percentile(draws[1:], 95)))
