"""Read one bill in a process of its own and print its totals, the time and the peak memory."""

from __future__ import annotations

import json
import resource
import sys
import time

from qafila.audit.bills.read import read_open
from qafila.audit.bills.relation import OpenBill, open_bill


def main() -> None:
    """Read the bill at the path given, as ``qafila bills`` does."""
    started = time.perf_counter()
    with open_bill(sys.argv[1]) as opened:
        timed = _Timed(opened.connection, opened.name, opened.sources)
        bill = read_open(timed, details=False)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "rows": bill.rows,
                "seconds": seconds,
                "totals_seconds": timed.seconds.get("spend"),
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "peak_rss_mb": used.ru_maxrss / 1024,
                "total": str(bill.total("USD")),
                "services": [[s.subject, str(s.start), str(s.amount)] for s in bill.services],
                "defects": [str(d) for d in bill.defects],
            }
        )
    )


class _Timed(OpenBill):
    """An open bill that notes how long each named statement took."""

    seconds: dict[str, float] = {}  # noqa: RUF012 - one bill a process

    def rows(self, name: str) -> list[tuple]:  # type: ignore[type-arg]
        started = time.perf_counter()
        try:
            return super().rows(name)
        finally:
            self.seconds[name] = time.perf_counter() - started


if __name__ == "__main__":
    main()
