"""What Route 53 would refuse of weighted records, and what would make the weights untrue.

Limits: Route 53 API 2013-04-01: weights 0 to 255, set identifiers to 128 letters, one time to live
and one kind of routing for all records of a name and type; an alias has no time to live of its own
and is answered with 60 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from qafila.routers.aws.calls import code_of
from qafila.workload.router import Route53Router as Settings

_ALIAS_TTL_S = 60


def records_of(dns: Any, zone: str, name: str, kind: str) -> list[dict[str, Any]]:
    """Return all records of one name and type; empty when there is none.

    Raises:
        ClientError, BotoCoreError: from AWS.
    """
    found: list[dict[str, Any]] = []
    start: dict[str, Any] = {"StartRecordName": name, "StartRecordType": kind}
    while True:
        page = dns.list_resource_record_sets(HostedZoneId=zone, **start)
        sets = page["ResourceRecordSets"]
        same = [r for r in sets if r["Name"].lower() == name and r["Type"] == kind]
        found += same
        if not page["IsTruncated"] or not same:  # they stand together
            return found
        start = {
            f"StartRecord{key}": page[f"NextRecord{key}"]
            for key in ("Name", "Type", "Identifier")
            if page.get(f"NextRecord{key}")
        }


def problems_of(dns: Any, settings: Settings, arms: Mapping[str, str], note: str) -> list[str]:
    """Return every problem of zone and records, each one sentence.

    Raises:
        ClientError, BotoCoreError: from AWS, but not for a zone that is merely unknown.
    """
    try:
        zone = dns.get_hosted_zone(Id=settings.hosted_zone)["HostedZone"]
    except ClientError as error:
        if code_of(error) != "NoSuchHostedZone":
            raise
        return [f"there is no hosted zone {settings.hosted_zone} in this account."]
    if not ("." + settings.fqdn).endswith("." + str(zone["Name"]).lower()):
        return [f"{settings.fqdn} is not in the hosted zone {zone['Name']}"]
    problems: list[str] = []
    for other in {"A", "AAAA"} - set(settings.types) if "CNAME" not in settings.types else ():
        if records_of(dns, settings.hosted_zone, settings.fqdn, other):
            problems.append(
                f"there are {other} records of the same name, which no weight would reach: name "
                "both types in service.router.types."
            )
    taken_over = bool(records_of(dns, settings.hosted_zone, note, "TXT"))
    for kind in settings.types:
        records = records_of(dns, settings.hosted_zone, settings.fqdn, kind)
        problems += _record_problems(settings, kind, records, arms, taken_over)
    return problems


def _record_problems(
    settings: Settings,
    kind: str,
    records: list[dict[str, Any]],
    arms: Mapping[str, str],
    taken_over: bool,
) -> list[str]:
    named = {str(r.get("SetIdentifier", "")): r for r in records}
    problems = [
        f"there is no {kind} record {settings.fqdn} with set identifier {identifier!r}."
        for identifier in arms
        if identifier not in named
    ]
    for identifier, record in named.items():
        told = f"{kind} record {identifier!r}"
        if "Weight" not in record:
            problems.append(f"{told} is not a weighted record.")
        elif identifier not in arms:
            if record["Weight"]:
                problems.append(f"{told} takes traffic and is neither baseline nor candidate.")
        elif arms[identifier] == "candidate" and record["Weight"] and not taken_over:
            problems.append(f"{told} has weight already, and Qafila did not give it: set it to 0.")
        if identifier in arms:
            ttl = _ALIAS_TTL_S if "AliasTarget" in record else record.get("TTL")
            if ttl != settings.ttl_seconds:
                problems.append(
                    f"{told} lives {ttl} s, service.router.ttl_seconds says "
                    f"{settings.ttl_seconds}: a rollback would not take what it is said to."
                )
    return problems
