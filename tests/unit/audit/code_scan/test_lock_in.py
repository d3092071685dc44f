"""What code is a hit of the lock-in scan, what is not, and what a whole repository adds to it."""

from __future__ import annotations

import json
import os
import random
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from qafila.audit.code_scan.file_reader import any_of, rules, speaks
from qafila.audit.code_scan.folders import Skipped
from qafila.audit.code_scan.light import imports_of
from qafila.audit.code_scan.model import Effort, Hit, Kind, LockIn, Site
from qafila.audit.code_scan.rule_tables import parse_rules
from qafila.audit.code_scan.scan import Limits, scan
from qafila.audit.code_scan.tree import names_in_type
from qafila.cli import app
from qafila.errors import BadInput


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def seen(folder: Path, source: str, name: str = "code.py") -> list[tuple[int, str, str, str]]:
    """Return (line, kind, provider/api, form or operation) of the hits in one file."""
    found = scan([write(folder, {name: source}) / name], workers=1)
    return [
        (h.line, h.kind.value, f"{h.provider}/{h.api}", h.operation or h.site.value)
        for h in found.hits
    ]


MODEL_CALL = [
    (1, "model", "openai/openai", "import"),
    (2, "model", "openai/openai", "OpenAI"),
    (3, "model", "openai/openai", "chat.completions.create"),
]


@pytest.mark.parametrize(
    ("source", "hits"),
    [
        ("from openai import OpenAI\nc = OpenAI()\nc.chat.completions.create()", MODEL_CALL),
        ("import openai as o\nc = o.OpenAI()\nc.chat.completions.create()", MODEL_CALL),
        ("from openai import OpenAI as M\nc = M()\nc.chat.completions.create()", MODEL_CALL),
        # the parameter's type says what it is, also as a string and in a union
        (
            "from openai import OpenAI\ndef f(c: 'OpenAI | None'): return c.models.list()",
            [MODEL_CALL[0], (2, "model", "openai/openai", "models.list")],
        ),
        # a name that a function gives to the whole file
        (
            "c = None\ndef load():\n    global c\n    from boto3 import client as c\nx = c('sqs')",
            [(4, "cloud", "aws/sdk", "import"), (5, "queue", "aws/sqs", "sqs")],
        ),
        (
            "from types_boto3_sqs import SQSClient\ndef f(q: SQSClient): q.send_message()",
            [(1, "queue", "aws/sqs", "import"), (2, "queue", "aws/sqs", "send_message")],
        ),
        # another name for the same SDK's class of another provider
        (
            "from openai import AzureOpenAI\nAzureOpenAI()",
            [(1, "model", "azure/openai", "import"), (2, "model", "azure/openai", "AzureOpenAI")],
        ),
        (
            "import importlib\no = importlib.import_module('anthropic')\no.Anthropic()",
            [
                (2, "model", "anthropic/anthropic", "import"),
                (3, "model", "anthropic/anthropic", "Anthropic"),
            ],
        ),
        (
            "from google.cloud import storage, aiplatform",
            [(1, "storage", "google/gcs", "import"), (1, "model", "google/vertex-ai", "import")],
        ),
        (
            "import google.cloud.storage\n"
            "b = google.cloud.storage.Client().bucket('b')\nb.blob('x')",
            [
                (1, "storage", "google/gcs", "import"),
                (2, "storage", "google/gcs", "Client"),
                (2, "storage", "google/gcs", "bucket"),
                (3, "storage", "google/gcs", "blob"),
            ],
        ),
        (
            "from azure.storage.blob import BlobServiceClient\n"
            "s = BlobServiceClient.from_connection_string(x)\n"
            "s.get_blob_client('a').upload_blob(b'')",
            [
                (1, "storage", "azure/blob", "import"),
                (2, "storage", "azure/blob", "from_connection_string"),
                (3, "storage", "azure/blob", "get_blob_client"),
                (3, "storage", "azure/blob", "upload_blob"),
            ],
        ),
        (
            "import msal\nmsal.ConfidentialClientApplication('id').acquire_token_for_client([])",
            [
                (1, "identity", "azure/entra", "import"),
                (2, "identity", "azure/entra", "ConfidentialClientApplication"),
                (2, "identity", "azure/entra", "acquire_token_for_client"),
            ],
        ),
        (
            "from qdrant_client import QdrantClient\nwith QdrantClient() as q:\n    q.scroll('c')",
            [
                (1, "vector", "qdrant/qdrant", "import"),
                (2, "vector", "qdrant/qdrant", "QdrantClient"),
                (3, "vector", "qdrant/qdrant", "scroll"),
            ],
        ),
        (
            "from celery import Celery\napp = Celery('x')\napp.send_task('y')",
            [
                (1, "queue", "celery/celery", "import"),
                (2, "queue", "celery/celery", "Celery"),
                (3, "queue", "celery/celery", "send_task"),
            ],
        ),
        (
            "SQL = 'CREATE EXTENSION IF NOT EXISTS vector'\n"
            "X = 'on t USING hnsw (v vector_l2_ops)'",
            [
                (1, "vector", "pgvector/pgvector", "text"),
                (2, "vector", "pgvector/pgvector", "text"),
            ],
        ),
        (
            "URL = 'https://api.openai.com/v1'\nHOST = f'https://sqs.{region}.amazonaws.com/'",
            [(1, "model", "openai/openai", "endpoint"), (2, "queue", "aws/sqs", "endpoint")],
        ),
        ("P = f's3://{bucket}/{key}'", [(1, "storage", "aws/s3", "endpoint")]),
    ],
)
def test_python(tmp_path: Path, source: str, hits: list[tuple[int, str, str, str]]) -> None:
    assert seen(tmp_path, source) == hits


