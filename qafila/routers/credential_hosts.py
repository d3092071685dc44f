"""Which hosts a credential file may be sent to, kept sealed in the home folder.

A workload file names a ``credential_file`` on Envoy's machine, and Envoy sends what is in it to the
arm's address. Whoever writes the workload file could so send another team's credential to a server
of his own. So the first ``qafila apply`` that names a file binds it to that arm's host, beside the
addresses of connections (qafila/ledger/secret_bindings.py), and another host needs a person's word.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence

from qafila.errors import BadInput, Refused
from qafila.ledger.ledger import Connection, list_workloads, read_workload
from qafila.ledger.secret_bindings import changing_bindings, read_bindings
from qafila.routers.envoy.arms import arms_of
from qafila.workload.model import Workload


def require_credential_hosts(ledger: Connection, workload: Workload) -> None:
    """Refuse a credential file that would be sent to a host it is not bound to. Changes nothing.

    A file that is not bound yet may go to one host: the one that the applied workloads name for
    it, where there are any.

    Raises:
        Refused: naming each file, the hosts it is for, and the command that allows another.
    """
    _require(ledger, workload, read_bindings())


def bind_credential_hosts(ledger: Connection, workload: Workload) -> None:
    """Keep which host each credential file of a workload goes to. Only ``qafila apply`` calls it.

    Raises:
        Refused: as ``require_credential_hosts``; nothing was kept.
    """
    with changing_bindings() as bound:
        _require(ledger, workload, bound)
        for file, host in _named(workload):
            _add(bound, file, host)


def allow_credential_hosts(workload: Workload, pairs: Sequence[str]) -> list[str]:
    """Let credential files go to further hosts, as a person said: ``PATH=URL`` each.

    Return a sentence for each that was not allowed before.

    Raises:
        BadInput: a pair that the workload does not name; nothing was kept.
    """
    named = {f"{file}={host}": (file, host) for file, host in _named(workload)}
    unknown = [pair for pair in pairs if pair not in named]
    if unknown:
        raise BadInput(
            f"{workload.name} sends no credential file like that:",
            unknown,
            remedy="name one of these with --credential-host: " + (", ".join(named) or "none"),
        )
    told = []
    with changing_bindings() as bound:
        for pair in pairs:
            file, host = named[pair]
            if host not in (_bound_hosts(bound, file) or ()):
                told.append(f"the credential in {file} may be sent to {host} from now on.")
            _add(bound, file, host)
    return told


def _require(ledger: Connection, workload: Workload, bound: Mapping[str, str]) -> None:
    named = sorted(set(_named(workload)))
    problems = []
    for file, host in named:
        allowed = _bound_hosts(bound, file)
        if allowed is None:
            allowed = _hosts_in_ledger(ledger, file) or {h for f, h in named if f == file}
            if len(allowed) == 1 and host in allowed:
                continue
        elif host in allowed:
            continue
        problems.append((file, host, sorted(allowed - {host})))
    if not problems:
        return
    told = "; ".join(
        f"{file} is for {' and '.join(allowed)}, not for {host}" for file, host, allowed in problems
    )
    options = " ".join(
        f"--credential-host {shlex.quote(f'{file}={host}')}" for file, host, _ in problems
    )
    raise Refused(
        f"{workload.name} would send a credential to a host that it was not given for: {told}.",
        kept="routes and weights; nothing was sent.",
        remedy="where the workload file is wrong, correct it; where that host may have the "
        f"credential: qafila apply FILE {options}",
    )


def _named(workload: Workload) -> Iterator[tuple[str, str]]:
    """Yield each credential file of a workload with the host it would be sent to."""
    for arm in arms_of(workload.service)[:2]:
        if arm.credential_file is not None:
            yield arm.credential_file, arm.origin


def _hosts_in_ledger(ledger: Connection, file: str) -> set[str]:
    """Return where the applied workloads send a file: they were applied before it was bound."""
    names = _names(file)
    return {
        host
        for workload in list_workloads(ledger)
        for other, host in _named(read_workload(ledger, workload)[0])
        if names & _names(other)
    }


def _names(file: str) -> set[str]:
    """Return the names that a file is bound by: as it is written, and without symbolic links."""
    return {f"file:{file}", f"file:{os.path.realpath(file)}"}


def _bound_hosts(bound: Mapping[str, str], file: str) -> set[str] | None:
    """Return the hosts that every bound name of a file allows; None where none is bound."""
    found = [set(bound[name].split()) for name in _names(file) if name in bound]
    return set.intersection(*found) if found else None


def _add(bound: dict[str, str], file: str, host: str) -> None:
    for name in _names(file):
        bound[name] = " ".join(sorted({*bound.get(name, "").split(), host}))
