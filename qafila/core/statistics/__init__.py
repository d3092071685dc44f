"""Intervals, tests and plans that the verdicts rest on. Seeds are arguments; nothing is measured.

One subject a module: ``intervals`` of a share or a mean, ``paired`` and ``samples`` tests,
``equivalence`` against a margin, ``multiplicity`` over classes, ``sequences`` that may be read
while they grow, ``planning`` of how much to sample.
"""

from __future__ import annotations

from qafila.core.statistics.intervals import bootstrap_mean, mean_interval, mean_share, wilson
from qafila.core.statistics.paired import PairedComparison, compare_paired, randomisation_test

__all__ = [
    "PairedComparison",
    "bootstrap_mean",
    "compare_paired",
    "mean_interval",
    "mean_share",
    "randomisation_test",
    "wilson",
]
