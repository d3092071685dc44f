"""Transfer lines by kind: the vendors' words, and one truth for Python and SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qafila.audit.network_cost.rules import (
    LAST_RULES,
    SIZED_UNIT,
    TEXT_RULES,
    USAGE_TYPE_RULES,
    case_expression,
    kind_of,
    text_of,
)
from qafila.decision.network_kinds import Kind

EC2, S3, VPC = "Amazon Elastic Compute Cloud", "Amazon Simple Storage Service", "AmazonVPC"
ELB, CLOUDFRONT = "AWSELB", "AmazonCloudFront"


@pytest.mark.parametrize(
    ("usage_type", "service", "kind"),
    [
        ("EUW3-DataTransfer-Regional-Bytes", EC2, Kind.CROSS_ZONE),
        ("USE1-DataTransfer-xAZ-In-Bytes", EC2, Kind.CROSS_ZONE),
        ("DataTransfer-Out-Bytes", EC2, Kind.INTERNET_OUT),
        ("EUW3-DataTransfer-Out-ABytes-T1", S3, Kind.INTERNET_OUT),
        ("EU-DataTransfer-Out-Bytes", CLOUDFRONT, Kind.CDN),  # the same words, another service
        ("EU-DataTransfer-Out-OBytes", CLOUDFRONT, Kind.CDN),
        ("USE1-CloudFront-Out-Bytes", S3, Kind.CDN),
        ("USW2-DataTransfer-In-Bytes", EC2, Kind.INTERNET_IN),
        ("EUW3-USE1-AWS-Out-Bytes", EC2, Kind.INTER_REGION),
        ("CAN1-MEC1-AWS-In-Bytes", S3, Kind.INTER_REGION),
        ("EUW3-C3DataTransfer-Out-Bytes", S3, Kind.WITHIN_REGION),
        ("EUW3-NatGateway-Bytes", EC2, Kind.NAT_PROCESSING),
        ("EUW3-NatGateway-Hours", EC2, Kind.NAT_HOURS),
        ("NatGateway-Prvd-Gbps", EC2, Kind.NAT_HOURS),
        ("EUW3-VpcEndpoint-Bytes", VPC, Kind.ENDPOINT),
        ("EUW3-VpcEndpoint-GWLBE-Hours", VPC, Kind.ENDPOINT_HOURS),
        ("EUW3-TransitGateway-Bytes", VPC, Kind.CONNECTION),
        ("EUW3-TransitGateway-Hours", VPC, Kind.CONNECTION_HOURS),
        ("EUW3-VpcPeering-In-Bytes", VPC, Kind.CONNECTION),
        ("EUW3-VPN-Usage-Hours:ipsec.1", VPC, Kind.CONNECTION_HOURS),
        ("DataTransfer-Out-Bytes", "AWSDirectConnect", Kind.CONNECTION),
        ("EUW3-DataProcessing-Bytes", ELB, Kind.LOAD_BALANCER),
        ("EUW3-DataProcessing-Bytes", "AmazonCloudWatch", None),  # log data, no network
        ("EUW3-S3RTC-Out-Bytes", S3, Kind.OTHER),
        ("EUW3-TimedStorage-ByteHrs", S3, None),
        ("EUW3-BoxUsage:m6i.large", EC2, None),
        ("EUW3-Requests-Tier1", S3, None),
        ("EUW3-LCUUsage", ELB, None),  # billed by capacity, not by bytes
    ],
)
def test_a_usage_type_tells_the_kind(usage_type: str, service: str, kind: Kind | None) -> None:
    assert (
        kind_of(usage_type, text_of(service, "as the price list says", None), service, "GB") is kind
    )


@pytest.mark.parametrize(
    ("service", "description", "meter", "unit", "kind"),
    [
        # AWS price descriptions, all from a real bill
        (
            EC2,
            "$0.010 per GB - regional data transfer - in/out/between EC2 AZs or using elastic"
            " IPs or ELB",
            None,
            "GB",
            Kind.CROSS_ZONE,
        ),
        (
            EC2,
            "$0.085 per GB - next 40 TB / month data transfer out",
            None,
            "GB",
            Kind.INTERNET_OUT,
        ),
        (EC2, "$0.000 per GB - data transfer in per month", None, "GB", Kind.INTERNET_IN),
        (
            EC2,
            "$0.02 per GB - EU (London) data transfer to EU (Ireland)",
            None,
            "GB",
            Kind.INTER_REGION,
        ),
        (
            EC2,
            "$0.00 per GB data transfer in to EU (Germany) from CloudFront",
            None,
            "GB",
            Kind.CDN,
        ),
        (
            "Amazon CloudFront",
            "$0.085 per GB - first 10 TB / month data transfer out",
            None,
            "GB",
            Kind.CDN,
        ),
        ("Amazon CloudFront", "$0.0075 per 10,000 HTTP Requests", None, "Requests", None),
        (EC2, "$0.045 per GB Data Processed by NAT Gateways", None, "GB", Kind.NAT_PROCESSING),
        (EC2, "$0.045 per NAT Gateway Hour", None, "Hours", Kind.NAT_HOURS),
        (
            EC2,
            "USD0.0 per GB for DataTransfer-Out-Bytes usage in  Africa (Cape Town)",
            None,
            "GB",
            Kind.INTERNET_OUT,
        ),
        (
            EC2,
            "USD 0.02 per GB for EUN1-AWS-Out-Bytes in EU (Stockholm)",
            None,
            "GB",
            Kind.INTER_REGION,
        ),
        (
            "Amazon Virtual Private Cloud",
            "$0.01 per GB Data Processed by VPC Endpoints",
            None,
            "GB",
            Kind.ENDPOINT,
        ),
        (
            "Amazon Virtual Private Cloud",
            "$0.02 per GB Data Processed by Transit Gateway",
            None,
            "GB",
            Kind.CONNECTION,
        ),
        (
            "Amazon Virtual Private Cloud",
            "$0.05 per Transit Gateway Attachment Hour",
            None,
            "Hours",
            Kind.CONNECTION_HOURS,
        ),
        (EC2, "$0.096 per On Demand Linux m6i.large Instance Hour", None, "Hours", None),
        (S3, "$0.023 per GB - first 50 TB / month of storage used", None, "GB-Mo", None),
        # Azure meters
        (
            "Bandwidth",
            "Bandwidth Inter-Region",
            "Intra Continent Data Transfer Out",
            "1 GB",
            Kind.INTER_REGION,
        ),
        (
            "Bandwidth",
            "Rtn Preference: MGN",
            "Standard Data Transfer Out",
            "1 GB",
            Kind.INTERNET_OUT,
        ),
        (
            "Bandwidth",
            "Rtn Preference: MGN",
            "Standard Inter-Availability Zone Data Transfer Out",
            "1 GB",
            Kind.CROSS_ZONE,
        ),
        ("NAT Gateway", "NAT Gateway", "Standard Data Processed", "1 GB", Kind.NAT_PROCESSING),
        ("NAT Gateway", "NAT Gateway - Standard", "Standard Gateway", "1 Hour", Kind.NAT_HOURS),
        (
            "Virtual Network",
            "Virtual Network Private Link",
            "Standard Data Processed - Ingress",
            "1 GB",
            Kind.ENDPOINT,
        ),
        (
            "Virtual Network",
            "Virtual Network Peering",
            "Intra-Region Ingress",
            "1 GB",
            Kind.CONNECTION,
        ),
        (
            "ExpressRoute",
            "ExpressRoute",
            "Standard Metered Data 1 Gbps Circuit",
            "1/Month",
            Kind.CONNECTION_HOURS,
        ),
        ("Load Balancer", "Load Balancer", "Standard Data Processed", "1 GB", Kind.LOAD_BALANCER),
        ("Event Hubs", "Event Hubs", "Standard Ingress Events", "1M", None),  # events, not bytes
        # Oracle and Google
        ("NETWORK", "Outbound Data Transfer Zone 1", None, "GB Months", Kind.INTERNET_OUT),
        (
            "Compute Engine",
            "Network Internet Data Transfer Out from EMEA to Seoul",
            None,
            "gibibyte",
            Kind.INTERNET_OUT,
        ),
        (
            "Compute Engine",
            "Network Inter Zone Data Transfer Out",
            None,
            "gibibyte",
            Kind.CROSS_ZONE,
        ),
        (
            "Compute Engine",
            "Network Inter Region Data Transfer In from APAC to Americas",
            None,
            "gibibyte",
            Kind.INTER_REGION,
        ),
        # nothing fits: named, never dropped
        ("Some service", "data transfer of another sort", None, "GB", Kind.OTHER),
        ("Some service", None, "Bandwidth", None, Kind.OTHER),
    ],
)
def test_words_tell_the_kind_where_there_is_no_usage_type(
    service: str, description: str | None, meter: str | None, unit: str, kind: Kind | None
) -> None:
    assert kind_of(None, text_of(service, description, meter), service, unit) is kind


@contextmanager
def classifier() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE line (usage_type VARCHAR, text VARCHAR, service VARCHAR, unit VARCHAR)"
        )
        yield connection


RULES = (*USAGE_TYPE_RULES, *TEXT_RULES, *LAST_RULES)
words = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.sampled_from(RULES).flatmap(
        lambda r: st.from_regex(re.compile(r.pattern, re.ASCII | re.IGNORECASE))
    ),
    st.sampled_from([r.service for r in RULES if r.service]).flatmap(
        lambda p: st.from_regex(re.compile(p, re.ASCII | re.IGNORECASE))
    ),
).filter(lambda text: text is None or "\0" not in text)
units = st.none() | st.sampled_from(["GB", "1 GB", "GiB", "Hours", "1M", "Bytes", "gibibyte", ""])


@given(st.lists(st.tuples(words, words, words, units), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_database_always_says_what_the_rules_say(
    lines: list[tuple[str | None, str | None, str | None, str | None]],
) -> None:
    with classifier() as connection:
        connection.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", lines)
        told = connection.execute(
            f"SELECT usage_type, text, service, unit, {case_expression()} FROM line"
        ).fetchall()
    for usage_type, text, service, unit, kind in told:
        expected = kind_of(usage_type, text, service, unit)
        assert kind == (None if expected is None else expected.value)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.kind.value}: {r.pattern[:30]}")
def test_a_pattern_keeps_to_what_both_engines_read(rule: object) -> None:
    pattern = rule.pattern  # type: ignore[attr-defined]
    assert not re.search(r"\(\?|\\[wWsSdDbB1-9]", pattern)
    assert pattern == pattern.lower()


@pytest.mark.parametrize(
    ("unit", "sized"),
    [
        ("GB", True),
        ("1 GB", True),
        ("GiBy", True),
        ("GB Months", True),
        ("Bytes", True),
        ("gibibyte", True),
        ("Gigabyte Outbound Data Transfer Per Month", True),
        ("Hrs", False),
        ("1M", False),
        ("Requests", False),
        ("LCU-Hours", False),
        ("Mbps Per Hour", False),
    ],
)
def test_a_unit_of_bytes(unit: str, sized: bool) -> None:
    assert bool(re.search(SIZED_UNIT, unit, re.ASCII | re.IGNORECASE)) is sized
