"""Bills on S3, read from a real server: downloaded, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from qafila.errors import BadInput, Unavailable
from tasks.bills import read_bill
from tests.aws import running_moto
from tests.unit.bill_files import HEAD, bill_of


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with running_moto() as url:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="eu-west-3",
            aws_access_key_id="x", aws_secret_access_key="y",
        )  # fmt: skip
        client.create_bucket(
            Bucket="bills", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
        )
        yield client


def test_bills_of_a_bucket_and_of_this_machine_are_one(s3: Any, tmp_path: Path) -> None:
    away = bill_of(tmp_path, "1.5,EUR,2026-05-01,Usage,a", name="away.csv.gz")
    s3.upload_file(str(away), "bills", "export/2026-05/away.csv.gz")
    here = bill_of(tmp_path, "2,EUR,2026-05-01,Usage,b", name="here.csv")
    bill = read_bill(["s3://bills/export/2026-05/away.csv.gz", here], s3=s3)
    assert (bill.total("EUR"), bill.rows) == (Decimal("3.5"), 2)
    # A flow's form keeps paths, which fold the two slashes into one.
    assert read_bill(Path("s3://bills/export/2026-05/away.csv.gz"), s3=s3).rows == 1


def test_an_object_that_is_not_there_is_named(s3: Any) -> None:
    with pytest.raises(BadInput, match=r"there is no bill at s3://bills/none\.csv"):
        read_bill("s3://bills/none.csv", s3=s3)
    with pytest.raises(BadInput, match="names no object"):
        read_bill("s3://bills/export/", s3=s3)


def test_a_bucket_that_does_not_answer_is_unavailable() -> None:
    client = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:9", region_name="eu-west-3",
        aws_access_key_id="x", aws_secret_access_key="y",
        config=boto3.session.Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    with pytest.raises(Unavailable, match="could not be asked"):
        read_bill("s3://bills/a.csv", s3=client)


def test_the_same_lines_in_two_objects_are_refused(s3: Any, tmp_path: Path) -> None:
    head = HEAD + ",ResourceId"
    path = bill_of(tmp_path, "1,EUR,2026-05-01,Usage,a,r", head=head)
    for key in ("1/bill.csv", "2/bill.csv"):
        s3.upload_file(str(path), "bills", key)
    with pytest.raises(BadInput, match="count money twice"):
        read_bill(["s3://bills/1/bill.csv", "s3://bills/2/bill.csv"], s3=s3)
