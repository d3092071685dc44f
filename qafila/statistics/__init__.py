"""Intervals, tests and plans that the verdicts rest on. Seeds are arguments; nothing is measured.

One subject a module: ``intervals`` of a share or a mean, ``paired`` and ``samples`` tests,
``equivalence`` against a margin, ``multiplicity`` over classes, ``sequences`` that may be read
while they grow, ``planning`` of how much to sample.
"""