@pytest.mark.parametrize(
    "made",
    [
        "import boto3\nx = boto3.client('bedrock-runtime')",
        "import boto3 as b\nx = b.client(service_name='bedrock-runtime', region_name='r')",
        "from boto3 import client\nx = client('bedrock-runtime')",
        "import boto3\nNAME = 'bedrock-runtime'; x = boto3.client(NAME)",
        "import boto3\nx = boto3.Session(profile_name='p').client('bedrock-runtime')",
        "from boto3.session import Session as S; s = S()\nx = s.client('bedrock-runtime')",
        "import aioboto3\nasync with aioboto3.Session().client('bedrock-runtime') as x: pass",
        "from botocore import session as s\nx = s.get_session().create_client('bedrock-runtime')",
        "import boto3\nx = given or boto3.client('bedrock-runtime')",
    ],
)
def test_a_service_named_to_a_cloud_s_sdk(tmp_path: Path, made: str) -> None:
    """However the client is made, a call on it belongs to the service."""
    found = seen(tmp_path, f"{made}\nx.invoke_model()")
    assert found[0][1:3] == ("cloud", "aws/sdk")
    assert (2, "model", "aws/bedrock", "bedrock-runtime") in found
    assert found[-1] == (3, "model", "aws/bedrock", "invoke_model")


CLASS = """
import boto3

class Store:
    def __init__(self):
        self._s3 = boto3.client("s3")

    @property
    def queue(self):
        return boto3.client("sqs")

    def _topic(self) -> "SNSClient":
        return boto3.resource("sns").Topic("t")

    def put(self, s3):
        self._s3.put_object()
        self.queue.send_message()
        self._topic().publish()
        s3.put_object()

class Other:
    def put(self):
        self._s3.put_object()
"""


