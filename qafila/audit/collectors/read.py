"""Which collectors look where in AWS, and all of them at once under one pace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from qafila.audit.collectors import COLLECTORS
from qafila.audit.collectors.aws_account import Account, Limits
from qafila.audit.collectors.aws_refusals import Standing
from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.port import Collector
from qafila.audit.estate import Collected
from qafila.connections.settings import AwsConnection
from qafila.errors import BadInput

_LIMITS = Limits()
CONCURRENCY = 64  # looks at once; most of them wait for their bucket
_SWITCHED_ON = frozenset({"opt-in-not-required", "opted-in"})


class AwsPlace:
    """One region of one account with the collectors that look at it.

    ``account`` is its number, empty where it could not be found out. ``name`` is for people.
    Not a dataclass: Prefect would walk through its fields on the way into a task.
    """

    __slots__ = ("_open", "account", "collectors", "name", "region")

    def __init__(
        self,
        account: str,
        region: str,
        collectors: tuple[Collector, ...],
        open_: Callable[[], Account],
    ) -> None:
        self.account = account
        self.region = region
        self.name = f"{account} {region}".strip()
        self.collectors = collectors
        self._open = open_

    def look(self) -> Account:
        """Return a new look at this place; each collector needs one of its own."""
        return self._open()


def aws_places(
    block: AwsConnection,
    regions: Sequence[str] = (),
    *,
    limits: Limits = _LIMITS,
    pacing: Pacing | None = None,
    collectors: Iterable[Collector] = COLLECTORS,
) -> list[AwsPlace]:
    """Return every place of the block's accounts: its own first, then each role's.

    Asks each account for its number and for which regions are switched on. A region that is not
    is a place too: its collectors say so without a call. All looks share one ``pacing``. What
    belongs to a whole account is looked at once, in the first region that is switched on. The
    collectors that ask for each thing come first: what they have to wait for begins at once, and
    the long lists of the others are taken apart meanwhile.

    Raises:
        BadInput: a role leads to the account that is read directly; it would be read twice.
    """
    pacing = pacing or Pacing()
    wanted = tuple(dict.fromkeys(regions or block.regions))
    of_aws = sorted((c for c in collectors if c.of == "aws"), key=lambda c: not c.each)
    places: list[AwsPlace] = []
    own = ""
    for role, session in block.sessions():
        look = partial(
            Account, session, endpoint_url=block.endpoint_url, limits=limits, pacing=pacing
        )
        number = _number(map(look, wanted), role)
        if role and number == own:
            raise BadInput(
                f"the role {role} leads to account {own}, which is read directly already.",
                remedy="take it out of assume_roles of the AWS connection",
            )
        own = own or ("" if role else number)
        standings = _standings([look(region) for region in wanted], "" if role else number)
        once = next((r for r in wanted if standings[r].enabled is not False), wanted[0])
        places += [
            AwsPlace(
                number,
                region,
                tuple(c for c in of_aws if c.scope == "region" or region == once),
                partial(look, region, account=number, standing=standings[region]),
            )
            for region in wanted
        ]
    return places


def read_places(
    places: Sequence[AwsPlace],
    *,
    concurrency: int = CONCURRENCY,
    done: Callable[[Collected], None] = lambda _: None,
) -> list[Collected]:
    """Run every collector of every place, so many at once; the order is that of the places.

    One service is begun in all its places before the next: each place has a bucket of its own for
    it, and the slow ones then empty side by side. Those that list alone run beside those that ask
    for each thing, as many as there are places: taking long lists apart keeps a processor busy,
    and more of it at once would only let the others wait. ``done`` is called as each one ends, on
    the thread that ran it.
    """
    looks = [(place, collector) for place in places for collector in place.collectors]
    turns = in_turn([collector.name for _, collector in looks])

    def run(turn: int) -> Collected:
        place, collector = looks[turn]
        collected = collector.collect(place.look())
        done(collected)
        return collected

    lists_at_once = max(1, min(concurrency, len(places)))
    with (
        ThreadPoolExecutor(concurrency, thread_name_prefix="collect") as asking,
        ThreadPoolExecutor(lists_at_once, thread_name_prefix="list") as listing,
    ):
        begun = {
            turn: (asking if looks[turn][1].each else listing).submit(run, turn) for turn in turns
        }
        return [begun[turn].result() for turn in sorted(begun)]


def in_turn(names: Sequence[str]) -> list[int]:
    """Return the places of ``names`` so that each name comes in all its places before the next.

    >>> in_turn(["lambda", "s3", "lambda", "s3", "sqs"])
    [0, 2, 1, 3, 4]
    """
    first = {name: number for number, name in reversed(list(enumerate(names)))}
    return sorted(range(len(names)), key=lambda place: first[names[place]])


def _number(looks: Iterable[Account], role: str) -> str:
    """Return the account's number: from the role's name, or from the service that knows it.

    Several regions are asked, until one answers: the first may be switched off.
    """
    if role:
        return role.split(":")[4]
    for look in looks:
        with look.tolerating("account number"):
            return str(look.client("sts").get_caller_identity()["Account"])
    return ""


def _standings(looks: Sequence[Account], number: str) -> Mapping[str, Standing]:
    """Return what is known of each look's region: its switch, or at least that the keys work."""
    switches: dict[str, bool] = {}
    for look in looks:
        with look.tolerating("regions"):
            listed = look.client("ec2").describe_regions(AllRegions=True)["Regions"]
            switches = {r["RegionName"]: r.get("OptInStatus") in _SWITCHED_ON for r in listed}
            break
    works = bool(switches) or bool(number)
    return {look.region: Standing(works, switches.get(look.region)) for look in looks}
