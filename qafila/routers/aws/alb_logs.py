"""Requests from an Application Load Balancer's access logs in S3: gzip files of text lines.

The fields of a line and the names of the files are those of the Elastic Load Balancing guide,
"Access logs for your Application Load Balancer". Each node of the load balancer delivers a file
every five minutes, so that what is read is minutes old: a look shorter than that sees nothing.
"""

from __future__ import annotations

import gzip
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import IO, Any, cast

from qafila.errors import Unavailable
from qafila.routers.aws.calls import calling
from qafila.routers.envoy.access_log import tenant_digest
from qafila.routers.port import Request

# where in a line what is: 0 type, 1 time, 3 client:port, 5 to 7 seconds, 8 status for the user
_TIME, _CLIENT, _SECONDS, _STATUS, _GROUP, _CREATED = 1, 3, slice(5, 8), 8, 16, 21
_FIELD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_MOST_BYTES = 1 << 30  # of one file, unpacked
_LONGEST_LINE = 1 << 16  # bytes: a URL has at most 16 KiB
_PAGE = "docs/how-to/canary-on-alb.md"
_CURSOR = 10**11  # a cursor is the start in ms, and the newest file taken in s
_SKEW_S = 300  # of our clock against that of S3; what a file holds of before the start is left out


class AccessLogs:
    """The files of one load balancer; a cursor holds all there is to know, so any process reads on.

    ``arms`` names the arm of each target group ARN. A file is taken when it is ``settle_s`` old, so
    that none of the same second is missed.
    """

    blind: tuple[str, ...] = (
        "access logs arrive every five minutes: nothing newer is seen, and a bad candidate neither",
        "what the service says in x-qafila-results and x-qafila-bad is in no access log: empty "
        "and ungrounded answers are not seen",
        "users are told apart by address: those behind one proxy count as one",
        "AWS delivers access logs without a promise: a few requests may be in none",
    )

    def __init__(
        self,
        router: str,
        s3: Any,
        *,
        bucket: str,
        prefix: str,
        account: str,
        region: str,
        balancer: str,
        arms: Mapping[str, str],
        settle_s: float = 10.0,
    ) -> None:
        self._router = router
        self._s3 = s3
        self._bucket = bucket
        self._folder = "/".join(
            part
            for part in (prefix.strip("/"), "AWSLogs", account, "elasticloadbalancing", region)
            if part
        )
        self._file = f"{account}_elasticloadbalancing_{region}_{balancer.replace('/', '.')}_"
        self._arms = dict(arms)
        self._settle_s = settle_s

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return requests that finished after the first cursor, from files delivered since.

        Without a cursor nothing is asked of S3: a rollback begins with that.

        Raises:
            Refused: the account may not read the bucket.
            Unavailable: S3 does not answer.
        """
        if cursor is None:
            return [], cursor_at(time.time())
        since_ms, newest = divmod(cursor, _CURSOR)
        with calling(self._router, f"read access logs in {self._bucket}", _PAGE):
            now = self._now()
            until = now - timedelta(seconds=self._settle_s)
            found: list[Request] = []
            last = newest
            for key, written in self._files(newest, now):
                if newest < int(written.timestamp()) and written <= until:
                    found += self._requests(key, since_ms / 1000)
                    last = max(last, int(written.timestamp()))
        return found, since_ms * _CURSOR + last

    def _now(self) -> datetime:
        """Return S3's own time, so that our clock is not compared with that of the files."""
        reply = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._folder, MaxKeys=1)
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])

    def _files(self, newest: int, now: datetime) -> Iterator[tuple[str, datetime]]:
        """Yield key and time of the files that may be newer, an hour's delay allowed for."""
        start = datetime.fromtimestamp(newest, UTC) - timedelta(hours=1)
        day = start.date()
        while day <= now.date():
            folder = f"{self._folder}/{day:%Y/%m/%d}/{self._file}"
            after = f"{folder}{start:%Y%m%dT%H%MZ}" if day == start.date() else folder
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=folder, StartAfter=after
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"], entry["LastModified"]
            day += timedelta(days=1)

    def _requests(self, key: str, since: float) -> list[Request]:
        body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"]
        try:
            with gzip.GzipFile(fileobj=body) as lines:
                read = (request_of(line, self._arms) for line in _lines(cast("IO[bytes]", lines)))
                return [
                    r for r in read if r is not None and r.started_at + r.latency_ms / 1000 >= since
                ]
        except _TooMuch as error:
            raise Unavailable(
                f"router {self._router}: s3://{self._bucket}/{key} unpacks to more than "
                f"{_MOST_BYTES >> 20} MiB, which no load balancer writes in five minutes.",
                kept="all weights.",
                remedy="look at that file, and at who may write to the bucket",
            ) from error
        except (OSError, EOFError, zlib.error) as error:
            raise Unavailable(
                f"router {self._router}: s3://{self._bucket}/{key} is no whole gzip file: {error}",
                kept="all weights.",
                remedy="look at that file; the next look reads it again",
            ) from error


class _TooMuch(Exception):
    """A file unpacks to more than one can hold."""


def _lines(unpacked: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines; of one that is longer than any of a log, pieces, which are none."""
    left = _MOST_BYTES
    while line := unpacked.readline(_LONGEST_LINE):
        left -= len(line)
        if left < 0:
            raise _TooMuch
        yield line


def cursor_at(now: float) -> int:
    """Return the cursor from which requests that finish after ``now`` (Unix time) are seen."""
    return int(now * 1000) * _CURSOR + int(now - _SKEW_S)


def request_of(line: bytes, arms: Mapping[str, str]) -> Request | None:
    """Return the request of one line; None where it went to no arm, or is no line of a log.

    The latency is the sum of the three durations (request, target, response); where one is -1,
    because no target answered, it is the time from the request's creation to the response.
    """
    found = _FIELD.findall(line.decode("utf-8", "replace"))
    fields = [quoted or plain for quoted, plain in found]
    try:
        arm = arms[fields[_GROUP]]
        finished = _time(fields[_TIME])
        started = _time(fields[_CREATED])
        seconds = [float(part) for part in fields[_SECONDS]]
        latency_s = sum(seconds) if min(seconds) >= 0 else finished - started
        return Request(
            started_at=started,
            arm=arm,
            status=int(fields[_STATUS]),
            latency_ms=latency_s * 1000,
            attempts=1,
            results=None,
            tenant=tenant_digest(fields[_CLIENT].rpartition(":")[0]),
        )
    except (IndexError, KeyError, ValueError):
        return None


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
