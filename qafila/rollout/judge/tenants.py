"""Users are not alike: what each tenant's own past says about the split, and about itself.

A sticky split puts a tenant wholly on one arm, so a few heavy tenants who always had more bad
answers look like a bad canary, the more certainly the longer one looks. In the A/A bake every
tenant was served by the baseline. So its own bad rate is known, as far as its few requests tell:
a Beta-binomial model whose prior is the whole population, one tenant being as different from the
next as the bake shows, and at least as different as its mean is large.

From it come the share of bad answers that the canary's tenants would have seen without it, the
doubt that is left about that share (``spread``), and whether one tenant fares worse than its past.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln

from qafila.rollout.judge.e_values import MOST_LOG, MOST_SPREAD, Array, log_mean
from qafila.rollout.judge.guardrails import ArmCounts, ByTenant

MOST_TENANTS = 1000  # kept one by one: the bake's heaviest, then who comes first
NAMED_FROM = 0.9  # of the bake's requests must name a tenant
_LEAST_VARIATION = 1.0  # variance of a tenant's bad rate over its square, at least
_MOST_VARIATION = 50.0
_LEAST_WEIGHT = 0.05
_WARY_VARIATION, _WARY_TENANTS = 50.0, 5
_WRONG = (0.2, 0.4, 0.6, 0.8, 0.95)  # of the way from what is allowed to all answers


def prior(requests: ArrayLike, bad: ArrayLike) -> tuple[Array, Array]:
    """Return the mean of the tenants' bad rates, and how many requests' worth of belief it is.

    ``requests`` and ``bad`` (…, tenants) of the A/A bake. A tenant's rate is Beta distributed with
    that mean, and a variance from pairs of bad answers of one tenant (unbiased for binomial
    counts), never less than the mean's square. Each tenant counts by n/(n + k), as reliable as its
    requests make it, and not by its requests: the heaviest would speak for all. k depends on the
    variance and is found by going round three times.
    """
    n, b = np.asarray(requests, float), np.asarray(bad, float)
    own = b / np.maximum(n, 1)
    square = b * (b - 1) / np.maximum(n * (n - 1), 1)
    least = (b.sum(axis=-1) + 0.5) / (n.sum(axis=-1) + 1)
    floor = 0.5 / (n.sum(axis=-1) + 1)
    weight = 1 / least
    rate = least
    for _ in range(3):
        trust = n / (n + weight[..., None])
        rate = (trust * own).sum(axis=-1) / np.maximum(trust.sum(axis=-1), 1e-9)
        rate = np.clip(rate, floor, 1 - floor)
        pairs = trust * (n > 1)
        squares = (pairs * square).sum(axis=-1) / np.maximum(pairs.sum(axis=-1), 1e-9)
        variation = np.clip(squares / rate**2 - 1, _LEAST_VARIATION, _MOST_VARIATION)
        weight = np.maximum((1 - rate) / (rate * variation) - 1, _LEAST_WEIGHT)
    return np.asarray(rate, float), np.asarray(weight, float)


def wary_weight(bad: ArrayLike, rate: ArrayLike, weight: ArrayLike) -> Array:
    """Return how many requests' worth of belief a tenant's rate is, where one tenant may decide.

    Of ``prior``'s result, and bad answers (…, tenants) in the bake. That few tenants had any does
    not show that tenants are alike: it counts as if ``_WARY_TENANTS`` more had had some, of a
    population whose variation is ``_WARY_VARIATION``.
    """
    p = np.asarray(rate, float)
    with_some = (np.asarray(bad) > 0).sum(axis=-1)
    variation = (1 - p) / (p * (np.asarray(weight, float) + 1))
    wary = (with_some * variation + _WARY_TENANTS * _WARY_VARIATION) / (with_some + _WARY_TENANTS)
    return np.asarray(np.maximum((1 - p) / (p * wary) - 1, _LEAST_WEIGHT), float)


def own_rate(
    requests: ArrayLike, bad: ArrayLike, rate: ArrayLike, weight: ArrayLike
) -> tuple[Array, Array]:
    """Return each tenant's expected bad rate and its variance, of its A/A counts and the prior."""
    n, b = np.asarray(requests, float), np.asarray(bad, float)
    p, k = np.asarray(rate, float)[..., None], np.asarray(weight, float)[..., None]
    mean = (k * p + b) / (k + n)
    return np.asarray(mean, float), np.asarray(mean * (1 - mean) / (k + n + 1), float)


