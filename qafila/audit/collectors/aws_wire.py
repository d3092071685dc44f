"""Requests and answers of AWS as they travel: signed payloads, page sizes, structures, hints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

_PAGED_WITH = {"Filters", "OwnerIds", "Owners"}  # with ids EC2 refuses a page size
_EC2_PAGE = 500  # EC2 counts an unpaged list against a quota of half the size


def under(page: Any, key: str) -> list[Any]:
    """Return the list that a page has under a key; ``A.B`` leads into a structure."""
    *structures, last = key.split(".")
    for structure in structures:
        page = page.get(structure, {})
    return page.get(last) or []


def page_size(client: Any, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many items to ask EC2 for at once; other services page by themselves."""
    model = client.meta.service_model
    if model.service_name != "ec2" or not parameters.keys() <= _PAGED_WITH:
        return {}
    shape = model.operation_model(client.meta.method_to_api_mapping[operation]).input_shape
    limit = shape.members.get("MaxResults") if shape is not None else None
    if limit is None:
        return {}
    return {"PageSize": min(_EC2_PAGE, limit.metadata.get("max", _EC2_PAGE))}


def asked_seconds(http: Any) -> float | None:
    """Return what a ``Retry-After`` in seconds asks for, at most a minute."""
    asked = http.headers.get("Retry-After", "")
    return min(60.0, float(asked)) if asked.isdecimal() else None


def sign_the_payload(request: Any, **_: Any) -> None:
    """Send the payload's digest as a signed header, as S3 requires and every service accepts.

    A verifier that rebuilds a body-less request wrongly (moto does for REST services) then still
    arrives at our signature.
    """
    body = request.data or b""
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes) and "X-Amz-Content-SHA256" not in request.headers:
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
