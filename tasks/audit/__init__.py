"""Steps of the audit: collect, read files, reconcile, keep, show, report."""

from __future__ import annotations

from tasks.audit.collecting import collect, collected_of, start_collecting
from tasks.audit.keeping import keep_audit
from tasks.audit.places import Place, places_of
from tasks.audit.reading import (
    Billed,
    FilesRead,
    Observed,
    Read,
    measure_corpus,
    observe,
    read_bills,
    start_reading,
)
from tasks.audit.reporting import audit_facts, save_audit
from tasks.audit.showing import show_audit
from tasks.audit.sources import Sources, sources_of
from tasks.audit.stocktaking import take_stock

__all__ = [
    "Billed",
    "FilesRead",
    "Observed",
    "Place",
    "Read",
    "Sources",
    "audit_facts",
    "collect",
    "collected_of",
    "keep_audit",
    "measure_corpus",
    "observe",
    "places_of",
    "read_bills",
    "save_audit",
    "show_audit",
    "sources_of",
    "start_collecting",
    "start_reading",
    "take_stock",
]
