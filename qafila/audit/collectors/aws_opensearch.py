"""OpenSearch: domains, those of Elasticsearch too, and serverless collections."""

from __future__ import annotations

from typing import Any

from qafila.audit.collectors.aws_account import Account, tags_of
from qafila.audit.collectors.variables import host_in
from qafila.audit.estate import Outcome, Resource

ACTIONS = (
    "es:ListDomainNames",
    "es:DescribeDomains",
    "es:ListTags",
    "aoss:ListCollections",
    "aoss:BatchGetCollection",
    "aoss:ListTagsForResource",
)
_DOMAINS_A_CALL = 5  # limit of DescribeDomains
_COLLECTIONS_A_CALL = 100  # limit of BatchGetCollection
_PAGES = 200


def read(account: Account) -> None:
    """Add each domain, sized by the disks allocated to it, and each serverless collection."""
    with account.tolerating("opensearch domains"):
        client = account.client("opensearch")
        names = [d["DomainName"] for d in client.list_domain_names()["DomainNames"]]
        for start in range(0, len(names), _DOMAINS_A_CALL):
            answer = client.describe_domains(DomainNames=names[start : start + _DOMAINS_A_CALL])
            for domain in answer["DomainStatusList"]:
                _add_domain(account, client, domain)
    with account.tolerating("opensearch serverless collections"):
        _collections(account)


def _add_domain(account: Account, client: Any, domain: dict[str, Any]) -> None:
    arn, name = domain["ARN"], domain["DomainName"]
    tags: dict[str, str] = {}
    with account.tolerating(f"opensearch tags of {name}"):
        tags = tags_of(client.list_tags(ARN=arn).get("TagList"))
    machines = domain.get("ClusterConfig", {})
    disks = domain.get("EBSOptions", {})
    network = domain.get("VPCOptions", {})
    allocated = (disks.get("VolumeSize") or 0) * (machines.get("InstanceCount") or 0)
    account.found.append(
        Resource(
            arn,
            "opensearch:domain",
            name,
            account.region,
            allocated << 30 or None,
            tags,
            {
                "version": domain.get("EngineVersion"),
                "type": machines.get("InstanceType"),
                "nodes": machines.get("InstanceCount"),
                "dedicated_masters": machines.get("DedicatedMasterCount"),
                "address": domain.get("Endpoint") or domain.get("Endpoints", {}).get("vpc"),
                "size_is": "allocated",
                "vpc": network.get("VPCId"),
                "subnets": network.get("SubnetIds", []),
                "zones": network.get("AvailabilityZones", []),
                "security_groups": network.get("SecurityGroupIds", []),
            },
        )
    )


def _collections(account: Account) -> None:
    client = account.client("opensearchserverless")
    ids: list[str] = []
    token: dict[str, str] = {}
    for _ in range(_PAGES):  # botocore has no paginator for this operation
        answer = client.list_collections(**token)
        ids += [c["id"] for c in answer["collectionSummaries"]]
        if not answer.get("nextToken"):
            break
        token = {"nextToken": answer["nextToken"]}
    else:
        account.missed(Outcome.TRUNCATED, f"more than {_PAGES} pages", "list_collections")
    for start in range(0, len(ids), _COLLECTIONS_A_CALL):
        answer = client.batch_get_collection(ids=ids[start : start + _COLLECTIONS_A_CALL])
        for failed in answer.get("collectionErrorDetails", []):
            account.missed(
                Outcome.UNSUPPORTED,
                f"BatchGetCollection said {failed.get('errorCode')}",
                f"opensearch collection {failed.get('id')}",
            )
        for collection in answer["collectionDetails"]:
            tags: dict[str, str] = {}
            with account.tolerating(f"opensearch tags of {collection['name']}"):
                tags = tags_of(
                    client.list_tags_for_resource(resourceArn=collection["arn"]).get("tags")
                )
            endpoint = collection.get("collectionEndpoint", "")
            account.found.append(
                Resource(
                    collection["arn"],
                    "opensearch:collection",
                    collection["name"],
                    account.region,
                    None,
                    tags,
                    {
                        "collection_type": collection.get("type"),
                        "state": collection.get("status"),
                        "address": host_in("endpoint", endpoint),
                    },
                )
            )
