"""Which workloads will need AI within 12 months: signals with evidence, or a question to a person.

``signal``: a question, its answer, and what all answers say together. ``assessing``: the questions
put to a workload file and to an estate. ``showing``: what resources show. ``taking``: what it
would take. ``names``: what names tell.
"""

from __future__ import annotations

from qafila.core.ai_need.assessing import CorpusVolume, assess_estate, assess_workload
from qafila.core.ai_need.showing import ModelUse, model_uses_in
from qafila.core.ai_need.signal import HORIZON_MONTHS, LEAST_COVERAGE, Candidate, Need, Signal
from qafila.core.ai_need.taking import Serving, Takes, Texts, serving_of, takes_of

__all__ = [
    "HORIZON_MONTHS",
    "LEAST_COVERAGE",
    "Candidate",
    "CorpusVolume",
    "ModelUse",
    "Need",
    "Serving",
    "Signal",
    "Takes",
    "Texts",
    "assess_estate",
    "assess_workload",
    "model_uses_in",
    "serving_of",
    "takes_of",
]