def test_attributes_belong_to_their_class(tmp_path: Path) -> None:
    calls = [(line, api, form) for line, _, api, form in seen(tmp_path, CLASS) if line > 14]
    assert calls == [
        (16, "aws/s3", "put_object"),
        (17, "aws/sqs", "send_message"),
        (18, "aws/sns", "publish"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "# import boto3; boto3.client('s3')",
        '"""Uses boto3.client("s3") and https://api.openai.com/v1."""\ndef f():\n    "s3://b/k"',
        "from .openai import OpenAI\nOpenAI()",
        "from app.openai import OpenAI\nOpenAI().chat()",
        "import openai_like\nopenai_like.Client()",
        "class Client: ...\nclient = Client()\nclient.put_object()",
        "s3 = open('x')\ns3.read()\nqdrant = {}\nqdrant.get('x')",
        "message = 'set the base URL to https://api.openai.com/v1, please'",
        "DOCS = 'https://platform.openai.com/docs'\nX = 'https://example.org/api.openai.com'",
        "X = 'myapi.openai.com.example.org'\nY = 'https://notamazonaws.com'",
        "def client(name): ...\nclient('s3')",
        "import google.protobuf\nfrom google import protobuf",
        "SQL = 'CREATE EXTENSION hstore'",
    ],
)
def test_what_is_no_hit(tmp_path: Path, source: str) -> None:
    assert seen(tmp_path, source) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "a.py",
            "import requests\nfrom sqlalchemy import create_engine\nimport redis, fsspec\n"
            "requests.get('https://example.org')\ncreate_engine(url)\nfsspec.open('x')\n"
            "class S3Client: ...\nS3Client().get_object()",
        ),
        (
            "b.py",
            "from azure_helpers import storage\nfrom google_utils import pubsub\n"
            "from app.aws import s3\nstorage.upload()\npubsub.publish()\ns3.put_object()",
        ),
        (
            "c.py",
            "from onelogin.saml2.auth import OneLogin_Saml2_Auth as A\nA(r).login()\n"
            "from authlib.jose import jwt\njwt.decode(t, k)\nimport litellm, moto, faiss",
        ),
        (
            "d.ts",
            "import { S3Client } from './aws'; import axios from 'axios';\n"
            "import { Queue } from '../queue'; import passport from 'passport';\n"
            "new S3Client({}).send(1); new Queue().publish(2); axios.get('/openai');",
        ),
        (
            "E.java",
            "import com.google.common.collect.Lists;\nimport com.auth0.jwt.JWT;\n"
            "import org.example.aws.S3Client;\nclass E { S3Client s; void f() {\n"
            "s.putObject(r); JWT.decode(t); Lists.newArrayList(); } }",
        ),
        (
            "f.go",
            'package p\nimport (\n"net/http"\n"google.golang.org/grpc"\n'
            '"example.org/own/azure/storage"\n"golang.org/x/oauth2"\n)\n'
            "func f() { storage.New(); grpc.Dial(a); http.Get(u) }",
        ),
    ],
)
def test_what_serves_any_provider_is_no_hit(tmp_path: Path, name: str, source: str) -> None:
    assert seen(tmp_path, source, name) == []


def test_a_name_that_is_bound_again_is_not_followed(tmp_path: Path) -> None:
    source = (
        "import boto3\ns3 = boto3.client('s3')\ndef f(s3):\n    s3.get_object()\n"
        "s3 = Fake()\ns3.get_object()\nfor s3 in ():\n    s3.get_object()"
    )
    assert {line for line, *_ in seen(tmp_path, source)} == {1, 2}


def test_a_namespace_is_shared_with_others(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "google/adk/__init__.py": "",
            "google/adk/b.py": "",
            "google/adk/a.py": "from google.adk import b\n"
            "from google.auth import default\ndefault()",
        },
    )
    assert [h.line for h in scan([tmp_path], workers=1).hits] == [2, 3]


def test_a_declared_namespace_is_shared_with_others(tmp_path: Path) -> None:
    declared = '__path__ = __import__("pkgutil").extend_path(__path__, __name__)'
    write(
        tmp_path,
        {
            "azure/__init__.py": declared,
            "azure/tool/__init__.py": "",
            "azure/tool/b.py": "",
            "azure/tool/a.py": "from azure.tool import b\nfrom azure.identity import X",
        },
    )
    assert [h.line for h in scan([tmp_path], workers=1).hits] == [2]


def test_what_a_repository_puts_into_a_namespace_is_its_own(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "google/auth/__init__.py": "",
            "google/oauth2/__init__.py": "",
            "google/auth/a.py": "from google.oauth2 import x\nfrom google.cloud import storage",
        },
    )
    assert [h.line for h in scan([tmp_path], workers=1).hits] == [2]


def test_a_helper_inside_an_sdk_is_no_lock_in(tmp_path: Path) -> None:
    source = "from kombu.utils.url import safequote\nfrom kombu import Connection\nsafequote('a')"
    assert {line for line, *_ in seen(tmp_path, source)} == {2}


