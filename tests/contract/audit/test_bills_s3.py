"""Bills on S3, read from a real server: downloaded, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest

from qafila.audit.bills.read import read_bill
from qafila.errors import BadInput, Unavailable
from tests.support.aws import running_moto
from tests.support.bill_files import CUR_2, HEAD, bill_of, text_bill


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with running_moto() as url:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="eu-west-3",
            aws_access_key_id="x",
            aws_secret_access_key="y",
        )
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
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="eu-west-3",
        aws_access_key_id="x",
        aws_secret_access_key="y",
        config=boto3.session.Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(Unavailable, match="could not be asked"):
        read_bill("s3://bills/a.csv", s3=client)


def test_the_same_lines_in_two_objects_are_refused(s3: Any, tmp_path: Path) -> None:
    head = HEAD + ",ResourceId"
    path = bill_of(tmp_path, "1,EUR,2026-05-01,Usage,a,r", head=head)
    for key in ("1/bill.csv", "2/bill.csv"):
        s3.upload_file(str(path), "bills", key)
    with pytest.raises(BadInput, match="count money twice"):
        read_bill(["s3://bills/1/bill.csv", "s3://bills/2/bill.csv"], s3=s3)


@pytest.mark.parametrize(
    ("kind", "amounts", "total"),
    [
        ("DECIMAL(38, 18)", ("0.000000000000000001", "12.5"), "12.500000000000000001"),
        (
            "DECIMAL(38, 28)",
            ("0.0000000000000000000000000001", "1"),
            "1.0000000000000000000000000001",
        ),
        ("DOUBLE", ("0.1", "0.2", "0.0000000004"), "0.3000000004"),
        ("VARCHAR", ("2.27205938461E-7", "-0.1"), "-0.099999772794061539"),
    ],
)
def test_parquet_of_a_bucket_is_exact_whatever_the_type_of_its_amounts(
    s3: Any, tmp_path: Path, kind: str, amounts: tuple[str, ...], total: str
) -> None:
    text = bill_of(
        tmp_path,
        *(f"{a},EUR,2026-05-01,Usage,a,r-{n}" for n, a in enumerate(amounts)),
        head=HEAD + ",ResourceId",
    )
    path = tmp_path / "bill.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (BilledCost::{kind} AS BilledCost)"
            f" FROM read_csv('{text}', all_varchar = true)) TO '{path}' (FORMAT parquet)"
        )
    s3.upload_file(str(path), "bills", f"exact/{kind}.snappy.parquet")
    away = read_bill(f"s3://bills/exact/{kind}.snappy.parquet", s3=s3)
    assert away.total("EUR") == Decimal(total)
    assert away.periods == read_bill(path).periods == read_bill(text).periods


def test_parts_of_an_export_in_a_bucket_are_one_bill(s3: Any, tmp_path: Path) -> None:
    """Data Exports writes several gzip files a month, all of the same name in other folders."""
    head, *lines = CUR_2.splitlines()
    urls = []
    for number, part in enumerate((lines[::2], lines[1::2])):
        path = text_bill(tmp_path, "\n".join([head, *part]) + "\n", f"{number}.csv.gz")
        key = f"data/BILLING_PERIOD=2026-05/part-{number}/export.csv.gz"
        s3.upload_file(str(path), "bills", key)
        urls.append(f"s3://bills/{key}")
    whole = read_bill(text_bill(tmp_path, CUR_2))
    for order in (urls, urls[::-1]):
        bill = read_bill(order, s3=s3)
        assert (bill.rows, bill.total("USD")) == (7, Decimal("0.21"))
        assert (bill.periods, bill.commitments) == (whole.periods, whole.commitments)


def test_a_cut_object_is_refused_as_a_cut_file_is(s3: Any, tmp_path: Path) -> None:
    path = bill_of(tmp_path, *["1,EUR,2026-05-01,Usage,a"] * 5000, name="whole.csv.gz")
    s3.put_object(Bucket="bills", Key="cut.csv.gz", Body=path.read_bytes()[:-9])
    with pytest.raises(BadInput, match=r"^BadInput: s3://bills/cut\.csv\.gz is cut or damaged"):
        read_bill("s3://bills/cut.csv.gz", s3=s3)
