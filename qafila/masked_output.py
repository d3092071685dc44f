"""Logs and tracebacks without secrets: one place in each process, before anything is written.

A driver's error names the address that it could not reach, a client's log line the URL that it
asked. Both are masked by ``mask_text`` where Python makes them, whatever logger or handler follows.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from qafila.text.masking import mask_text

_FORMATTER = logging.Formatter()


def mask_logs() -> None:
    """See that every log record of this process is masked when it is made; once is enough."""
    make = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def make_masked(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        _mask_message(record)
        if record.exc_info and record.exc_info[0] is not None:
            # every formatter takes this text before it makes one of its own
            record.exc_text = mask_text(_FORMATTER.formatException(record.exc_info))
        return record

    make_masked.masks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_masked)


def mask_tracebacks() -> None:
    """See that what ends this process, or a thread of it, is printed masked."""

    def show(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not issubclass(kind, KeyboardInterrupt):
            sys.stderr.write(masked_traceback(error))
        else:
            sys.__excepthook__(kind, error or kind(), trace)

    def show_of_thread(ended: threading.ExceptHookArgs) -> None:
        if not issubclass(ended.exc_type, SystemExit):
            show(ended.exc_type, ended.exc_value, ended.exc_traceback)

    sys.excepthook = show
    threading.excepthook = show_of_thread


def masked_traceback(error: BaseException) -> str:
    """Return an error's whole traceback, as Python prints it, without secrets."""
    return mask_text("".join(traceback.format_exception(error)))


def _mask_message(record: logging.LogRecord) -> None:
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):  # its handler says that it does not fit its values
        return
    shown = mask_text(message)
    if shown != message:  # otherwise it stays as it is: some formatters want the values
        record.msg, record.args = shown, ()