def test_a_platform_on_a_cloud_is_a_provider_of_its_own(tmp_path: Path) -> None:
    source = "import firebase_admin\nfrom firebase_admin import auth, storage\nauth.get_user('u')"
    assert {hit[:3] for hit in seen(tmp_path, source)} == {
        (1, "cloud", "firebase/sdk"),
        (2, "identity", "firebase/auth"),
        (2, "storage", "google/gcs"),
        (3, "identity", "firebase/auth"),
    }


def test_own_packages_are_no_lock_in(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "openai/__init__.py": "",
            "openai/x.py": "from openai.y import Z\nZ()",
            "openai/tests/t.py": "import openai",
            "tests/t.py": "import openai\nopenai.OpenAI()",
            "google/cloud/storage/c.py": "from google.cloud.storage import blob\nblob.Client()",
            "scripts/run.py": "import pinecone\npinecone.Index()",
            "scripts/pinecone.py": "",
            "app/__init__.py": "",
            "app/cohere.py": "import cohere\ncohere.Client()",
            "plugin/google/cloud/x/__init__.py": "from google.cloud import storage",
        },
    )
    found = {h.file for h in scan([tmp_path], workers=1).hits}
    assert found == {"app/cohere.py", "plugin/google/cloud/x/__init__.py"}
    # in a folder of installed packages each is apart
    write(tmp_path, {"openai-1.dist-info/METADATA": ""})
    assert "tests/t.py" in {h.file for h in scan([tmp_path], workers=1).hits}


JAVASCRIPT = """
import OpenAI, { toFile as f } from "openai";
import { S3Client as S3, PutObjectCommand } from "@aws-sdk/client-s3";
import * as AWS from "aws-sdk";
import { helper } from "./openai";
const { Pinecone } = require("@pinecone-database/pinecone");
// new OpenAI()
const sqs = new AWS.SQS();
class Store {
  private readonly s3 = new S3({});
  constructor(private model: OpenAI) { this.pine = new Pinecone(); }
  async put() {
    await this.s3.send(new PutObjectCommand({}));
    await this.model.chat.completions.create({});
    this.pine.index("x").query({});
    sqs.sendMessage({ url: `https://sqs.${region}.amazonaws.com/q` });
    helper.send();
  }
}
"""


def test_typescript(tmp_path: Path) -> None:
    assert seen(tmp_path, JAVASCRIPT, "store.ts") == [
        (2, "model", "openai/openai", "import"),
        (3, "storage", "aws/s3", "import"),
        (4, "cloud", "aws/sdk", "import"),
        (6, "vector", "pinecone/pinecone", "import"),
        (8, "queue", "aws/sqs", "SQS"),
        (10, "storage", "aws/s3", "S3Client"),
        (11, "vector", "pinecone/pinecone", "Pinecone"),
        (13, "storage", "aws/s3", "send"),
        (13, "storage", "aws/s3", "PutObjectCommand"),
        (14, "model", "openai/openai", "chat.completions.create"),
        (15, "vector", "pinecone/pinecone", "index"),
        (15, "vector", "pinecone/pinecone", "query"),
        (16, "queue", "aws/sqs", "sendMessage"),
        (16, "queue", "aws/sqs", "endpoint"),
    ]


def test_javascript_without_types_and_from_a_dynamic_import(tmp_path: Path) -> None:
    source = (
        'const openai = require("openai");\nconst c = new openai.OpenAI();\nc.models.list();\n'
        'async function f() { const { QdrantClient } = await import("@qdrant/js-client-rest"); }\n'
        'const fake = require("./aws-sdk"); new fake.S3();'
    )
    assert [hit[0] for hit in seen(tmp_path, source, "a.mjs")] == [1, 2, 3, 4]


