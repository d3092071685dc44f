"""Which values the lock-in scan knows as objects of an SDK: by type, cast, session or return."""

from __future__ import annotations

from pathlib import Path

import pytest

from qafila.audit.code_scan.scan import scan


def lines(folder: Path, source: str, name: str) -> list[int]:
    """Return the lines of the hits in one file, each once."""
    file = folder / name
    file.write_text(source)
    return sorted({hit.line for hit in scan([file], workers=1).hits})


@pytest.mark.parametrize(
    "source",
    [
        # a session that is a typed parameter, and what is made from it
        "import boto3\ndef f(s: boto3.Session):\n    s.client('s3').get_object()",
        "from boto3.session import Session\ndef f(s: Session | None):\n    s.resource('sqs')",
        "import aioboto3\nasync def f(s: 'aioboto3.Session'):\n    s.client('s3')",
        "import boto3\ndef f(s: boto3.Session):\n    c = s.client('s3')\n    c.get_object()",
        # a type that a cast gives
        "from azure.core.credentials import Token as T\nc = cast(T, x)\nc.get_token()",
        "from openai import OpenAI\nc = typing.cast('OpenAI', x)\nc.models.list()",
        "from openai import OpenAI\nc = (await cast(OpenAI | None, x))\nc.models.list()",
        # any class of an SDK, made or declared
        "from azure.ai.foo import Evaluator\ne = Evaluator()\ne.run()",
        "from google.cloud.foo import Thing\ndef f(e: Thing):\n    e.run()",
        # what a client of a general SDK returns of it
        "import boto3\nt = boto3.resource('dynamodb').Table('t')\nt.put_item()",
        "import boto3\np = boto3.client('ec2').get_paginator('x')\np.paginate()",
        # the object that boto3.resource returns, as stubs and boto3 call it
        "from mypy_boto3_s3 import S3ServiceResource\ndef f(s: S3ServiceResource):\n"
        "    s.meta.client.get_object()",
        "from types_aiobotocore_sqs.service_resource import SQSServiceResource as R\n"
        "class A:\n    def __init__(self, r: R | None) -> None:\n        self.r = r\n"
        "    def f(self):\n        self.r.meta.client.send_message()",
        "from boto3.resources.base import ServiceResource\nr = cast(ServiceResource, x)\n"
        "r.meta.client.tag_queue()",
        # what a class or a function of an SDK makes
        "from qdrant_client import QdrantClient\nq = QdrantClient.from_url(u)\nq.scroll('c')",
        "from firebase_admin import firestore\nd = firestore.client()\nd.collection('c')",
        "from google.cloud import firestore as f\nr = f.Client().collection('c')\nr.add({})",
        "from azure.foo import ThingClient\nt = ThingClient(u).create_thing()\nt.start()",
    ],
)
def test_python(tmp_path: Path, source: str) -> None:
    assert lines(tmp_path, source, "a.py")[-1] == len(source.split("\n"))


BRANCHES = """import boto3
def f(given, s3=boto3.client("s3")):
    s3.head_object()
    if given:
        sqs = boto3.client("sqs")
    else:
        sqs = fake()
    sqs.send_message()
    if given:
        one = boto3.client("sqs")
        one = fake()
    one.send_message()
    two = boto3.client("sqs")
    if given:
        two = fake()
        two.send_message()
    two.send_message()
    two = fake()
    two.send_message()
    a, b = boto3.client("sqs"), fake()
    a.send_message()
    b.send_message()
"""


def test_what_one_of_several_branches_gives_may_be_there_after_them(tmp_path: Path) -> None:
    assert lines(tmp_path, BRANCHES, "a.py") == [1, 2, 3, 5, 8, 10, 13, 17, 20, 21]


@pytest.mark.parametrize(
    "source",
    [
        # data that an SDK passes is no client of it
        "from chromadb.api.types import QueryResult\ndef f(r: QueryResult):\n  r.get('ids')",
        "from openai.types import CompletionUsage as U\ndef f(us: dict[str, U]):\n  us.get('a')",
        "from botocore.exceptions import ClientError\ndef f(e: ClientError):\n  e.args.count(1)",
        "from azure.storage.blob import BlobClient\nx = cast('list[BlobClient]', y)\nx.pop()",
        "import boto3\nx = cast(str, y)\nx.upper()",
        # what is read on an object that is no client, and methods that any data has
        "from google.genai.types import Part\ndef f(p: Part):\n  p.mime_type.startswith('v')",
        "from google.genai.types import Part\np = Part()\np.parts.append(1)",
        "from google.genai.types import Part\np = Part()\np.strip()",
        "from nats.aio.client import Callback\ndef f(done: Callback):\n  done()",
        "from mypy_boto3_s3 import ServiceResourceTypeDef as T\ndef f(x: T):\n  x.get('y')",
        "from azure.mgmt.foo.models import ServiceResource as R\ndef f(r: R):\n  r.tags.pop('y')",
        "from types_boto3_sqs.type_defs import XTypeDef\ndef f(x: XTypeDef):\n  x.get('y')",
        "import boto3\nr = boto3.client('cognito-idp').create_user_pool()\nr.get('Id')",
        "from openai import OpenAI\nx = broadcast(OpenAI, y)\nx.models()",
    ],
)
def test_what_is_no_object(tmp_path: Path, source: str) -> None:
    assert 3 not in lines(tmp_path, source, "a.py")


