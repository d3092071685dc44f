"""Simulated rollouts, many at once: tenants who are not alike, a split by hash, and the judge.

The judge is ``qafila.rollout.judge`` itself: its functions take arrays, and ``Judges`` calls the
same ones in the same order for all rollouts (a unit test compares the two).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qafila.rollout.judge.e_values import MOST_LOG, NOTHING, gains, log_e, odds
from qafila.rollout.judge.evidence import HARM_POINTS, fine_points
from qafila.rollout.judge.guardrails import Limits
from qafila.rollout.judge.tenants import (
    MOST_TENANTS,
    own_rate,
    prior,
    spread_of,
    wary_weight,
    worse_than_before,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

LIMITS = replace(Limits(), blast_radius=10**9)
ALLOWED = 2 * LIMITS.error_rate  # errors, and empty answers, of which a world has none
BASE = 0.02  # mean bad rate
TENANTS = 400
LOOKS = 60
BAKE_LOOKS = 10  # of the A/A bake
_LIVELY = 0.045  # log(.8/.998) / log(.2/.002) of the answers, rounded down
_LIKENESS = 49.0  # Beta(1, 49): a tenant's bad rate varies as much as its mean


@dataclass(frozen=True)
class World:
    """What a rollout meets; ``tenants`` False: every request is split by itself, users are alike.

    ``weights`` has one weight a look. Tenant of rank k sends a share ∝ 1/k of the requests.
    ``one_wrong``: the canary is bad for one tenant only (which is on it), with that chance.
    """

    requests: int
    weights: tuple[float, ...]
    tenants: bool
    ratio: float = 1.0
    one_wrong: float = 0.0


@dataclass(frozen=True)
class Look:
    """One look of each rollout: requests and bad answers (rollouts, tenants), by arm."""

    candidate: Ints
    baseline: Ints
    candidate_bad: Ints
    baseline_bad: Ints


@dataclass(frozen=True)
class Past:
    """The A/A bake: requests and bad answers (rollouts, tenants)."""

    requests: Ints
    bad: Ints


@dataclass
class Crowd:
    """The tenants of some rollouts; arms by a hash that is fixed for the whole rollout."""

    world: World
    random: np.random.Generator
    rollouts: int

    def __post_init__(self) -> None:
        number = TENANTS if self.world.tenants else 1
        volume = 1.0 / np.arange(1, number + 1)
        self.volume = volume / volume.sum()
        shape = (self.rollouts, number)
        self.hash = self.random.random(shape)
        like = _LIKENESS + 1
        self.rate = (
            self.random.beta(BASE * like, (1 - BASE) * like, shape)
            if self.world.tenants
            else np.full(shape, BASE)
        )
        self.harm = np.minimum(1.0, self.rate * self.world.ratio)
        if self.world.one_wrong:
            # The tenant of middle rank that is on the canary from the first look to the last
            there = self.hash < min(self.world.weights)
            rank = np.abs(np.arange(number) - 40)
            self.victim = np.where(there, rank, 10**6).argmin(axis=1)
            each = np.arange(self.rollouts)
            self.harm[each, self.victim] = self.world.one_wrong

    def bake(self) -> Past:
        """Return the A/A bake: every tenant is served by the baseline."""
        total = self.world.requests * BAKE_LOOKS
        requests = self.random.multinomial(total, self.volume, size=self.rollouts)
        return Past(requests, self.random.binomial(requests, self.rate))

    def looks(self) -> Iterator[tuple[Ints, Look]]:
        """Yield look after look of the rollouts that ``keep`` left, with their numbers."""
        self.live = np.arange(self.rollouts)
        for weight in self.world.weights:
            live = self.live
            yield live, self._sticky(live, weight) if self.world.tenants else self._alike(weight)

    def keep(self, still: Flags) -> None:
        """Go on only with those of the last look's rollouts."""
        self.live = self.live[still]

    def _sticky(self, live: Ints, weight: float) -> Look:
        sent = self.random.multinomial(self.world.requests, self.volume, size=len(live))
        there = self.hash[live] < weight
        bad = self.random.binomial(sent, np.where(there, self.harm[live], self.rate[live]))
        return Look(sent * there, sent * ~there, bad * there, bad * ~there)

    def _alike(self, weight: float) -> Look:
        total = self.world.requests
        candidate = self.random.binomial(total, weight, (len(self.live), 1))
        return Look(
            candidate,
            total - candidate,
            self.random.binomial(candidate, min(1.0, BASE * self.world.ratio)),
            self.random.binomial(total - candidate, BASE),
        )


