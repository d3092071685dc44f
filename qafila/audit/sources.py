"""What one audit is to read: named by the run or the workload file, checked before anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qafila import settings
from qafila.audit.collectors.prometheus_server import header_in
from qafila.connections.settings import (
    AwsConnection,
    ConnectionSettings,
    KubernetesConnection,
    PostgresConnection,
)
from qafila.errors import BadInput, Refused, Unavailable
from qafila.ledger.connections import adopted_connection
from qafila.ledger.ledger import Connection
from qafila.workload.audit_sources import ClusterSource, MetricsSource
from qafila.workload.model import AuditSources, ProductPlan, Workload

C = TypeVar("C", bound=ConnectionSettings)


@dataclass(frozen=True, repr=False)
class Sources:
    """Everything that is there to be read: connections by name, files by path. All optional.

    ``bills``: paths, or addresses like ``s3://bucket/key``. ``kubernetes``: with the namespaces to
    look into, none: all. ``prometheus``: addresses, with the file of a header to send.
    """

    account: tuple[str, AwsConnection] | None
    bills: tuple[str, ...]
    kubernetes: tuple[tuple[str, KubernetesConnection, tuple[str, ...]], ...]
    postgres: tuple[tuple[str, PostgresConnection], ...]
    prometheus: tuple[tuple[str, Path | None], ...]
    traces: tuple[Path, ...]
    flow_logs: tuple[Path, ...]
    code: tuple[Path, ...]
    plans: tuple[ProductPlan, ...]


def sources_of(
    ledger: Connection, workload: Workload, *, account: str | None = None, bill: str | None = None
) -> Sources:
    """Return what the run names, else what the workload file names; reads nothing of it yet.

    Raises:
        Refused: nothing at all is named.
        BadInput: a file is not there, or a connection does not exist; names every one.
    """
    given = workload.audit
    name, bills = account or given.account, [bill] if bill else given.bill
    if not name and not bills and not any(_others(given)):
        raise Refused(
            f"there is nothing to audit for {workload.name}: neither the run nor the workload "
            "file names an account, a bill, a cluster, a database, a server of metrics, traces, "
            "flow logs or code.",
            kept="everything; nothing was read.",
            remedy="set audit.account, audit.bill or another source in the file and apply it, or "
            "add --set account=NAME or --set bill=FILE",
        )
    looked = _Looked(ledger)
    found = Sources(
        account=looked.connection("account", name, AwsConnection) if name else None,
        bills=looked.bills(bills),
        kubernetes=looked.clusters(given.kubernetes),
        postgres=looked.connections("postgres", given.postgres, PostgresConnection),
        prometheus=looked.servers(given.prometheus),
        traces=looked.files("traces", given.traces),
        flow_logs=looked.files("flow_logs", given.flow_logs),
        code=looked.files("code", given.code, folder=True),
        plans=tuple(given.plans),
    )
    if looked.problems:
        raise BadInput(
            f"the audit of {workload.name} cannot begin:",
            looked.problems,
            remedy="correct the audit section of the workload file, qafila apply FILE, then: "
            f"qafila run inventory-audit {workload.name}",
        )
    return found


def _others(given: AuditSources) -> tuple[object, ...]:
    return (
        given.kubernetes,
        given.postgres,
        given.prometheus,
        given.traces,
        given.flow_logs,
        given.code,
    )


class _Looked:
    """Looks sources up and gathers what is wrong with them."""

    def __init__(self, ledger: Connection) -> None:
        self._ledger = ledger
        self.problems: list[str] = []

    def connection(self, field: str, name: str, kind: type[C]) -> tuple[str, C] | None:
        """Return a connection as the Prefect block has it now, else as the ledger remembers it."""
        try:
            return name, adopted_connection(self._ledger, name, kind)
        except Refused as refused:
            self.problems.append(f"{field}: {refused.what}")
            return None

    def connections(self, field: str, names: list[str], kind: type[C]) -> tuple[tuple[str, C], ...]:
        found = [self.connection(field, name, kind) for name in dict.fromkeys(names)]
        return tuple(one for one in found if one is not None)

    def clusters(
        self, given: list[ClusterSource]
    ) -> tuple[tuple[str, KubernetesConnection, tuple[str, ...]], ...]:
        """Return clusters whose settings a client can be made from; no call leaves yet."""
        namespaces = {one.block: one.namespaces for one in given}
        found = self.connections("kubernetes", list(namespaces), KubernetesConnection)
        for _, cluster in found:
            try:
                cluster.client()
            except (BadInput, Unavailable) as error:
                self.problems.append(f"kubernetes: {error.what}")
        return tuple((name, cluster, namespaces[name]) for name, cluster in found)

    def servers(self, given: list[MetricsSource]) -> tuple[tuple[str, Path | None], ...]:
        """Return servers of metrics; a header that is to be sent is looked at, and not kept."""
        found: dict[str, Path | None] = {}
        for one in given:
            path = None if one.header_file is None else settings.home() / one.header_file
            found.setdefault(one.url.rstrip("/"), path)
        for path in dict.fromkeys(path for path in found.values() if path is not None):
            try:
                header_in(path)
            except BadInput as error:
                self.problems.append(f"prometheus: {error.what} {error.remedy}")
        return tuple(found.items())

    def bills(self, names: list[str]) -> tuple[str, ...]:
        """Return paths; what lies on S3 is not here, so that it is there shows when it is read."""
        remote = [name for name in dict.fromkeys(names) if name.startswith(("s3:/", "s3a:/"))]
        local = self.files("bill", [name for name in names if name not in remote])
        return (*map(str, local), *remote)

    def files(self, field: str, names: list[str], *, folder: bool = False) -> tuple[Path, ...]:
        paths = [settings.home() / name for name in dict.fromkeys(names)]
        for path in paths:
            there = path.exists() if folder else path.is_file()
            if not there:
                what = "folder" if folder else "file"
                self.problems.append(f"{field}: there is no {what} at {path}")
        return tuple(paths)
