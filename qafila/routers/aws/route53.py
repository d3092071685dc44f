"""Weighted records of Amazon Route 53: the slow router, and it says so.

The version is a TXT record ``_qafila.NAME`` in the same hosted zone. It changes in the same batch
as the weights, and a batch is all or nothing: the old TXT record is deleted by its exact value,
so that a batch of somebody who read before us is refused as a whole. That is a compare-and-set,
which tags of the zone would not be. The record tells whoever asks which share is on trial.

What DNS answered before goes on for its time to live, and longer where a resolver or a client
keeps answers too long, or a connection open: no rollback by DNS is faster than that.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError

from qafila.errors import BadInput, StaleEpoch, Unavailable
from qafila.routers.aws.calls import calling, code_of, version_spoken
from qafila.routers.aws.route53_checks import problems_of, records_of
from qafila.routers.envoy.config import parse_version, version_text
from qafila.routers.port import Abilities, Request, RouterState
from qafila.routers.sight import LogSight, observed_in
from qafila.routers.weights import (
    CopiesNothing,
    configured,
    following,
    ours,
    read_if_ours,
    require_epoch,
    require_weights,
    shares,
)
from qafila.workload.router import Route53Router as Settings

PAGE = "docs/how-to/canary-on-route53.md"
_POLL_S = 1.0
# Route 53 promises its name servers within 60 s in normal times: a caller's wait for a local
# router's answer would give up long before that.
_INSYNC_S = 180.0
_TXT_TTL_S = 60


class Route53Router(CopiesNothing):
    """The weighted records of one name; ``client`` makes boto3 clients: called with a service."""

    def __init__(self, settings: Settings, client: Callable[..., Any]) -> None:
        self._settings = settings
        self._dns = client("route53")
        self._arms = {
            settings.candidate_id: "candidate",
            settings.baseline_id: "baseline",
            **({settings.twin_id: "twin"} if settings.twin_id else {}),
        }
        self._changes: dict[str, str] = {}  # version → id of the change that wrote it

    @property
    def name(self) -> str:
        return self._settings.block

    @property
    def listen_url(self) -> str:
        return self._settings.entry_url.rstrip("/")

    @cached_property
    def abilities(self) -> Abilities:
        ttl = self._settings.ttl_seconds
        seen = self._settings.log is not None
        return Abilities(
            requests=seen,
            twin=self._settings.twin_id is not None,
            mirror=False,
            slowest_s=float(ttl),
            blind=(
                f"a weight holds for everybody {ttl} s after Route 53 took it at the earliest: "
                "resolvers and clients that keep answers longer than they may are not seen",
                "connections that are open stay with the arm that they were opened to",
                "weights are of DNS answers, not of requests: one large resolver counts as one",
                "with health checks on the records, Route 53 answers with weight 0 where "
                "everything else is unhealthy",
                *(LogSight.blind if seen else ("single requests: DNS sees none",)),
            ),
        )

    def close(self) -> None:
        """Close the connections to AWS."""
        self._dns.close()

    def software_version(self) -> str | None:
        """Return the version of the API that is spoken; None when AWS does not answer."""
        return version_spoken(self._dns, self._records)

    def install(self) -> RouterState:
        """Check everything that AWS would refuse later, and take the records over at weight 0.

        What was installed already keeps its weights.

        Raises:
            BadInput: naming every problem: an unknown zone or record, a limit, differing times to
                live, traffic on the candidate that Qafila did not send.
            Refused: the account may not read or write.
            Unavailable: AWS does not answer.
        """
        with calling(self.name, "list the records", PAGE):
            problems = problems_of(self._dns, self._settings, self._arms, self._note)
        if problems:
            raise BadInput(
                f"the records of {self._settings.fqdn} cannot carry weights:",
                problems,
                remedy="change service.router in the workload file or the records, then: "
                "qafila apply FILE",
            )
        records, stored = self._records()
        if stored is not None:
            return self._state(records, stored)
        version = version_text(0, 1, 0)
        self._put(records, None, version, "installed")
        return RouterState(0, 0, version)

    def read(self) -> RouterState:
        """Return the weights of the records, under the version of the TXT record.

        Raises:
            Unavailable: there is no version of ours, or AWS does not answer.
        """
        return self._state(*self._records())

    def reported(self) -> RouterState | None:
        """Return the weights of the records; None where somebody else changed them."""
        return read_if_ours(self.read)

    def write(
        self,
        candidate_percent: int,
        *,
        epoch: int,
        why: str,
        twin_percent: int = 0,
        mirror_percent: int = 0,
    ) -> str:
        """Change weights and version in one batch; return the version to wait for.

        Raises:
            BadInput: weights that do not fit or that DNS cannot carry.
            StaleEpoch: a newer epoch has written already, or somebody else at the same time.
            Unavailable: AWS does not answer, or the records were never installed.
        """
        require_weights(self.name, self.abilities, candidate_percent, twin_percent, mirror_percent)
        records, stored = self._records()
        require_epoch(self.name, self._state(records, stored), epoch)
        assert stored is not None  # or there would be no state
        version = following(stored, epoch, candidate_percent, twin_percent)
        self._put(records, stored, version, why)
        return version

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Wait until every name server of Route 53 answers by this version; return the seconds.

        Waits at least three minutes for a change that Route 53 has accepted and not yet
        distributed. A change that another process wrote is acknowledged by the records alone.

        Raises:
            Unavailable: it does not within the time, or the records hold another version.
        """
        started = time.monotonic()
        while True:
            records, stored = self._records()
            state = None if stored is None else self._state(records, stored)
            held = state is not None and state.version == version
            if held and self._in_sync(version):
                return time.monotonic() - started
            if time.monotonic() - started > (max(timeout_s, _INSYNC_S) if held else timeout_s):
                raise Unavailable(
                    f"router {self.name} did not take {version}: "
                    + (
                        "Route 53 has not told all its name servers yet."
                        if held
                        else f"the records hold {state.version if state else 'none of ours'}."
                    ),
                    kept="the records as they are.",
                    remedy="qafila status",
                )
            time.sleep(min(_POLL_S, max(timeout_s, 0.05)))

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return requests of the log that the operator named; without one there are none."""
        return observed_in(self._settings.log, cursor)

    # -- AWS -----------------------------------------------------------------------------------

    @property
    def _note(self) -> str:
        return "_qafila." + self._settings.fqdn

    def _records(self) -> tuple[list[dict[str, Any]], str | None]:
        """Return the weighted records and the version of the TXT record, None without one."""
        zone, name = self._settings.hosted_zone, self._settings.fqdn
        with calling(self.name, "list the records", PAGE):
            records = [
                record
                for kind in self._settings.types
                for record in records_of(self._dns, zone, name, kind)
                if record.get("SetIdentifier") in self._arms
            ]
            notes = records_of(self._dns, zone, self._note, "TXT")
        if not notes:
            return records, None
        version = str(notes[0]["ResourceRecords"][0]["Value"]).strip('"')
        try:
            parse_version(version)
        except ValueError as error:
            raise Unavailable(
                f"the TXT record {self._note} is not one that Qafila wrote: {version!r}",
                kept="all records.",
                remedy="delete that record, then: qafila apply FILE",
            ) from error
        return records, version

    def _state(self, records: Sequence[Mapping[str, Any]], stored: str | None) -> RouterState:
        """Return the weights of all types; where they differ, those with most on the candidate."""
        if stored is None:
            raise Unavailable(
                f"router {self.name} has no weights of Qafila yet ({self._note}).",
                kept="nothing was touched.",
                remedy="qafila apply FILE",
            )
        states = [
            configured(
                stored,
                {
                    self._arms[r["SetIdentifier"]]: int(r["Weight"])
                    for r in records
                    if r["Type"] == kind
                },
            )
            for kind in self._settings.types
        ]
        return max(states, key=lambda state: (not ours(state), state.candidate_percent))

    def _put(
        self, records: Sequence[Mapping[str, Any]], stored: str | None, version: str, why: str
    ) -> None:
        state, _ = parse_version(version)
        percent = shares(state)
        changes: list[dict[str, Any]] = []
        for record in copy.deepcopy([dict(r) for r in records]):
            record["Weight"] = percent[self._arms[record["SetIdentifier"]]]
            changes.append({"Action": "UPSERT", "ResourceRecordSet": record})
        if stored is not None:
            changes.append({"Action": "DELETE", "ResourceRecordSet": self._noted(stored)})
        changes.append({"Action": "CREATE", "ResourceRecordSet": self._noted(version)})
        with calling(self.name, "change the records", PAGE):
            try:
                reply = self._dns.change_resource_record_sets(
                    HostedZoneId=self._settings.hosted_zone,
                    ChangeBatch={"Comment": f"Qafila {version}: {why}"[:256], "Changes": changes},
                )
            except ClientError as error:
                if code_of(error) != "InvalidChangeBatch":
                    raise
                self._raise_if_overtaken(stored, version, error)
                raise
        self._changes = {version: str(reply["ChangeInfo"]["Id"])}

    def _raise_if_overtaken(self, stored: str | None, version: str, error: ClientError) -> None:
        _, now = self._records()
        if now != stored:
            raise StaleEpoch(
                f"router {self.name}: another writer left {now} while {version} was written.",
                kept="the weights of that writer; the whole batch of this one was refused.",
            ) from error

    def _noted(self, version: str) -> dict[str, Any]:
        return {
            "Name": self._note,
            "Type": "TXT",
            "TTL": _TXT_TTL_S,
            "ResourceRecords": [{"Value": f'"{version}"'}],
        }

    def _in_sync(self, version: str) -> bool:
        change = self._changes.get(version)
        if change is None:
            return True  # another process wrote it; the records say so, and that is all we can ask
        with calling(self.name, "read the state of the change", PAGE):
            return bool(self._dns.get_change(Id=change)["ChangeInfo"]["Status"] == "INSYNC")