class Judges:
    """The judge of each rollout: what ``analysis.update`` and ``e_values`` do, for all at once."""

    def __init__(self, past: Past, *, named: bool) -> None:
        self.named, self.past = named, past
        self.rate, self.weight = prior(past.requests, past.bad)
        self.mean, self.variance = own_rate(past.requests, past.bad, self.rate, self.weight)
        self.wary = wary_weight(past.bad, self.rate, self.weight)
        rollouts = len(past.requests)
        self.harm = np.zeros((rollouts, len(NOTHING)))
        self.fine = np.zeros_like(self.harm)
        self.spread = np.zeros(rollouts)
        self.candidate = np.zeros(past.requests.shape)
        self.baseline = np.zeros_like(self.candidate)
        self.judged = np.zeros_like(self.candidate)
        self.wrong = np.zeros_like(self.candidate)

    def add(self, live: Ints, look: Look) -> None:
        """Add one look to the rollouts ``live``."""
        y, z = look.candidate_bad.sum(axis=1), look.baseline_bad.sum(axis=1)
        on_c, on_b = look.candidate.sum(axis=1), look.baseline.sum(axis=1)
        if self.named:
            mean = self.mean[live]
            expected = (look.candidate * mean).sum(axis=1)
            share = expected / (expected + (look.baseline * mean).sum(axis=1))
            self.candidate[live] += look.candidate
            self.baseline[live] += look.baseline
            calm = z <= 0.1 * on_b
            self.judged[live] += look.candidate * calm[:, None]
            self.wrong[live] += look.candidate_bad * calm[:, None]
        else:
            share = on_c / (on_c + on_b)
        both = (on_c > 0) & (on_b > 0)
        if self.named:
            candidate, baseline = self.candidate[live], self.baseline[live]
            found = spread_of(candidate, baseline, mean, self.variance[live])
            met = (candidate.sum(axis=1) > 0) & (baseline.sum(axis=1) > 0)
            self.spread[live] = np.where(met, found, 0.0)
        safe = np.where(both, share, 0.5)
        self.harm[live] += np.where(both[:, None], gains(y, z, safe), 0.0)
        worse = odds(safe, LIMITS.harm_ratio)
        self.fine[live] += np.where(both[:, None], gains(y, z, worse), 0.0)

    def log_harm(self, live: Ints, points: tuple[float, ...] = HARM_POINTS) -> Floats:
        return log_e(self.harm[live], self.spread[live], points)

    def log_fine(self, live: Ints) -> Floats:
        return log_e(self.fine[live], self.spread[live], fine_points(LIMITS.harm_ratio))

    def log_tenant(self, live: Ints, *, exact: bool = True) -> Floats:
        """Return log E of "one tenant fares badly"; 0 where the router names none.

        Not ``exact``: a tenant whose part cannot exceed 1 counts 1, which is quicker, and can only
        make an abort likelier. (With fewer wrong answers than this share the likelihood ratio of
        every alternative against ``ALLOWED`` is under 1.)
        """
        if not self.named:
            return np.zeros(len(live))
        logs = np.zeros((len(live), self.judged.shape[1]))
        judged, wrong = self.judged[live], self.wrong[live]
        row, tenant = np.nonzero(judged if exact else (wrong > 0) & (wrong > _LIVELY * judged))
        at = live[row]
        logs[row, tenant] = worse_than_before(
            self.judged[at, tenant],
            self.wrong[at, tenant],
            (self.past.requests[at, tenant], self.past.bad[at, tenant]),
            self.rate[at],
            self.wary[at],
            ALLOWED,
        )
        places = np.exp(logs).sum(axis=1) + MOST_TENANTS - logs.shape[1]
        return np.asarray(np.minimum(np.log(places / MOST_TENANTS), MOST_LOG), float)