def spread_of(
    of_candidate: ArrayLike,
    of_baseline: ArrayLike,
    mean: Array,
    variance: Array,
    rest_candidate: ArrayLike = 0.0,
    rest_baseline: ArrayLike = 0.0,
) -> Array:
    """Return the standard deviation of the log odds of the canary's expected bad answers.

    By the delta method over the tenants: requests of each so far (…, tenants), on either arm. One
    who was on both cancels out. ``rest`` are the bad answers expected of requests without a name.
    """
    c, b = np.asarray(of_candidate, float), np.asarray(of_baseline, float)
    on_c = (c * mean).sum(axis=-1, keepdims=True) + np.asarray(rest_candidate, float)[..., None]
    on_b = (b * mean).sum(axis=-1, keepdims=True) + np.asarray(rest_baseline, float)[..., None]
    slope = c / np.maximum(on_c, 1e-12) - b / np.maximum(on_b, 1e-12)
    return np.asarray(np.minimum(np.sqrt((variance * slope**2).sum(axis=-1)), MOST_SPREAD), float)


def worse_than_before(
    requests: ArrayLike,
    wrong: ArrayLike,
    before: tuple[ArrayLike, ArrayLike],
    rate: ArrayLike,
    weight: ArrayLike,
    allowed: float,
) -> Array:
    """Return, for each tenant, log E of "many of its answers are wrong".

    Against two nulls, the smaller counting: its own past (``before``: requests and wrong answers in
    the A/A bake, with the population as prior: a Beta-binomial), and ``allowed`` as a plain rate.
    """
    n, y = np.asarray(requests, float), np.asarray(wrong, float)
    n0, y0 = (np.asarray(a, float) for a in before)
    f = allowed + (1 - allowed) * np.asarray(_WRONG)
    likely = log_mean(y[..., None] * np.log(f) + (n - y)[..., None] * np.log(1 - f))
    p, k = np.asarray(rate, float), np.asarray(weight, float)
    a, b = k * p + y0, k * (1 - p) + n0 - y0
    past = betaln(a + y, b + n - y) - betaln(a, b)
    plain = y * np.log(allowed) + (n - y) * np.log(1 - allowed)
    return np.asarray(np.minimum(likely - np.maximum(past, plain), MOST_LOG), float)


@dataclass(frozen=True)
class Seen:
    """One tenant so far: its requests to the baseline, and what the canary's ``answers`` were.

    ``judged`` and ``wrong`` leave out the looks in which the baseline itself was in trouble.
    """

    baseline: int = 0
    answers: ArmCounts = field(default_factory=ArmCounts)
    judged: int = 0
    wrong: int = 0

    @property
    def candidate(self) -> int:
        """Return its requests to the canary."""
        return self.answers.requests


def keep_heaviest(tenants: ByTenant) -> dict[str, ArmCounts]:
    """Return the ``MOST_TENANTS`` with most requests."""
    first = sorted(tenants, key=lambda t: (-tenants[t].requests, t))[:MOST_TENANTS]
    return {tenant: tenants[tenant] for tenant in first}


def add_seen(
    seen: Mapping[str, Seen],
    known: ByTenant,
    of_baseline: ByTenant,
    of_candidate: ByTenant,
    wrong: Mapping[str, int] | None,
) -> dict[str, Seen]:
    """Return the tenants with one look added; ``wrong`` is None where the look is not judged.

    Who was in the bake (``known``) always has a place; the others as they come, while there are.
    """
    found = dict(seen)
    places = MOST_TENANTS - len(known) - sum(t not in known for t in found)
    for tenant in (*of_candidate, *of_baseline):
        if tenant not in found and tenant not in known:
            if places <= 0:
                continue
            places -= 1
        if tenant not in found:
            found[tenant] = Seen()
    for tenant, counts in of_baseline.items():
        if (s := found.get(tenant)) is not None:
            found[tenant] = replace(s, baseline=s.baseline + counts.requests)
    for tenant, counts in of_candidate.items():
        if (s := found.get(tenant)) is not None:
            judged = 0 if wrong is None else counts.requests
            bad = 0 if wrong is None else wrong[tenant]
            found[tenant] = Seen(s.baseline, s.answers + counts, s.judged + judged, s.wrong + bad)
    return found


def column(tenants: Sequence[str], counts: ByTenant, what: str) -> Array:
    """Return one number of each tenant's counts, 0 where there are none."""
    return np.array([getattr(counts[t], what) if t in counts else 0 for t in tenants], float)
