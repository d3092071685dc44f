"""Regions as bills spell them: AWS billing codes and place names, as region codes.

Source: the list of region abbreviations in "Understanding your AWS billing and usage reports for
Amazon S3" (AWS documentation), read 2026-11-27; no prefix means us-east-1. Names: the wording of
AWS price descriptions, seen in real cost exports of 2023-11 and 2024-09.
"""

from __future__ import annotations

import re

BILLING_CODES = {
    "AFS1": "af-south-1",
    "APE1": "ap-east-1",
    "APE2": "ap-east-2",
    "APN1": "ap-northeast-1",
    "APN2": "ap-northeast-2",
    "APN3": "ap-northeast-3",
    "APS1": "ap-southeast-1",
    "APS2": "ap-southeast-2",
    "APS3": "ap-south-1",
    "APS4": "ap-southeast-3",
    "APS5": "ap-south-2",
    "APS6": "ap-southeast-4",
    "APS7": "ap-southeast-5",
    "APS8": "ap-southeast-7",
    "CAN1": "ca-central-1",
    "CAN2": "ca-west-1",
    "CNN1": "cn-north-1",
    "CNW1": "cn-northwest-1",
    "CPT": "af-south-1",
    "EU": "eu-west-1",
    "EUC1": "eu-central-1",
    "EUC2": "eu-central-2",
    "EUN1": "eu-north-1",
    "EUS1": "eu-south-1",
    "EUS2": "eu-south-2",
    "EUW1": "eu-west-1",
    "EUW2": "eu-west-2",
    "EUW3": "eu-west-3",
    "ILC1": "il-central-1",
    "MEC1": "me-central-1",
    "MES1": "me-south-1",
    "MXC1": "mx-central-1",
    "SAE1": "sa-east-1",
    "UGE1": "us-gov-east-1",
    "UGW1": "us-gov-west-1",
    "USE1": "us-east-1",
    "USE2": "us-east-2",
    "USW1": "us-west-1",
    "USW2": "us-west-2",
}

_PLACES = {
    "northern virginia": "us-east-1",
    "n. virginia": "us-east-1",
    "ohio": "us-east-2",
    "northern california": "us-west-1",
    "n. california": "us-west-1",
    "oregon": "us-west-2",
    "cape town": "af-south-1",
    "hong kong": "ap-east-1",
    "taipei": "ap-east-2",
    "tokyo": "ap-northeast-1",
    "seoul": "ap-northeast-2",
    "osaka": "ap-northeast-3",
    "singapore": "ap-southeast-1",
    "sydney": "ap-southeast-2",
    "jakarta": "ap-southeast-3",
    "melbourne": "ap-southeast-4",
    "malaysia": "ap-southeast-5",
    "thailand": "ap-southeast-7",
    "mumbai": "ap-south-1",
    "hyderabad": "ap-south-2",
    "central": "ca-central-1",
    "calgary": "ca-west-1",
    "beijing": "cn-north-1",
    "ningxia": "cn-northwest-1",
    "germany": "eu-central-1",
    "frankfurt": "eu-central-1",
    "zurich": "eu-central-2",
    "ireland": "eu-west-1",
    "dublin": "eu-west-1",
    "london": "eu-west-2",
    "paris": "eu-west-3",
    "stockholm": "eu-north-1",
    "milan": "eu-south-1",
    "spain": "eu-south-2",
    "tel aviv": "il-central-1",
    "uae": "me-central-1",
    "bahrain": "me-south-1",
    "mexico": "mx-central-1",
    "sao paulo": "sa-east-1",
    "são paulo": "sa-east-1",
}

_PAIR = re.compile(r"^([A-Z0-9]+)-([A-Z0-9]+)-AWS-(In|Out)-A?Bytes", re.ASCII)
_ONE = re.compile(r"^([A-Z]{2,3}[0-9]?)-", re.ASCII)
_NAMED = re.compile(r"([^$()-]+\([^)]+\)) data transfer (to|from) (.+\([^)]+\))", re.ASCII)
_CODED = re.compile(r"([A-Z0-9]+)-AWS-(In|Out)-A?Bytes.* in +(.+\([^)]+\))", re.ASCII)
_PLACE = re.compile(r"\(([^)]+)\)")
_LONGEST_DESCRIPTION = 500  # characters; the longest of the exports that were read has 101


def region_of_prefix(usage_type: str) -> str | None:
    """Return the region that a usage type begins with; None: it names none that is known."""
    found = _ONE.match(usage_type)
    return None if found is None else BILLING_CODES.get(found[1])


def pair_of_usage_type(usage_type: str) -> tuple[str, str] | None:
    """Return (from, to) of an inter-region usage type, in the direction of the bytes.

    ``R1-R2-AWS-Out-Bytes`` went from R1 to R2, ``R1-R2-AWS-In-Bytes`` from R2 to R1 (S3 billing
    page). A code that is not known stays as it is.
    """
    found = _PAIR.match(usage_type)
    if found is None:
        return None
    here, there = (BILLING_CODES.get(code, code) for code in (found[1], found[2]))
    return (here, there) if found[3] == "Out" else (there, here)


def pair_of_text(description: str) -> tuple[str, str] | None:
    """Return (from, to) as a price description tells it; None: it tells no pair.

    Read are "EU (Paris) data transfer to EU (Ireland)", where "from" turns it round, and
    "EUN1-AWS-Out-Bytes in Africa (Cape Town)", which went out to EUN1. A text of more than 500
    characters is no price description and tells no pair.
    """
    if len(description) > _LONGEST_DESCRIPTION:
        return None
    if (found := _NAMED.search(description)) is not None:
        here, there = region_of_name(found[1]), region_of_name(found[3])
        return (here, there) if found[2] == "to" else (there, here)
    if (found := _CODED.search(description)) is not None:
        here, there = region_of_name(found[3]), BILLING_CODES.get(found[1], found[1])
        return (here, there) if found[2] == "Out" else (there, here)
    return None


def region_of_name(name: str) -> str:
    """Return the code of "EU (Paris)"; a name that is not known stays as it is."""
    place = _PLACE.search(name)
    return name.strip() if place is None else _PLACES.get(place[1].lower(), name.strip())
