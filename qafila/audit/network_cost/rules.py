"""How a bill's line is told to be a network charge: ordered rules, for Python and for SQL alike.

The rules are data. :func:`kind_of` applies them to one line; :func:`case_expression` writes the
same rules as SQL, so that ten million lines are classified by the database and there is one truth.
Patterns keep to what Python's ``re`` and RE2 (DuckDB) read alike: no look-around, no ``\\w``.

The words are those of the vendors: AWS usage types (the billing pages of Amazon S3, VPC, Elastic
Load Balancing and CloudFront), AWS price descriptions, Azure meters (Bandwidth, Virtual Network,
NAT Gateway, ExpressRoute, Front Door), Google SKUs and Oracle's price list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qafila.decision.network_kinds import Kind


@dataclass(frozen=True)
class Rule:
    """Lines whose text matches ``pattern`` are of this kind; case is ignored.

    ``service``: the line's service must match it, too. ``sized``: the line's unit must be one of
    bytes or be missing, because the words alone ("ingress") are also said of events.
    """

    kind: Kind
    pattern: str
    service: str | None = None
    sized: bool = False


# "1 GB", "GB Months", "GiBy": any unit of bytes that is not one of bytes times time at a rate.
SIZED_UNIT = r"(^|[^a-z])([kmgtp]i?b|[kmgtp]iby|bytes?|[a-z]+bytes?)([^a-z]|$)"

_CDN = r"(cloudfront|front ?door|cdn|content delivery)"
_ENDPOINT = r"(vpc ?endpoint|private ?link|private ?endpoint|private service connect)"
_NAT = r"(nat[ -]?gateway|cloud nat)"
_LINK = (
    r"(transit ?gateway|cloud ?wan|peering|vpn|direct ?connect|express ?route|fast ?connect"
    r"|interconnect|vpc ?lattice|virtual wan)"
)
_ELB = r"(elb|load ?balanc|elastic compute|amazonec2)"

USAGE_TYPE_RULES = (
    Rule(Kind.CDN, r"cloudfront-(in|out)-a?bytes|datatransfer-out-obytes"),
    Rule(Kind.CDN, r"(in|out)-[a-z]?bytes", service=r"cloudfront"),
    Rule(Kind.NAT_PROCESSING, r"natgateway.*bytes"),
    Rule(Kind.NAT_HOURS, r"natgateway-"),
    Rule(Kind.ENDPOINT, r"vpcendpoint.*bytes"),
    Rule(Kind.ENDPOINT_HOURS, r"vpcendpoint.*hour"),
    Rule(Kind.CONNECTION, r"(transitgateway|tgw|vpcpeering|cloudwan|vpclattice|vpn).*bytes"),
    Rule(Kind.CONNECTION, r"dataxfer-(in|out).*:dc|dataxfer-.*dx"),
    Rule(Kind.CONNECTION, r"data(xfer|transfer)", service=r"direct ?connect"),
    Rule(Kind.CONNECTION_HOURS, r"(transitgateway|cloudwan|clientvpn|vpclattice).*hour"),
    Rule(Kind.CONNECTION_HOURS, r"vpn-usage-hours|portusage"),
    Rule(Kind.LOAD_BALANCER, r"(dataprocessing|loadbalancer)-bytes", service=_ELB),
    Rule(Kind.INTER_REGION, r"aws-(in|out)-a?bytes"),
    Rule(Kind.CROSS_ZONE, r"datatransfer-(regional|xaz-(in|out))-bytes"),
    Rule(Kind.WITHIN_REGION, r"datatransfer-az-(in|out)-bytes|c3datatransfer-(in|out)"),
    Rule(Kind.INTERNET_IN, r"datatransfer-in-a?bytes|dataxfer-in"),
    Rule(Kind.INTERNET_OUT, r"datatransfer-out-a?bytes|dataxfer-out"),
    Rule(Kind.OTHER, r"data-?transfer|data-?xfer|(^|[^a-z])(in|out)-[a-z]?bytes"),
)

TEXT_RULES = (
    Rule(Kind.CROSS_CLOUD, r"cross-?cloud|multi-?cloud.*connect|azure interconnect"),
    Rule(Kind.NAT_PROCESSING, rf"{_NAT}.*process|process.*{_NAT}"),
    Rule(Kind.NAT_HOURS, rf"{_NAT}.*(hour|uptime|standard gateway)"),
    Rule(Kind.ENDPOINT, rf"{_ENDPOINT}.*(process|per gb)|process.*{_ENDPOINT}"),
    Rule(Kind.ENDPOINT_HOURS, rf"{_ENDPOINT}.*hour|standard private endpoint"),
    Rule(
        Kind.CONNECTION,
        rf"{_LINK}.*(data transfer|process|per gb|egress|ingress|bandwidth)"
        rf"|(data transfer|process|per gb).*{_LINK}",
        sized=True,
    ),
    Rule(Kind.CONNECTION_HOURS, rf"{_LINK}.*(hour|tunnel|attachment|circuit|gateway|[^a-z]port)"),
    Rule(Kind.CDN, rf"{_CDN}.*(transfer|cache fill|egress)|transfer.*{_CDN}", sized=True),
    Rule(Kind.CDN, r"data transfer|per gb", service=_CDN, sized=True),
    Rule(
        Kind.LOAD_BALANCER,
        r"(load ?balanc|application gateway).*process|process.*load ?balanc",
        sized=True,
    ),
    Rule(Kind.CROSS_ZONE, r"regional data transfer|(inter|cross)[- ]?(availability[- ])?(zone|az)"),
    Rule(Kind.WITHIN_REGION, r"intra[- ]?(availability[- ])?(zone|az|region)"),
    Rule(Kind.INTERNET_IN, r"from (the )?internet|internet (ingress|data transfer in)"),
    Rule(Kind.INTERNET_OUT, r"data transfer.*to (the )?internet|internet (egress|data transfer)"),
    Rule(Kind.INTER_REGION, r"(inter|cross)[- ]?(aws )?region|(inter|intra)[- ]?continent"),
    Rule(Kind.INTER_REGION, r"data transfer (to|from) "),
    Rule(Kind.INTERNET_IN, r"data transfer(red)? in([^a-z]|$)|inbound data transfer"),
    Rule(Kind.INTERNET_IN, r"ingress", sized=True),
    Rule(Kind.INTERNET_OUT, r"data transfer(red)? out([^a-z]|$)|outbound data transfer"),
    Rule(Kind.INTERNET_OUT, r"egress", sized=True),
)

LAST_RULES = (
    Rule(Kind.OTHER, r"data ?transfer|data ?xfer"),
    Rule(Kind.OTHER, r"bandwidth", sized=True),
)


def kind_of(
    usage_type: str | None, text: str | None, service: str | None, unit: str | None
) -> Kind | None:
    """Return what a line charges for on the network; None: it is no network charge.

    The usage type decides, where it says something; then the words of ``text`` (see
    :func:`text_of`), then a usage type named inside them.
    """
    for rules, subject in _PASSES:
        said = usage_type if subject == "usage_type" else text
        if (kind := _first(rules, said, service, unit)) is not None:
            return kind
    return None


def text_of(service: str | None, description: str | None, meter: str | None) -> str:
    """Return the words of a line in one piece; Azure says in the service what the meter leaves."""
    return " · ".join(part for part in (service, description, meter) if part is not None)


_PASSES: tuple[tuple[Sequence[Rule], str], ...] = (
    (USAGE_TYPE_RULES, "usage_type"),
    (TEXT_RULES, "text"),
    (USAGE_TYPE_RULES, "text"),
    (LAST_RULES, "text"),
)


def _first(
    rules: Sequence[Rule], said: str | None, service: str | None, unit: str | None
) -> Kind | None:
    if said is None:
        return None
    for rule in rules:
        if rule.sized and unit is not None and not _found(SIZED_UNIT, unit):
            continue
        if rule.service is not None and (service is None or not _found(rule.service, service)):
            continue
        if _found(rule.pattern, said):
            return rule.kind
    return None


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.ASCII | re.IGNORECASE) is not None


def case_expression() -> str:
    """Return the rules as one SQL expression over ``usage_type``, ``text``, ``service``, ``unit``.

    Its value is a :class:`Kind`, or NULL where a line is no network charge.
    """
    return "coalesce(\n" + ",\n".join(_case(rules, said) for rules, said in _PASSES) + "\n)"


def _case(rules: Sequence[Rule], said: str) -> str:
    branches = []
    for rule in rules:
        tests = [_matches(said, rule.pattern)]
        if rule.service is not None:
            tests.append(_matches("service", rule.service))
        if rule.sized:
            tests.append(f"(unit IS NULL OR {_matches('unit', SIZED_UNIT)})")
        branches.append(f"    WHEN {' AND '.join(tests)} THEN '{rule.kind.value}'")
    return "  CASE\n" + "\n".join(branches) + "\n  END"


def _matches(column: str, pattern: str) -> str:
    quoted = pattern.replace("'", "''")
    return f"regexp_matches({column}, '{quoted}', 'i')"
