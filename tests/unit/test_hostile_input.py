"""Every parser of text that others wrote: it returns or refuses, and its work grows with the text.

The table names each parser with the module that it stands in. A module of the rooms below that
begins to read text and is neither in the table nor among those with a reason fails a test.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from qafila.core import (
    billed_ids,
    estate,
    foreign_text,
    golden,
    grading,
    graphemes,
    language,
    masking,
    normalising,
    request_rate,
    schema_check,
    sections,
    sentences,
    skeleton,
    strict_toml,
    strict_yaml,
)
from qafila.core.ai_need import names
from qafila.core.blanks import is_blank
from qafila.core.bounding import cut_text
from qafila.core.chunking import split
from qafila.core.corpus import Chunking
from qafila.core.dependencies import directory, endpoints, ranges
from qafila.core.lock_in import abstraction, parsing
from qafila.core.network import regions
from qafila.core.pricing import parse_price_book
from qafila.errors import BadInput, Refused
from tasks import bundle_check
from tasks.bills.reading import read_bill
from tasks.collectors import interfaces, kubernetes_objects, variables
from tasks.embedders import wire as embedder_wire
from tasks.lock_in import light, reading
from tasks.lock_in.walking import Limits
from tasks.observing import flow_logs, json_stream, traces
from tasks.rollback_card import read_card
from tasks.routers import access_log, alb_logs
from tasks.sources import documents, fields, payload_paths, records
from tasks.workloads import check_file
from tests.hostile_input import HOSTILE, MEBIBYTE, assert_linear, seconds


def b(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def as_file(name: str, run: Callable[[Path], object]) -> Callable[[str, Path], object]:
    """Return what writes a text into a file of this name, and reads that."""

    def read(text: str, room: Path) -> object:
        (room / name).write_bytes(b(text))
        return run(room / name)

    return read


def plain(run: Callable[[str], object]) -> Callable[[str, Path], object]:
    return lambda text, room: run(text)


def all_of(run: Callable[[Any], Iterable[object]]) -> Callable[[Any], object]:
    """Return what takes a generator to its end."""

    def read(given: Any) -> int:
        return sum(1 for _ in run(given))

    return read


def zipped(run: Callable[[Path], object]) -> Callable[[str, Path], object]:
    def read(text: str, room: Path) -> object:
        with zipfile.ZipFile(room / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("MANIFEST.json", b(text))
        return run(room / "bundle.zip")

    return read


def gzipped(name: str, run: Callable[[Path], object]) -> Callable[[str, Path], object]:
    def read(text: str, room: Path) -> object:
        (room / name).write_bytes(gzip.compress(b(text), 1))
        return run(room / name)

    return read


def chunks(method: str) -> Callable[[str, Path], object]:
    chunking = Chunking.model_validate(
        {"method": method, "max_characters": 500, "overlap_characters": 50}
    )
    return plain(lambda text: split(text, chunking))


def csv_of(head: str) -> Callable[[str, Path], object]:
    run = as_file("a.csv", all_of(lambda path: records.read_csv(path, "key", ["a"])))
    return lambda text, room: run(f"{head}\n{text}", room)


def grader(form: dict[str, Any]) -> Callable[[str, Path], object]:
    kind = TypeAdapter(golden.Grader).validate_python(form)
    return plain(lambda text: grading.grade(kind, text))


def schema(given: Mapping[str, Any]) -> Callable[[str, Path], object]:
    return plain(lambda text: schema_check.first_violation(given, text, 1.0))


ROOT = Path(__file__).parents[2]
REFUSED = (BadInput, Refused)


@dataclass(frozen=True)
class Parser:
    """One parser: where it stands, how it is called, what it may raise, how much it is given."""

    module: str
    read: Callable[[str, Path], object]
    may_raise: tuple[type[Exception], ...] = ()
    size: int = MEBIBYTE
    most_seconds: float = 5.0
    squares: frozenset[str] = frozenset()  # known: only ``most_seconds`` is held against these

    def survives(self, text: str, room: Path) -> None:
        """Read a text: what it may raise is an answer; anything else is a fault."""
        with suppress(*self.may_raise):
            self.read(text, room)


PARSERS: dict[str, Parser] = {
    "sentences": Parser("qafila.core.sentences", plain(all_of(sentences.sentences))),
    "sections": Parser("qafila.core.sections", plain(sections.sections)),
    **{
        f"chunks by {method}": Parser("qafila.core.chunking", chunks(method))
        for method in ("window", "sentences", "headings")
    },
    "graphemes": Parser(
        "qafila.core.graphemes", plain(lambda text: graphemes.around(text, len(text) // 2))
    ),
    "trimmed graphemes": Parser(
        "qafila.core.graphemes", plain(lambda text: graphemes.trimmed(text, 0, len(text)))
    ),
    "blanks": Parser("qafila.core.blanks", plain(is_blank)),
    "cut text": Parser("qafila.core.bounding", plain(cut_text)),
    "language": Parser("qafila.core.language", plain(language.detect_language)),
    "one form": Parser("qafila.core.normalising", plain(normalising.bare)),
    "look-alikes": Parser("qafila.core.skeleton", plain(skeleton.appearances), size=1 << 10),
    "hidden characters": Parser("qafila.core.skeleton", plain(skeleton.hidden_characters)),
    "text for a terminal": Parser("qafila.core.foreign_text", plain(foreign_text.printable)),
    "text for JSON": Parser("qafila.core.foreign_text", plain(foreign_text.printable_json)),
    "text for Markdown": Parser("qafila.core.foreign_text", plain(foreign_text.markdown_text)),
    "masking": Parser("qafila.core.masking", plain(masking.mask_text)),
    "secret in an address": Parser("qafila.core.masking", plain(masking.holds_secret)),
    "passwords": Parser("qafila.core.masking", plain(masking.passwords_in)),
    "YAML": Parser(
        "qafila.core.strict_yaml",
        plain(lambda text: strict_yaml.load_yaml(text, "a")),
        REFUSED,
        size=1 << 16,
    ),
    "workload file": Parser(
        "tasks.workloads", as_file("a.yaml", check_file), REFUSED, size=1 << 16
    ),
    "golden prompts": Parser(
        "qafila.core.golden",
        plain(lambda text: golden.read_prompts("a", golden.numbered(b(text)))),
        REFUSED,
        size=1 << 14,
    ),
    "exact grader": Parser("qafila.core.grading", grader({"kind": "exact", "expected": "a"})),
    # a second bounds each search
    "pattern grader": Parser(
        "qafila.core.grading",
        grader({"kind": "regex", "pattern": "(a+)+b"}),
        size=1 << 12,
        squares=frozenset(HOSTILE),
    ),
    "number grader": Parser("qafila.core.grading", grader({"kind": "numeric", "expected": "1"})),
    "words grader": Parser("qafila.core.grading", grader({"kind": "contains", "all": ["a b"]})),
    "JSON grader": Parser(
        "qafila.core.grading",
        grader({"kind": "json_schema", "schema": {"type": "object"}, "allow_fence": True}),
    ),
    "grounded grader": Parser(
        "qafila.core.grading", grader({"kind": "grounded", "chunks": {"1": "a b. c d."}})
    ),
    "refusals": Parser(
        "qafila.core.grading", plain(lambda text: grading.is_refusal(text, ["i cannot"]))
    ),
    "pattern of a schema": Parser(
        "qafila.core.schema_check",
        schema({"pattern": "^(a|a)*$"}),
        (schema_check.NotChecked,),
        size=1 << 12,
        squares=frozenset(HOSTILE),
    ),
    "prices": Parser(  # our own file, in the package
        "qafila.core.pricing",
        plain(lambda text: parse_price_book(text, text, text)),
        (*REFUSED, ValueError, KeyError, TypeError, AttributeError),
        size=1 << 16,
    ),
    "request rates": Parser(
        "qafila.core.request_rate",
        plain(request_rate.request_rates),
        (*REFUSED, ValueError, KeyError, TypeError),
        size=1 << 16,
    ),
    "rules of vendors": Parser(
        "qafila.core.lock_in.parsing",
        plain(parsing.parse_rules),
        (*REFUSED, ValueError, KeyError, TypeError),
        size=1 << 16,
    ),
    "TOML": Parser(
        "qafila.core.strict_toml",
        plain(lambda text: strict_toml.load_toml(text, "a")),
        (BadInput,),
        size=1 << 16,
    ),
    "is a test": Parser("qafila.core.lock_in.abstraction", plain(abstraction.is_test)),
    "is a port": Parser("qafila.core.lock_in.abstraction", plain(abstraction.is_port)),
    "endpoint": Parser("qafila.core.dependencies.endpoints", plain(endpoints.endpoint_of)),
    "network": Parser("qafila.core.dependencies.ranges", plain(ranges.network_of)),
    "address": Parser("qafila.core.dependencies.directory", plain(directory.is_public)),
    "billed id": Parser("qafila.core.billed_ids", plain(billed_ids.kind_of_id)),
    "places of an id": Parser("qafila.core.billed_ids", plain(billed_ids.places_of)),
    "subject of an id": Parser("qafila.core.billed_ids", plain(billed_ids.subject_of)),
    "account of an id": Parser("qafila.core.billed_ids", plain(billed_ids.account_of)),
    "regions of a usage type": Parser(
        "qafila.core.network.regions", plain(regions.pair_of_usage_type)
    ),
    "regions of a text": Parser("qafila.core.network.regions", plain(regions.pair_of_text)),
    "words of a name": Parser("qafila.core.ai_need.names", plain(names.words_of)),
    "meaning of a table": Parser("qafila.core.ai_need.names", plain(names.meaning_of_table)),
    "image": Parser("qafila.core.ai_need.names", plain(names.serves_a_model)),
    "host of a model": Parser("qafila.core.ai_need.names", plain(names.is_model_host)),
    "limits that were met": Parser("qafila.core.estate", plain(estate.limits_in)),
    "GPU of a type": Parser("qafila.core.estate", plain(estate.has_gpu)),
    "quantity": Parser("tasks.collectors.kubernetes_objects", plain(kubernetes_objects.quantity)),
    "host in a variable": Parser(
        "tasks.collectors.variables", plain(lambda text: variables.host_in("DB_HOST", text))
    ),
    "URL in a variable": Parser(
        "tasks.collectors.variables", plain(lambda text: variables.host_in("DATABASE_URL", text))
    ),
    "ARN in a variable": Parser("tasks.collectors.variables", plain(variables.arn_in)),
    "owner of an interface": Parser(
        "tasks.collectors.interfaces",
        plain(lambda text: interfaces.owner_of(text, "aws", "eu-west-3", "1" * 12)),
    ),
    "Markdown file": Parser(
        "tasks.sources.documents",
        as_file("a.md", documents.read_markdown),
        (documents.Unreadable,),
    ),
    # html.parser takes the square of some texts: a process with a bound on time reads them
    "HTML file": Parser(
        "tasks.sources.documents",
        as_file("a.html", documents.read_html),
        (documents.Unreadable,),
        size=1 << 12,
        squares=frozenset(HOSTILE),
    ),
    "PDF file": Parser(
        "tasks.sources.documents",
        lambda text, room: as_file("a.pdf", documents.read_pdf)("%PDF-1.4\n" + text, room),
        (documents.Unreadable,),
        size=1 << 17,
    ),
    "JSON lines": Parser("tasks.sources.records", as_file("a.jsonl", all_of(records.read_jsonl))),
    "JSON lines, gzip": Parser(
        "tasks.sources.records", gzipped("a.jsonl.gz", all_of(records.read_jsonl))
    ),
    "CSV": Parser("tasks.sources.records", csv_of("key,a")),
    "CSV without a head": Parser(
        "tasks.sources.records",
        as_file("a.csv", all_of(lambda path: records.read_csv(path, "key", ["a"]))),
    ),
    "field of a record": Parser(
        "tasks.sources.fields",
        plain(lambda text: fields.groups_of({"a": text}, "a")),
        (fields.WrongField,),
    ),
    "path of a payload": Parser(
        "tasks.sources.payload_paths", plain(lambda text: payload_paths.path_problem("a", text))
    ),
    **{
        f"imports in {spoken}": Parser(
            "tasks.lock_in.light",
            plain(lambda text, spoken=spoken: light.imports_of(spoken, b(text))),
        )
        for spoken in ("python", "javascript", "java", "go")
    },
    "words of vendors": Parser(
        "tasks.lock_in.reading", plain(lambda text: reading.speaks(b(text)))
    ),
    **{
        f"facts in {name}": Parser(
            "tasks.lock_in.reading",
            as_file(name, lambda path: reading.read_batch(str(path.parent), [path.name], Limits())),
            size=1 << 16,
        )
        for name in ("a.py", "a.js", "a.java", "a.go")
    },
    "JSON stream": Parser(
        "tasks.observing.json_stream",
        plain(
            lambda text: sum(1 for _ in json_stream.elements(io.StringIO(text), frozenset({"a"})))
        ),
    ),
    "traces": Parser(
        "tasks.observing.traces", as_file("a", lambda path: traces.read_traces([path], [])), REFUSED
    ),
    "traces, gzip": Parser(
        "tasks.observing.opening",
        gzipped("a", lambda path: traces.read_traces([path], [])),
        REFUSED,
    ),
    "flow logs": Parser(
        "tasks.observing.flow_logs",
        as_file("a", lambda path: flow_logs.read_flow_logs([path], [])),
        REFUSED,
    ),
    "access log": Parser(
        "tasks.routers.access_log",
        as_file("a", lambda path: access_log.read_log(path, 0)),
    ),
    "line of a balancer": Parser(
        "tasks.routers.alb_logs",
        plain(lambda text: alb_logs.request_of(b(text)[: 1 << 16], {})),
    ),
    "evidence bundle": Parser(
        "tasks.bundle_check", zipped(lambda path: bundle_check.check_bundle(path, None)), REFUSED
    ),
    "rollback card": Parser("tasks.rollback_card", as_file("a.json", read_card), REFUSED),
    "vectors of a service": Parser(
        "tasks.embedders.wire", plain(lambda text: embedder_wire.read_reply(b(text), 1, 3))
    ),
    "failure of a service": Parser(
        "tasks.embedders.wire", plain(lambda text: embedder_wire.read_failure(400, {}, b(text)))
    ),
    "bill": Parser("tasks.bills.opening", as_file("a.csv", read_bill), REFUSED, size=1 << 16),
}


@pytest.mark.parametrize("name", PARSERS)
def test_a_hostile_text_is_read_or_refused_in_time_with_its_length(
    name: str, tmp_path: Path
) -> None:
    parser, wrong = PARSERS[name], []
    for hostile, make in HOSTILE.items():
        if hostile in parser.squares:
            text = make(parser.size)
            assert seconds(partial(parser.survives, text, tmp_path)) < parser.most_seconds
            continue
        try:
            assert_linear(
                lambda text: parser.survives(text, tmp_path), make, parser.size, parser.most_seconds
            )
        except AssertionError as error:
            wrong.append(f"{hostile}: {error}")
        except Exception as error:  # noqa: BLE001 - all of them in one answer
            wrong.append(f"{hostile}: {type(error).__name__}: {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)


PIECES = st.sampled_from(
    [
        "---\n",
        "+++\n",
        "# ",
        "```\n",
        "<",
        ">",
        "</p>",
        "<!--",
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "\\",
        ":",
        ",",
        "=",
        "&a",
        "*a",
        "\n",
        "\r\n",
        "\r",
        "\0",
        "\ud800",
        "\u202e",
        "\u0301",
        "\u0640",
        "م",
        "؟ ",
        "字",
        "a",
        "1",
        "-",
        "e9",
        ".",
        " ",
        "\t",
        "://",
        "@",
        "import ",
        "from ",
        "null",
        "\ufeff",
    ]
)
TEXTS = st.text(max_size=200) | st.lists(PIECES, max_size=40).map("".join)


@pytest.mark.parametrize("name", PARSERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS)
def test_any_text_is_read_or_refused(name: str, tmp_path: Path, text: str) -> None:
    PARSERS[name].survives(text, tmp_path)


READS = re.compile(
    r"json\.loads|load_yaml|parse_yaml|load_toml|tomllib\.|re\.compile|regex\.compile|csv\.reader|gzip\.|"
    r"zipfile\.|zlib\.decompress|fromisoformat|urlsplit\(|BeautifulSoup\(|PdfReader|MarkdownIt\(|SgRoot"
)
# Modules that read text and have no entry of their own, by why.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "an entry above runs it": (
        "qafila.core.dependencies.spans", "qafila.core.inventory.tables",
        "qafila.core.lock_in.integrations", "qafila.core.lock_in.namespaces",
        "qafila.core.lock_in.objects", "qafila.core.lock_in.api", "qafila.core.lock_in.rules",
        "qafila.core.egress", "tasks.bills.tagging", "tasks.lock_in.go",
        "tasks.lock_in.java", "tasks.lock_in.python_values", "tasks.lock_in.tree",
        "tasks.lock_in.walking", "tasks.observing.flow_parquet", "tasks.observing.xray_spans",
        "tasks.sources.page_text",
    ),
    "short text of an API that bounds it (a name, a date, a region, a host)": (
        "qafila.core.admission", "qafila.core.audit_sources",
        "qafila.core.dependencies.identifying",
        "qafila.core.findings", "qafila.core.inventory.difference", "qafila.core.network.flows",
        "qafila.core.observed", "qafila.core.reconciling", "tasks.certificates",
        "tasks.collectors.aws_api_gateway", "tasks.collectors.aws_cloudfront",
        "tasks.collectors.aws_s3_inventory", "tasks.collectors.aws_s3_manifest",
        "tasks.collectors.aws_sqs", "tasks.collectors.postgres_texts",
        "tasks.collectors.prometheus_metrics", "tasks.comparing_embedders.candidates",
        "tasks.embedders.careful", "tasks.embedders.governor", "tasks.inspecting.layouts",
        "tasks.routers.envoy_arms", "tasks.routers.upstream_addresses", "tasks.stores.qdrant_paths",
    ),
    "an answer of a server that we name, read whole by the JSON library with a bound on its size": (
        "tasks.answering.wire", "tasks.collectors.kubernetes_cluster",
        "tasks.collectors.prometheus_server", "tasks.routers.envoy_admin",
        "tasks.routers.gateway_api_objects", "tasks.search_service", "tasks.sources.pgvector",
        "tasks.sources.postgres", "tasks.stores.qdrant_faults", "tasks.stores.qdrant_raw",
    ),
    "what we wrote ourselves": (
        "tasks.answering.comparing", "tasks.audit.exporting", "tasks.bundle_place",
        "tasks.bundling", "tasks.collection", "tasks.engine.process", "tasks.engine.supervisor",
        "tasks.evidence_head", "tasks.live_sync.capture", "tasks.rollback_spool",
        "tasks.routers.envoy_config", "tasks.routers.envoy_files", "tasks.secret_bindings",
        "tasks.sources.spool", "tasks.starting", "tasks.stores.column_words",
        "tasks.stores.pgvector_raw", "tasks.stores.pgvector_witness", "tasks.stores.qdrant_marks",
    ),
}  # fmt: skip


def test_every_module_that_reads_text_is_tried_or_says_why_not() -> None:
    reading_ = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("qafila/core", "tasks")
        for path in (ROOT / room).rglob("*.py")
        if READS.search(path.read_text())
    }
    tried = {parser.module for parser in PARSERS.values()}
    elsewhere = {module for modules in ELSEWHERE.values() for module in modules}
    assert reading_ - tried - elsewhere == set(), "add an entry to PARSERS"
    assert elsewhere - reading_ == set(), "these read no text any more"
    known = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in ROOT.glob("*/**/*.py")}
    assert tried <= known | {"qafila.core"}
