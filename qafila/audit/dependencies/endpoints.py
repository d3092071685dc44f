"""What a connection string or a variable's value names: hosts and databases, never a secret.

A value that could be read in two ways, one of which would show a part of a password, is not read
at all; nor is a URL of a scheme that is not listed here, for a secret may look like one. Forms:
URLs (RFC 3986; several hosts as MongoDB and libpq write them), JDBC URLs, libpq keywords
(PostgreSQL manual, "Connection Strings"), and ADO.NET/ODBC pairs with semicolons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import parse_qsl, unquote


@dataclass(frozen=True)
class Endpoint:
    """Where a connection leads. It has no room for a user or a password."""

    host: str
    port: int | None = None
    database: str | None = None
    scheme: str | None = None

    def as_fact(self) -> dict[str, str | int | None]:
        """Return it as JSON-able values, for a resource's facts."""
        return asdict(self)


_LONGEST = 4096
_URL = re.compile(r"^([a-z][a-z0-9+.-]*)://(.*)$", re.IGNORECASE | re.DOTALL)
_ORACLE = re.compile(
    r"^oracle:\w+:.*@(?://)?([^@:/]+)(?::(\d{1,5}))?(?:[:/]([^@:/?]+))?$", re.DOTALL
)
_HOST = re.compile(
    r"^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
    r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$"
)
_FULL_HOST = re.compile(
    r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){2,}[a-z]{2,24}\.?(?::(\d{1,5}))?$"
)
_IPV6 = re.compile(r"^\[([0-9a-f:.]{2,45})\](?::(\d{1,5}))?$")
_DATABASE = re.compile(r"^[\w.$-]{1,63}$")
_LIBPQ = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\;]|\\.)+)\s*", re.DOTALL)
_PAIRS = re.compile(
    r"\s*([\w ]+?)\s*=\s*"
    r"(\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|\{(?:[^}]|\}\})*\}|(?:[^;\"'{][^;]*?)?)\s*(?:;|$)",
    re.DOTALL,
)
_DATABASES = frozenset(
    {
        "postgres",
        "postgresql",
        "mysql",
        "mariadb",
        "mongodb",
        "mongodb+srv",
        "sqlserver",
        "mssql",
        "redis",
        "rediss",
        "oracle",
        "cockroachdb",
        "clickhouse",
        "redshift",
        "db2",
        "amqp",
        "amqps",
    }
)
# Of connections between services, most of them from IANA's list of URI schemes.
_SCHEMES = _DATABASES | frozenset(
    {
        "http",
        "https",
        "h2c",
        "ws",
        "wss",
        "grpc",
        "grpcs",
        "tcp",
        "tls",
        "ssl",
        "udp",
        "ftp",
        "ftps",
        "sftp",
        "ssh",
        "smb",
        "nfs",
        "cifs",
        "git",
        "svn",
        "s3",
        "s3a",
        "gs",
        "gcs",
        "az",
        "abfs",
        "abfss",
        "wasb",
        "wasbs",
        "hdfs",
        "swift",
        "kafka",
        "nats",
        "stomp",
        "mqtt",
        "mqtts",
        "pulsar",
        "sqs",
        "sns",
        "zk",
        "zookeeper",
        "etcd",
        "consul",
        "ldap",
        "ldaps",
        "smtp",
        "smtps",
        "imap",
        "imaps",
        "pop3",
        "dns",
        "syslog",
        "statsd",
        "memcache",
        "memcached",
        "valkey",
        "valkeys",
        "elasticsearch",
        "opensearch",
        "qdrant",
        "milvus",
        "weaviate",
        "neo4j",
        "bolt",
        "cassandra",
        "scylla",
        "couchbase",
        "couchdb",
        "influxdb",
        "firebird",
        "hive",
        "hive2",
        "presto",
        "trino",
        "snowflake",
        "vertica",
        "teradata",
        "sap",
        "hana",
        "duckdb",
        "tidb",
        "singlestore",
        "edgedb",
        "surrealdb",
        "otlp",
        "jaeger",
    }
)
_HOST_KEYS = ("host", "hostaddr", "server", "data source", "address", "addr", "network address")
_DATABASE_KEYS = ("dbname", "database", "databasename", "initial catalog")