def test_a_service_named_to_google_s_general_client(tmp_path: Path) -> None:
    source = (
        "from googleapiclient.discovery import build\n"
        "build('drive', 'v3').files().list().execute()\n"
        "build(serviceName='pubsub', version='v1')\nbuild('cloudidentity', 'v1')\nbuild(name)"
    )
    (tmp_path / "a.py").write_text(source)
    hits = scan([tmp_path / "a.py"], workers=1).hits
    assert {(h.line, h.kind.value) for h in hits} == {
        (1, "cloud"),
        (2, "cloud"),
        (3, "queue"),
        (4, "identity"),
        (5, "cloud"),
    }


JAVA = """package org.example;
import com.amazonaws.services.sqs.AmazonSQS;
import com.amazonaws.services.sqs.model.Message;
import software.amazon.cloudformation.proxy.ResourceHandlerRequest;
class Jobs {
  private AmazonSQS queue;
  private AmazonSQS queue() { return queue; }
  void take(ResourceHandlerRequest<Model> request, List<Message> all, Message[] some, Own own) {
    this.queue.receiveMessage(url);
    queue().deleteMessage(url);
    request.getDesiredResourceState();
    for (Message one : all) {
      one.getBody();
    }
    all.clear();
    some.clone();
    own.getBody();
    if (thing instanceof Message m) { m.getBody(); }
  }
}
"""


def test_java_objects_are_known_by_the_file_s_own_declarations(tmp_path: Path) -> None:
    assert lines(tmp_path, JAVA, "Jobs.java") == [2, 3, 4, 9, 10, 11, 13, 18]


def test_a_class_called_like_the_package_that_a_star_imports_is_of_it(tmp_path: Path) -> None:
    source = (
        "import com.google.cloud.spanner.*;\nimport java.util.*;\nclass A { void f(Own own) {\n"
        "Spanner s = SpannerOptions.newBuilder().build().getService();\ns.getClient(id);\n"
        "own.getClient(id);\nList<Spanner> all = null;\nall.clear(); } }"
    )
    assert lines(tmp_path, source, "A.java") == [1, 4, 5]


TYPESCRIPT = """import { S3Client, type GetObjectCommandOutput } from "@aws-sdk/client-s3";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
class Store {
  get client(): S3Client { return make(); }
  open(): Promise<S3Client> { return make(); }
  async put(all: S3Client[], out: GetObjectCommandOutput) {
    this.client.send(1);
    (await this.open()).send(1);
    first().send(1);
    (other as S3Client).send(1);
    const x = other as S3Client;
    x.send(1);
    second().send(1);
    third().send(1);
    all.pop();
    out.Body.close();
  }
}
const doc = S3Client.from(own);
doc.send(1);
const google = createGoogleGenerativeAI({});
google("name");
function first(): S3Client { return make(); }
function second() { return new S3Client({}); }
const third = (): S3Client => make();
"""


def test_typescript_functions_say_what_they_return(tmp_path: Path) -> None:
    assert lines(tmp_path, TYPESCRIPT, "a.ts") == [1, 2, 7, 8, 9, 12, 13, 14, 19, 20, 21, 22, 24]


GO = """package p
import (
  "cloud.google.com/go/bigtable"
  "github.com/aws/aws-sdk-go-v2/service/s3"
)
func open() (*s3.Client, error) { return nil, nil }
func f(t *bigtable.Table, in *s3.GetObjectInput, all []*s3.Client) {
  c, err := open()
  c.GetObject(ctx, in)
  t.Apply(ctx, row)
  in.Validate()
  all.Close()
  n, err := bigtable.NewInstanceAdminClient(ctx)
  n.Close()
  open().PutObject(ctx)
  w, in := &bigtable.Writer{}, s3.GetObjectInput{}
  w.Write(ctx)
  in.Validate()
  all := []s3.Client{}
  all.Close()
}
"""


def test_go_objects_are_known_by_type_and_by_what_makes_them(tmp_path: Path) -> None:
    assert lines(tmp_path, GO, "a.go") == [3, 4, 9, 10, 13, 14, 15, 17]
