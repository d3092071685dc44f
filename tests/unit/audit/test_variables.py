"""Of a variable its name, a host and an ARN are kept, and never its value."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.collectors.variables import host_in, named_by, partition_of, secret_named

ARN = "arn:aws:sqs:eu-west-3:123456789012:orders"
SECRET = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:orders/db-AbCdEf"


@pytest.mark.parametrize(
    ("name", "value", "host"),
    [
        (
            "DATABASE_HOST",
            "orders-db.abc.eu-west-3.rds.amazonaws.com",
            "orders-db.abc.eu-west-3.rds.amazonaws.com",
        ),
        ("DATABASE_HOST", "Postgres", "postgres"),
        (
            "DATABASE_URL",
            "postgresql://u:p%40ss@db.internal:5432/shop?sslmode=require",
            "db.internal",
        ),
        ("DATABASE_URL", "jdbc:postgresql://db.internal/shop", "db.internal"),
        ("TOKEN_URL", "https://auth.example.org/token", "auth.example.org"),
        ("DSN", "dbname=shop host=10.0.0.7 password=hunter2.x.y", "10.0.0.7"),
        ("BROKERS", "b-1.kafka.internal:9092,b-2.kafka.internal:9092", "b-1.kafka.internal"),
        ("SEARCH", "search.example.com:9200", "search.example.com"),
        ("DATABASE_URL", "postgres://user:pa/ss@db.internal/shop", None),
        ("DATABASE_URL", "postgres://user:p@ss/word@db.internal/shop", None),
        ("REDIS_URL", "redis://localhost:6379", None),
        ("DB_PASSWORD", "correct.horse.battery", None),
        ("API_KEY", "sk.example.com", None),
        ("HANDLER", "app.main.handler", None),
        ("VERSION", "3.11.2", None),
        ("LOG_LEVEL", "info", None),
        ("PORT_OF_HOST", "5432", None),
        ("URL", "http://[broken", None),
        ("EMPTY_HOST", "", None),
    ],
)
def test_the_host_that_a_value_names(name: str, value: str, host: str | None) -> None:
    assert host_in(name, value) == host


def test_an_arn_is_an_edge_and_a_secret_is_named_without_its_version() -> None:
    named = named_by(
        [
            ("QUEUE", ARN),
            ("QUEUE_URL", "https://sqs.eu-west-3.amazonaws.com/123456789012/orders"),
            ("DB", f"{SECRET}:password::"),
        ]
    )
    named.take_secret("PARAMETER", "/shop/database")
    assert [(e.to_id, e.source) for e in named.edges("task")] == [
        (ARN, "environment QUEUE"),
        (ARN, "environment QUEUE_URL"),
    ]
    assert named.facts()["secrets"] == ["/shop/database", SECRET]
    assert named.facts()["variables"] == ["DB", "PARAMETER", "QUEUE", "QUEUE_URL"]
    assert secret_named(SECRET) == SECRET


def test_partitions() -> None:
    assert [partition_of(r) for r in ("cn-north-1", "us-gov-west-1", "eu-west-3")] == [
        "aws-cn",
        "aws-us-gov",
        "aws",
    ]


@given(
    value=st.text(string.ascii_letters + string.digits + ".-_/+=:@ ", min_size=8, max_size=60),
    name=st.sampled_from(["DB_PASSWORD", "API_KEY", "AUTH_TOKEN", "MY_SECRET"]),
)
def test_nothing_of_a_secret_is_ever_kept(value: str, name: str) -> None:
    if "://" in value or value.strip().startswith("arn:"):
        return
    assert named_by([(name, value)]).facts() == {"variables": [name], "hosts": {}, "secrets": []}


@given(
    password=st.text(string.ascii_letters + string.digits + "!.-_~/?#@", min_size=8, max_size=30)
)
def test_the_password_of_an_address_is_never_kept(password: str) -> None:
    password = f"Q{password}7Z"  # a word that the host cannot hold by chance
    for address in (
        f"postgresql://shop:{password}@db.internal:5432/shop",
        f"host=db.internal user=shop password={password}",
    ):
        kept = named_by([("DATABASE_URL", address)]).facts()
        assert password.lower() not in str(kept).lower()
        assert kept["hosts"] in ({"DATABASE_URL": "db.internal"}, {})