def test_a_bare_scheme_is_no_address(tmp_path: Path) -> None:
    source = "if path.startswith('s3://'):\n    return 's3://bucket/key'"
    assert seen(tmp_path, source) == [(2, "storage", "aws/s3", "endpoint")]


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ("ObjectStore", True),
        ("'ObjectStore'", True),
        ("Optional['ObjectStore']", True),
        ("t.Annotated[ObjectStore | None, Depends(f)]", True),
        ("dict[str, ObjectStore]", False),
        ("'list[ObjectStore]'", False),
        ("Optional[Mapping[str, ObjectStore]]", False),
        ("Own[ObjectStore]", False),
        ("Callable[[], ObjectStore] | ObjectStore", True),
    ],
)
def test_a_container_of_clients_is_no_client(tmp_path: Path, declared: str, found: bool) -> None:
    source = f"from nats.js.object_store import ObjectStore\ndef f(s: {declared}): return s.get(1)"
    assert [h[0] for h in seen(tmp_path, source)] == ([1, 2] if found else [1])


def test_an_array_of_clients_is_no_client(tmp_path: Path) -> None:
    source = (
        'import { S3Client } from "@aws-sdk/client-s3";\n'
        "async function f(one: S3Client, all: S3Client[], by: Map<string, S3Client>,\n"
        "                 soon: Promise<S3Client>) {\n"
        "  one.send(1);\n  all.map(g);\n  by.get(k);\n  (await soon).send(1);\n}"
    )
    assert [hit[0] for hit in seen(tmp_path, source, "a.ts")] == [1, 4, 7]
    source = (
        'package p\nimport "github.com/nats-io/nats.go"\n'
        "func f(one *nats.Conn, all []*nats.Conn, by map[string]nats.JetStreamContext,\n"
        "  js nats.JetStreamContext) {\n"
        "  all.Close()\n  by.Close()\n  js.Publish(s, nil)\n"
        "  c, _ := nats.Connect(url)\n  c.Drain()\n}"
    )
    assert [hit[0] for hit in seen(tmp_path, source, "a.go")] == [2, 7, 8, 9]


