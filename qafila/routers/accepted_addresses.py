"""Which addresses a person agreed to send a workload's requests to, kept sealed in the home folder.

Whoever can change a workload file could name a server of his own as an arm, and a job that applies
the file on every merge would route users there. So ``qafila apply`` asks a person about each
address that is new, and what was accepted is kept beside the addresses of connections
(qafila/ledger/secret_bindings.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from qafila.errors import BadInput, Refused
from qafila.ledger.ledger import Connection, list_workloads, read_workload
from qafila.ledger.secret_bindings import changing_bindings, read_bindings
from qafila.routers.envoy.arms import Arm, arms_of
from qafila.workload.model import Workload
from qafila.workload.router import EnvoyFileRouter

_ARMS = ("baseline", "candidate")


def new_addresses(ledger: Connection, workload: Workload) -> list[tuple[str, str]]:
    """Return (arm, address) of each arm whose address nobody has accepted yet. Changes nothing.

    Addresses are ``scheme://host:port``. Where this home has accepted none for the workload, those
    of its applied revision count: it was applied before addresses were accepted, or elsewhere.
    Empty where the router is not an Envoy: its arms exist already, and Qafila routes to no other.
    """
    known = _accepted(ledger, workload.name, read_bindings())
    return [(arm, address) for arm, address in _named(workload) if address not in known]


def require_accepted(ledger: Connection, workload: Workload) -> None:
    """Refuse a workload that would have requests sent to an address that nobody has accepted.

    What is accepted is kept for this workload from then on, so that the ledger alone, which others
    can write to, adds no address to it.

    Raises:
        Refused: naming each arm with its address, and the command that accepts them.
    """
    new = new_addresses(ledger, workload)
    if not new:
        if _named(workload):
            with changing_bindings() as bound:
                _keep(bound, workload.name, _accepted(ledger, workload.name, bound))
        return
    told = ", ".join(f"{arm} {address}" for arm, address in new)
    options = " ".join(f"--accept-address {shlex.quote(address)}" for address in _addresses(new))
    raise Refused(
        f"{workload.name} would send requests to a new address that nobody has accepted: {told}.",
        kept="routes and weights; nothing was sent.",
        remedy="where the workload file is wrong, correct it; where requests may go there: "
        f"qafila apply FILE {options}",
    )


def accept_addresses(ledger: Connection, workload: Workload, addresses: Sequence[str]) -> list[str]:
    """Keep that a person agreed to these addresses; return a sentence for each that is new.

    Raises:
        BadInput: an address that the workload does not name; nothing was kept.
        Refused: the file of bindings was changed by somebody else; nothing was kept.
    """
    accepted = named_addresses(workload, addresses)
    with changing_bindings() as bound:
        known = _accepted(ledger, workload.name, bound)
        new = [address for address in accepted if address not in known]
        _keep(bound, workload.name, {*known, *new})
    return [f"requests of {workload.name} may be sent to {address} from now on." for address in new]


def named_addresses(workload: Workload, addresses: Sequence[str]) -> list[str]:
    """Return these addresses in their one spelling, each once. Needs no ledger.

    Raises:
        BadInput: naming every address that the workload does not name.
    """
    named = addresses_of(workload)
    spelled = {address: _spelled(address) for address in addresses}
    unknown = [address for address, spelling in spelled.items() if spelling not in named]
    if unknown:
        raise BadInput(
            f"{workload.name} names no such address:",
            unknown,
            remedy="name one of these with --accept-address: " + (", ".join(named) or "none"),
        )
    return list(dict.fromkeys(spelled.values()))


def addresses_of(workload: Workload) -> list[str]:
    """Return the addresses that a workload would have requests sent to, ``scheme://host:port``.

    None where the router is not an Envoy: its arms exist already, and nobody is asked about them.
    """
    return _addresses(_named(workload))


def _accepted(ledger: Connection, name: str, bound: Mapping[str, str]) -> set[str]:
    kept = bound.get(_name(name))
    if kept:
        return set(kept.split())
    if name not in list_workloads(ledger):
        return set()
    return {address for _, address in _named(read_workload(ledger, name)[0])}


def _named(workload: Workload) -> list[tuple[str, str]]:
    if not isinstance(workload.service.router, EnvoyFileRouter):
        return []
    return [
        (name, arm.origin) for name, arm in zip(_ARMS, arms_of(workload.service)[:2], strict=True)
    ]


def _spelled(address: str) -> str:
    try:
        return Arm(address).origin
    except ValueError:  # no address at all, or a port that there is not
        return address


def _addresses(named: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(address for _, address in named))


def _keep(bound: dict[str, str], workload: str, addresses: set[str]) -> None:
    if addresses:  # a refusal alone keeps nothing: another home may accept them first
        bound[_name(workload)] = " ".join(sorted(addresses))


def _name(workload: str) -> str:
    return f"addresses:{workload}"