def endpoint_of(value: str) -> Endpoint | None:
    """Return where a value leads; None when it names no host, or cannot be read without doubt.

    A bare name counts only with three labels or more in lower case, so that a word, a version or
    a token is not taken for a host.
    """
    text = value.strip()
    if not text or len(text) > _LONGEST:
        return None
    bare = _FULL_HOST.match(text)
    if bare is not None:
        return _endpoint(text.rpartition(":")[0] if bare[1] else text, bare[1], None, None)
    jdbc = text[:5].lower() == "jdbc:"
    text = text[5:] if jdbc else text
    oracle = _ORACLE.match(text) if jdbc else None
    if oracle is not None:
        return _endpoint(oracle[1], oracle[2], oracle[3], "oracle")
    url = _URL.match(text)
    if url is not None:
        return _of_url(url[1].lower(), url[2])
    pairs = _pairs(_PAIRS if ";" in text else _LIBPQ, text)
    return None if pairs is None else _of_pairs(pairs)


def _of_url(scheme: str, rest: str) -> Endpoint | None:
    if scheme not in _SCHEMES and scheme.split("+")[0] not in _SCHEMES:
        return None
    authority, tail = _cut(rest)
    if "@" in tail:
        return None  # a password with / ? or #, or an address in a query: which, cannot be told
    hosts = authority.rpartition("@")[2]
    host, port = _host_and_port(hosts.split(",")[0])
    path, _, query = tail.partition("?")
    is_database = scheme in _DATABASES or scheme.split("+")[0] in _DATABASES
    named = dict(parse_qsl(query)) if is_database else {}
    database = None
    if is_database:
        inner, _, options = path.partition(";")
        database = unquote(inner.removeprefix("/").split("/")[0])
        pairs = _pairs(_PAIRS, options) or {}
        database = database or _first(pairs, _DATABASE_KEYS) or named.get("dbname")
        host = host or named.get("host") or _first(pairs, _HOST_KEYS[2:3])
        port = port or named.get("port")
    return None if host is None else _endpoint(host, port, database, scheme)


def _cut(rest: str) -> tuple[str, str]:
    """Split what follows ``://`` where the host ends."""
    for place, sign in enumerate(rest):
        if sign in "/?#;":
            return rest[:place], rest[place:]
    return rest, ""


def _host_and_port(text: str) -> tuple[str | None, str | None]:
    if inner := _IPV6.match(text.lower()):
        return inner[1], inner[2]
    host, _, port = text.partition(":")
    return host or None, port or None


def _pairs(form: re.Pattern[str], text: str) -> dict[str, str] | None:
    """Return the pairs of a text that is made of pairs from its start to its end."""
    pairs: dict[str, str] = {}
    place = 0
    while place < len(text):
        if not text[place:].strip(" ;"):
            break
        found = form.match(text, place)
        if found is None or found.end() == place:
            return None
        key = found[1].strip().lower()
        if key in pairs:
            return None
        pairs[key] = found[2].strip("'\"{}")
        place = found.end()
    return pairs or None


def _of_pairs(pairs: Mapping[str, str]) -> Endpoint | None:
    host = _first(pairs, _HOST_KEYS)
    if host is None:
        return None
    host = host.removeprefix("tcp:").split("\\")[0]
    port = pairs.get("port")
    if "," in host:  # Microsoft writes host,port; libpq several hosts
        host, _, second = host.partition(",")
        port = second if second.isdigit() else port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    return _endpoint(host, port, _first(pairs, _DATABASE_KEYS), None)


def _first(pairs: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    return next((pairs[key] for key in keys if pairs.get(key)), None)


def _endpoint(
    host: str, port: str | None, database: str | None, scheme: str | None
) -> Endpoint | None:
    """Return the endpoint when each of its parts can only be what it is taken for."""
    name = host.strip().lower().rstrip(".")
    if not (_HOST.match(name) or (":" in name and _IPV6.match(f"[{name}]"))):
        return None
    number = (port or "").split(",")[0].strip()
    if number and not (number.isascii() and number.isdigit() and 0 < int(number) < 65_536):
        return None
    kept = database if database and _DATABASE.match(database) else None
    return Endpoint(name, int(number) if number else None, kept, scheme)