_TYPES = st.recursive(
    st.sampled_from(["Held", "str", "int", "None"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(" | ".join),
        st.tuples(st.sampled_from(["dict", "list", "Own"]), inner).map("{0[0]}[{0[1]}]".format),
        st.tuples(st.just("str, "), inner).map("Mapping[{0[0]}{0[1]}]".format),
    ),
)


@given(inside=_TYPES, beside=st.lists(st.sampled_from(["str", "None", "list[Held]"]), max_size=2))
def test_a_name_in_a_container_is_never_what_the_value_is(inside: str, beside: list[str]) -> None:
    names = names_in_type(" | ".join([*beside, f"tuple[{inside}]"]), frozenset({"Optional"}))
    assert "Held" not in names
    assert "Held" in names_in_type(f"Optional[{inside} | Held]", frozenset({"Optional"}))


JAVA = """
package org.example.files;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.sqs.*;
import org.example.Storage;
/** S3Client.create() */
public class Files implements Storage {
  private final S3Client s3 = S3Client.builder().region(R).build();
  private final SqsClient queue;
  Files(SqsClient queue) { this.queue = queue; }
  void put(Storage other) {
    s3.putObject(r);
    this.queue.sendMessage("https://sqs.eu-west-1.amazonaws.com/1/q");
    other.putObject(r);
  }
}
"""


def test_java(tmp_path: Path) -> None:
    assert seen(tmp_path, JAVA, "org/example/files/Files.java") == [
        (3, "storage", "aws/s3", "import"),
        (4, "queue", "aws/sqs", "import"),
        (8, "storage", "aws/s3", "builder"),
        (12, "storage", "aws/s3", "putObject"),
        (13, "queue", "aws/sqs", "sendMessage"),
        (13, "queue", "aws/sqs", "endpoint"),
    ]


GO = """
package files
import (
  "context"
  objects "github.com/aws/aws-sdk-go-v2/service/s3"
  openai "github.com/sashabaranov/go-openai"
  "example.org/own/s3"
)
type Store struct { client *objects.Client }
func New(ctx context.Context, q *openai.Client) *Store {
  c := objects.NewFromConfig(cfg)
  // objects.NewFromConfig(cfg)
  c.PutObject(ctx, nil)
  q.CreateChatCompletion(ctx, r)
  s3.NewFromConfig(cfg)
  return &Store{client: c}
}
func (s *Store) Get(ctx context.Context) { s.client.GetObject(ctx, nil) }
"""


def test_go(tmp_path: Path) -> None:
    assert seen(tmp_path, GO, "files.go") == [
        (5, "storage", "aws/s3", "import"),
        (6, "model", "openai/openai", "import"),
        (11, "storage", "aws/s3", "NewFromConfig"),
        (13, "storage", "aws/s3", "PutObject"),
        (14, "model", "openai/openai", "CreateChatCompletion"),
        (18, "storage", "aws/s3", "GetObject"),
    ]


def test_effort_depends_on_what_is_called(tmp_path: Path) -> None:
    source = (
        "import boto3, openai\ns3 = boto3.client('s3')\ns3.get_object()\n"
        "s3.select_object_content()\nc = openai.OpenAI()\nc.beta.threads.create()\n"
        "boto3.client('cognito-idp')\nboto3.client(name)"
    )
    found = scan([write(tmp_path, {"a.py": source})], workers=1).hits
    efforts = {(h.line, h.api): h.effort for h in found}
    assert efforts[3, "s3"] is Effort.S
    assert efforts[4, "s3"] is Effort.L
    assert efforts[6, "openai"] is Effort.L
    assert efforts[7, "cognito"] is Effort.L
    assert efforts[8, "sdk"] is Effort.M
    assert all(h.reason.endswith(".") for h in found)


def behind(found: LockIn) -> set[str]:
    return {h.file for h in found.hits if h.behind}


def test_one_module_that_others_import_is_an_abstraction(tmp_path: Path) -> None:
    files = {
        "app/__init__.py": "",
        "app/store.py": "import boto3\nboto3.client('s3')",
        "app/main.py": "from app.store import put",
        "tests/test_s.py": "import boto3",
    }
    assert behind(scan([write(tmp_path, files)], workers=1)) == {"app/store.py"}
    # a second module that touches the provider itself: no longer
    write(tmp_path, {"app/other.py": "import boto3\nboto3.resource('s3')"})
    assert behind(scan([tmp_path], workers=1)) == set()


def test_one_package_that_others_import_is_an_abstraction(tmp_path: Path) -> None:
    files = {
        "src/app/models/__init__.py": "",
        "src/app/models/a.py": "import openai",
        "src/app/models/b.py": "import openai",
        "src/app/__init__.py": "",
        "src/app/main.py": "from .models import a",
    }
    found = scan([write(tmp_path, files)], workers=1)
    assert behind(found) == {"src/app/models/a.py", "src/app/models/b.py"}


def test_a_script_that_nobody_imports_is_no_abstraction(tmp_path: Path) -> None:
    assert behind(scan([write(tmp_path, {"run.py": "import openai"})], workers=1)) == set()


def test_a_class_that_implements_an_own_port_is_behind_it(tmp_path: Path) -> None:
    files = {
        "app/__init__.py": "",
        "app/a.py": "import boto3\nfrom app.port import Store\nclass A(Store): ...",
        "app/b.py": "import boto3\nfrom .errors import AppError\nclass B(AppError): ...",
        "org/example/files/Files.java": JAVA,
        "web/a.ts": 'import OpenAI from "openai"; import {P} from "./p"; '
        "class A implements P { x = new OpenAI(); }",
    }
    found = behind(scan([write(tmp_path, files)], workers=1))
    assert found == {"app/a.py", "org/example/files/Files.java", "web/a.ts"}


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    code = "import openai\n"
    write(
        tmp_path,
        {
            "a.py": code,
            "node_modules/x.js": 'require("openai")',
            ".git/x.py": code,
            "vendor/x.go": "package x",
            "env/pyvenv.cfg": "",
            "env/lib/x.py": code,
            "big.py": code * 1_000,
            "x_pb2.py": code,
            "made.py": "# Code generated by y. DO NOT EDIT.",
            "lib.min.js": code,
            "packed.js": "x=1;" * 3_000,
            "bad.py": b"import openai\nx = '\xff'",
            "latin.py": b"# -*- coding: latin-1 -*-\nimport openai\nx = '\xe9'",
            "binary.py": b"import openai\0",
            "dist/x.js": 'require("openai")',
            "package.json": "{}",
            "notes.txt": code,
        },
    )
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = scan([tmp_path], workers=1, limits=Limits(file_bytes=13_000))
    assert {h.file for h in found.hits} == {"a.py", "latin.py"}
    assert found.skipped == {
        "vendored": 2,
        "hidden": 1,
        "virtual environment": 1,
        "too large": 1,
        "generated": 3,
        "minified": 1,
        "undecodable": 2,
        "symlink": 2,
        "built": 1,
    }
    assert found.examples["undecodable"] == ("bad.py", "binary.py")
    assert found.lines == 4


def test_bad_input_names_every_problem(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "", "empty/b.txt": "", "bad.py": b"import openai\n\xff"})
    with pytest.raises(BadInput) as refused:
        scan([tmp_path / "none", tmp_path / "a.txt"])
    assert len(refused.value.problems) == 2
    with pytest.raises(BadInput, match="no readable code"):
        scan([tmp_path / "empty"])
    with pytest.raises(BadInput, match="1 undecodable"):
        scan([tmp_path / "bad.py"])
    with pytest.raises(BadInput, match="no path"):
        scan([])


