"""The demo's AWS account: a small company on a moto server, found or created by name."""

from __future__ import annotations

from dataclasses import dataclass, field

from qafila.demo.estate_maker import Maker
from qafila.demo.estate_plan import REGION, Seeded
from qafila.demo.estate_reader import enforce_policies, make_reader


@dataclass(frozen=True)
class Estate:
    """The seeded account and the keys of its read-only reader."""

    endpoint_url: str
    regions: tuple[str, ...]
    access_key_id: str
    secret_access_key: str = field(repr=False)
    seeded: tuple[Seeded, ...]


def seed_estate(endpoint_url: str) -> Estate:
    """Find or create every resource of the demo, and make new keys for the reader.

    Idempotent by name (the untagged instance by its type): a second call adds nothing. Keys of
    an earlier call stop working, since a secret cannot be read back.
    """
    enforce_policies(endpoint_url, False)
    maker = Maker(endpoint_url)
    groups = maker.security_groups()
    instances = maker.instances(groups)
    seeded = [*instances.values(), *maker.disks(instances), *maker.databases(groups)]
    maker.addresses(instances)
    seeded += maker.buckets()
    seeded += maker.balancers(groups, instances)
    seeded += maker.functions()
    seeded += maker.tables() + maker.queues()
    key, secret = make_reader(maker.client("iam"))
    enforce_policies(endpoint_url, True)
    return Estate(endpoint_url, (REGION,), key, secret, tuple(seeded))