def test_several_repositories_and_their_summary(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a.py": "import openai\nopenai.OpenAI().files.list()"})
    two = write(tmp_path / "two", {"b.py": "import boto3\nboto3.client('sqs')"})
    found = scan([one, two], workers=1)
    assert [h.repository for h in found.hits] == [str(one)] * 3 + [str(two)] * 2
    rows = [(s.kind, s.provider, s.hits, s.files, s.effort) for s in found.summary]
    assert rows == [
        (Kind.MODEL, "openai", 3, 1, Effort.L),
        (Kind.QUEUE, "aws", 1, 1, Effort.M),
        (Kind.CLOUD, "aws", 1, 1, Effort.M),
    ]
    assert found.of(Kind.QUEUE)[0].site is Site.CLIENT
    assert found.as_data()["hits"][0]["kind"] == "model"


def test_processes_find_what_one_finds_and_write_nothing(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"p{n}/m{n}.py": f"import openai\nx = {n}" for n in range(450)}
    write(tmp_path, {**files, "s.ts": JAVASCRIPT, "c.py": CLASS})
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert scan([tmp_path], workers=2) == scan([tmp_path], workers=1)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_nothing_that_is_read_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    write(
        tmp_path,
        {
            "conftest.py": f"import openai\nopen({str(marker)!r}, 'w')\n",
            "setup.py": f"import boto3\nopen({str(marker)!r}, 'w')\n",
        },
    )
    assert len(scan([tmp_path], workers=1).hits) == 2
    assert not marker.exists()


@pytest.mark.parametrize(
    "source", ["f(\n" * 30_000, "x = " + "(\n" * 30_000 + ")\n" * 30_000, "a\\\n." * 30_000]
)
def test_deep_code_does_no_harm(tmp_path: Path, source: str) -> None:
    assert seen(tmp_path, f"import openai\n{source}")[0][0] == 1


LINES = [
    "import boto3",
    "from openai import OpenAI as O",
    "s = boto3.client('s3')",
    "o = O()",
    "é = '😀'; s.get_object()",
    "o.chat.completions.create()",
    "u = 's3://b/k'",
    "def f(s):",
    "    s.get_object()",
    "class K:",
    "    x = boto3.client('sqs')",
    "s = 1",
    "'''",
    "(",
    "x = 'https://api.openai.com'  # 😀",
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=12), st.booleans())
def test_the_line_of_a_hit_always_holds_its_text(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], windows: bool
) -> None:
    source = ("\r\n" if windows else "\n").join(lines)
    folder = write(tmp_path_factory.mktemp("code"), {"a.py": source, "b.py": "x = 1\n"})
    for hit in scan([folder], workers=1).hits:
        line = source.split("\n")[hit.line - 1]
        assert line[hit.column - 1 :].startswith(hit.text.rstrip("\r"))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_looking_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("code")
    write(folder, {f"m{n}.py": f"import openai\nfrom m{order[n]} import x\n" for n in range(6)})
    whole = scan([folder], workers=1)
    names = sorted(os.listdir(folder))
    random.Random(order[0]).shuffle(names)
    alone: list[Hit] = []
    for name in names:
        alone += scan([folder / name], workers=1).hits
    key = [(h.file, h.line, h.column, h.rule) for h in whole.hits]
    assert key == sorted((h.file, h.line, h.column, h.rule) for h in alone)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["openai", "google.cloud", "qdrant_client"]),
    st.sampled_from(
        [
            "import {}",
            "import os, {}",
            "import os as o, {} as x",
            "from {} import a, b",
            "x=1; import {}",
            "try: import {}\nexcept: pass",
            "from {} import (  # why\n    a,\n)",
            "import os, \\\n  {}",
            "from {} \\\n  import a",
            "\timport\t{}",
            "import_module('{}')",
            '__import__("{}")',
        ]
    ),
)
def test_the_quick_look_never_misses_an_import(module: str, form: str) -> None:
    found = imports_of("python", form.format(module).encode())
    assert any(
        rules().module("python", f"{path}.storage" if path == module else path) for path in found
    )


def test_the_rules_are_checked() -> None:
    with pytest.raises(BadInput) as refused:
        parse_rules(
            '[[api]]\nrule = "a"\nkind = "tea"\neffort = "XL"\npython = ["x"]\nwho = 1\n'
            '[[api]]\nrule = "b"\nkind = "model"\nprovider = "p"\napi = "a"\neffort = "S"\n'
            'reason = "r"\npython = ["x"]\n'
        )
    assert len(refused.value.problems) == 7
    assert {api.kind for api in rules().apis} == set(Kind)
    assert all(api.reason.endswith(".") and len(api.reason) > 20 for api in rules().apis)


def test_the_quick_look_never_misses_an_address() -> None:
    tables = (files("qafila.data") / "lock_in").iterdir()
    rows = [r for t in tables for r in tomllib.loads(t.read_text()).get("api", [])]
    addresses = [
        (host.replace("*", "x"), row["rule"]) for row in rows for host in row.get("hosts", [])
    ]
    addresses += [(f"{s}://x/y", row["rule"]) for row in rows for s in row.get("schemes", [])]
    for address, rule in addresses:
        for text in (address, f"https://{address}/v1") if "://" not in address else (address,):
            known = rules().address(text)
            assert known is not None, text
            assert speaks(f"u = '{text}'".encode()), text
        assert known.rule == rule or "x" in address, address


def test_the_command_prints_text_or_json(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import boto3\nboto3.client('sqs')"})
    told = CliRunner().invoke(app, ["lock-in", str(tmp_path)]).output
    assert "2 lines in 1 files (1 python)" in told
    assert "a.py:2:1" in told
    printed = json.loads(CliRunner().invoke(app, ["lock-in", str(tmp_path), "--json"]).output)
    assert [h["api"] for h in printed["hits"]] == ["sdk", "sqs"]
    assert printed["summary"][0]["kind"] == "queue"
    assert printed["lines"] == 2
    refused = CliRunner().invoke(app, ["lock-in", str(tmp_path / "none")])
    assert isinstance(refused.exception, BadInput)
    write(tmp_path / "other", {"b.go": "package b\n"})
    assert "No provider" in CliRunner().invoke(app, ["lock-in", str(tmp_path / "other")]).output


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), max_size=30), st.randoms(use_true_random=False)
)
def test_the_examples_of_what_was_skipped_never_depend_on_the_order(
    names: list[str], chance: random.Random
) -> None:
    kept = []
    for _ in range(2):
        chance.shuffle(names)
        parts = [Skipped(), Skipped()]
        for name in names:
            chance.choice(parts).note("binary", name)
        parts[0].add(parts[1])
        kept.append((parts[0].counts["binary"], parts[0].examples.get("binary", [])))
    assert kept[0] == kept[1]
    assert kept[0][1] == sorted(names)[: len(kept[0][1])]


@given(words=st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1), text=st.text("ab."))
def test_a_word_is_always_found_where_it_begins(words: list[str], text: str) -> None:
    assert bool(re.match(any_of(words), text)) == text.startswith(tuple(words))
