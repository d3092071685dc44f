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

from qafila.audit import estate
from qafila.audit.ai_need import names
from qafila.audit.bills import resource_ids as billed_ids
from qafila.audit.bills.read import read_bill
from qafila.audit.bounds import cut_text
from qafila.audit.code_scan import abstraction, light
from qafila.audit.code_scan import file_reader as reading
from qafila.audit.code_scan import rule_tables as parsing
from qafila.audit.code_scan.folders import Limits
from qafila.audit.collectors import interfaces, kubernetes_objects, variables
from qafila.audit.dependencies import directory, endpoints, ranges
from qafila.audit.network_cost import regions
from qafila.audit.traffic import flow_logs, json_stream, traces
from qafila.chunking import boundaries, sections
from qafila.chunking.chunks import split
from qafila.decision.prices import parse_price_book
from qafila.embedders import request_rate
from qafila.embedders import wire as embedder_wire
from qafila.errors import BadInput, Refused
from qafila.llm_eval import golden
from qafila.llm_eval import grades as grading
from qafila.report import bundle_check
from qafila.rollback.card import read_card
from qafila.routers.aws import alb_logs
from qafila.routers.envoy import access_log
from qafila.sources import documents, fields, payload_paths, records
from qafila.text import (
    foreign_text,
    masking,
    schema_check,
    skeleton,
    strict_toml,
    strict_yaml,
)
from qafila.text import (
    normal_form as normalising,
)
from qafila.text.blanks import is_blank
from qafila.validation import language
from qafila.workload.corpus import Chunking
from qafila.workload_file import check_file
from tests.support.hostile_input import HOSTILE, MEBIBYTE, assert_linear, seconds


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
    "sentences": Parser("qafila.chunking.boundaries", plain(all_of(boundaries.sentences))),
    "sections": Parser("qafila.chunking.sections", plain(sections.sections)),
    **{
        f"chunks by {method}": Parser("qafila.chunking.chunks", chunks(method))
        for method in ("window", "sentences", "headings")
    },
    "graphemes": Parser(
        "qafila.chunking.boundaries", plain(lambda text: boundaries.around(text, len(text) // 2))
    ),
    "trimmed graphemes": Parser(
        "qafila.chunking.boundaries", plain(lambda text: boundaries.trimmed(text, 0, len(text)))
    ),
    "blanks": Parser("qafila.text.blanks", plain(is_blank)),
    "cut text": Parser("qafila.audit.bounds", plain(cut_text)),
    "language": Parser("qafila.validation.language", plain(language.detect_language)),
    "one form": Parser("qafila.text.normal_form", plain(normalising.bare)),
    "look-alikes": Parser("qafila.text.skeleton", plain(skeleton.appearances), size=1 << 10),
    "hidden characters": Parser("qafila.text.skeleton", plain(skeleton.hidden_characters)),
    "text for a terminal": Parser("qafila.text.foreign_text", plain(foreign_text.printable)),
    "text for JSON": Parser("qafila.text.foreign_text", plain(foreign_text.printable_json)),
    "text for Markdown": Parser("qafila.text.foreign_text", plain(foreign_text.markdown_text)),
    "masking": Parser("qafila.text.masking", plain(masking.mask_text)),
    "secret in an address": Parser("qafila.text.masking", plain(masking.holds_secret)),
    "passwords": Parser("qafila.text.masking", plain(masking.passwords_in)),
    "YAML": Parser(
        "qafila.text.strict_yaml",
        plain(lambda text: strict_yaml.load_yaml(text, "a")),
        REFUSED,
        size=1 << 16,
    ),
    "workload file": Parser(
        "qafila.workload_file", as_file("a.yaml", check_file), REFUSED, size=1 << 16
    ),
    "golden prompts": Parser(
        "qafila.llm_eval.golden",
        plain(lambda text: golden.read_prompts("a", golden.numbered(b(text)))),
        REFUSED,
        size=1 << 14,
    ),
    "exact grader": Parser("qafila.llm_eval.grades", grader({"kind": "exact", "expected": "a"})),
    # a second bounds each search
    "pattern grader": Parser(
        "qafila.llm_eval.grades",
        grader({"kind": "regex", "pattern": "(a+)+b"}),
        size=1 << 12,
        squares=frozenset(HOSTILE),
    ),
    "number grader": Parser("qafila.llm_eval.grades", grader({"kind": "numeric", "expected": "1"})),
    "words grader": Parser("qafila.llm_eval.grades", grader({"kind": "contains", "all": ["a b"]})),
    "JSON grader": Parser(
        "qafila.llm_eval.grades",
        grader({"kind": "json_schema", "schema": {"type": "object"}, "allow_fence": True}),
    ),
    "grounded grader": Parser(
        "qafila.llm_eval.grades", grader({"kind": "grounded", "chunks": {"1": "a b. c d."}})
    ),
    "refusals": Parser(
        "qafila.llm_eval.grades", plain(lambda text: grading.is_refusal(text, ["i cannot"]))
    ),
    "pattern of a schema": Parser(
        "qafila.text.schema_check",
        schema({"pattern": "^(a|a)*$"}),
        (schema_check.NotChecked,),
        size=1 << 12,
        squares=frozenset(HOSTILE),
    ),
    "prices": Parser(  # our own file, in the package
        "qafila.decision.prices",
        plain(lambda text: parse_price_book(text, text, text)),
        (*REFUSED, ValueError, KeyError, TypeError, AttributeError),
        size=1 << 16,
    ),
    "request rates": Parser(
        "qafila.embedders.request_rate",
        plain(request_rate.request_rates),
        (*REFUSED, ValueError, KeyError, TypeError),
        size=1 << 16,
    ),
    "rules of vendors": Parser(
        "qafila.audit.code_scan.rule_tables",
        plain(parsing.parse_rules),
        (*REFUSED, ValueError, KeyError, TypeError),
        size=1 << 16,
    ),
    "TOML": Parser(
        "qafila.text.strict_toml",
        plain(lambda text: strict_toml.load_toml(text, "a")),
        (BadInput,),
        size=1 << 16,
    ),
    "is a test": Parser("qafila.audit.code_scan.abstraction", plain(abstraction.is_test)),
    "is a port": Parser("qafila.audit.code_scan.abstraction", plain(abstraction.is_port)),
    "endpoint": Parser("qafila.audit.dependencies.endpoints", plain(endpoints.endpoint_of)),
    "network": Parser("qafila.audit.dependencies.ranges", plain(ranges.network_of)),
    "address": Parser("qafila.audit.dependencies.directory", plain(directory.is_public)),
    "billed id": Parser("qafila.audit.bills.resource_ids", plain(billed_ids.kind_of_id)),
    "places of an id": Parser("qafila.audit.bills.resource_ids", plain(billed_ids.places_of)),
    "subject of an id": Parser("qafila.audit.bills.resource_ids", plain(billed_ids.subject_of)),
    "account of an id": Parser("qafila.audit.bills.resource_ids", plain(billed_ids.account_of)),
    "regions of a usage type": Parser(
        "qafila.audit.network_cost.regions", plain(regions.pair_of_usage_type)
    ),
    "regions of a text": Parser("qafila.audit.network_cost.regions", plain(regions.pair_of_text)),
    "words of a name": Parser("qafila.audit.ai_need.names", plain(names.words_of)),
    "meaning of a table": Parser("qafila.audit.ai_need.names", plain(names.meaning_of_table)),
    "image": Parser("qafila.audit.ai_need.names", plain(names.serves_a_model)),
    "host of a model": Parser("qafila.audit.ai_need.names", plain(names.is_model_host)),
    "limits that were met": Parser("qafila.audit.estate", plain(estate.limits_in)),
    "GPU of a type": Parser("qafila.audit.estate", plain(estate.has_gpu)),
    "quantity": Parser(
        "qafila.audit.collectors.kubernetes_objects", plain(kubernetes_objects.quantity)
    ),
    "host in a variable": Parser(
        "qafila.audit.collectors.variables", plain(lambda text: variables.host_in("DB_HOST", text))
    ),
    "URL in a variable": Parser(
        "qafila.audit.collectors.variables",
        plain(lambda text: variables.host_in("DATABASE_URL", text)),
    ),
    "ARN in a variable": Parser("qafila.audit.collectors.variables", plain(variables.arn_in)),
    "owner of an interface": Parser(
        "qafila.audit.collectors.interfaces",
        plain(lambda text: interfaces.owner_of(text, "aws", "eu-west-3", "1" * 12)),
    ),
    "Markdown file": Parser(
        "qafila.sources.documents",
        as_file("a.md", documents.read_markdown),
        (documents.Unreadable,),
    ),
    # html.parser takes the square of some texts: a process with a bound on time reads them
    "HTML file": Parser(
        "qafila.sources.documents",
        as_file("a.html", documents.read_html),
        (documents.Unreadable,),
        size=1 << 12,
        squares=frozenset(HOSTILE),
    ),
    "PDF file": Parser(
        "qafila.sources.documents",
        lambda text, room: as_file("a.pdf", documents.read_pdf)("%PDF-1.4\n" + text, room),
        (documents.Unreadable,),
        size=1 << 17,
    ),
    "JSON lines": Parser("qafila.sources.records", as_file("a.jsonl", all_of(records.read_jsonl))),
    "JSON lines, gzip": Parser(
        "qafila.sources.records", gzipped("a.jsonl.gz", all_of(records.read_jsonl))
    ),
    "CSV": Parser("qafila.sources.records", csv_of("key,a")),
    "CSV without a head": Parser(
        "qafila.sources.records",
        as_file("a.csv", all_of(lambda path: records.read_csv(path, "key", ["a"]))),
    ),
    "field of a record": Parser(
        "qafila.sources.fields",
        plain(lambda text: fields.groups_of({"a": text}, "a")),
        (fields.WrongField,),
    ),
    "path of a payload": Parser(
        "qafila.sources.payload_paths", plain(lambda text: payload_paths.path_problem("a", text))
    ),
    **{
        f"imports in {spoken}": Parser(
            "qafila.audit.code_scan.light",
            plain(lambda text, spoken=spoken: light.imports_of(spoken, b(text))),
        )
        for spoken in ("python", "javascript", "java", "go")
    },
    "words of vendors": Parser(
        "qafila.audit.code_scan.file_reader", plain(lambda text: reading.speaks(b(text)))
    ),
    **{
        f"facts in {name}": Parser(
            "qafila.audit.code_scan.file_reader",
            as_file(name, lambda path: reading.read_batch(str(path.parent), [path.name], Limits())),
            size=1 << 16,
        )
        for name in ("a.py", "a.js", "a.java", "a.go")
    },
    "JSON stream": Parser(
        "qafila.audit.traffic.json_stream",
        plain(
            lambda text: sum(1 for _ in json_stream.elements(io.StringIO(text), frozenset({"a"})))
        ),
    ),
    "traces": Parser(
        "qafila.audit.traffic.traces",
        as_file("a", lambda path: traces.read_traces([path], [])),
        REFUSED,
    ),
    "traces, gzip": Parser(
        "qafila.audit.traffic.files",
        gzipped("a", lambda path: traces.read_traces([path], [])),
        REFUSED,
    ),
    "flow logs": Parser(
        "qafila.audit.traffic.flow_logs",
        as_file("a", lambda path: flow_logs.read_flow_logs([path], [])),
        REFUSED,
    ),
    "access log": Parser(
        "qafila.routers.envoy.access_log",
        as_file("a", lambda path: access_log.read_log(path, 0)),
    ),
    "line of a balancer": Parser(
        "qafila.routers.aws.alb_logs",
        plain(lambda text: alb_logs.request_of(b(text)[: 1 << 16], {})),
    ),
    "evidence bundle": Parser(
        "qafila.report.bundle_check",
        zipped(lambda path: bundle_check.check_bundle(path, None)),
        REFUSED,
    ),
    "rollback card": Parser("qafila.rollback.card", as_file("a.json", read_card), REFUSED),
    "vectors of a service": Parser(
        "qafila.embedders.wire", plain(lambda text: embedder_wire.read_reply(b(text), 1, 3))
    ),
    "failure of a service": Parser(
        "qafila.embedders.wire", plain(lambda text: embedder_wire.read_failure(400, {}, b(text)))
    ),
    "bill": Parser(
        "qafila.audit.bills.file_check", as_file("a.csv", read_bill), REFUSED, size=1 << 16
    ),
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
        "qafila.audit.dependencies.spans",
        "qafila.audit.inventory.tables",
        "qafila.audit.code_scan.integrations",
        "qafila.audit.code_scan.namespaces",
        "qafila.audit.code_scan.objects",
        "qafila.audit.code_scan.api",
        "qafila.audit.code_scan.rules",
        "qafila.decision.egress",
        "qafila.audit.bills.tag_costs",
        "qafila.audit.code_scan.go",
        "qafila.audit.code_scan.java",
        "qafila.audit.code_scan.python_values",
        "qafila.audit.code_scan.tree",
        "qafila.audit.code_scan.folders",
        "qafila.audit.traffic.flow_parquet",
        "qafila.audit.traffic.xray_spans",
        "qafila.sources.page_text",
    ),
    "short text of an API that bounds it (a name, a date, a region, a host)": (
        "qafila.stores.admission",
        "qafila.workload.audit_sources",
        "qafila.audit.dependencies.identity",
        "qafila.audit.findings",
        "qafila.audit.inventory.difference",
        "qafila.audit.network_cost.flows",
        "qafila.inspect.observed",
        "qafila.audit.bills.reconciliation",
        "qafila.ledger.certificates",
        "qafila.audit.collectors.aws_api_gateway",
        "qafila.audit.collectors.aws_cloudfront",
        "qafila.audit.collectors.aws_s3_inventory",
        "qafila.audit.collectors.aws_s3_manifest",
        "qafila.audit.collectors.aws_sqs",
        "qafila.audit.collectors.postgres_texts",
        "qafila.audit.collectors.prometheus_metrics",
        "qafila.compare.embedders.candidates",
        "qafila.embedders.careful",
        "qafila.embedders.governor",
        "qafila.inspect.layouts",
        "qafila.routers.envoy.arms",
        "qafila.routers.envoy.upstream_addresses",
        "qafila.connections.qdrant_paths",
    ),
    "an answer of a server that we name, read whole by the JSON library with a bound on its size": (
        "qafila.llm_eval.wire",
        "qafila.audit.collectors.kubernetes_cluster",
        "qafila.audit.collectors.prometheus_server",
        "qafila.routers.envoy.admin",
        "qafila.routers.gateway_api.objects",
        "qafila.validation.search_service",
        "qafila.sources.pgvector",
        "qafila.sources.postgres",
        "qafila.connections.qdrant_faults",
        "qafila.stores.qdrant.raw",
    ),
    "what we wrote ourselves": (
        "qafila.validation.checks.model_answers",
        "qafila.report.audit_export",
        "qafila.report.bundle_place",
        "qafila.report.bundle",
        "qafila.compare.collection",
        "qafila.backfill.process",
        "qafila.backfill.supervisor",
        "qafila.ledger.evidence_head",
        "qafila.live_sync.capture",
        "qafila.rollback.spool",
        "qafila.routers.envoy.config",
        "qafila.routers.envoy.files",
        "qafila.ledger.secret_bindings",
        "qafila.sources.spool",
        "tasks.starting",
        "qafila.stores.column.words",
        "qafila.stores.pgvector.raw",
        "qafila.sources.postgres_witness",
        "qafila.routers.envoy.log_rotation",
        "qafila.stores.qdrant.marks",
    ),
}


# rooms that read what this program wrote itself, or what a person typed
OUR_OWN = (
    *("cli", "connections", "demo", "report", "sql", "stack"),
    *("home_keys.py", "session_name.py", "settings.py", "whole_file.py", "masked_output.py"),
)


def test_every_module_that_reads_text_is_tried_or_says_why_not() -> None:
    files = {
        path.relative_to(ROOT): ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("qafila", "tasks")
        for path in (ROOT / room).rglob("*.py")
        if READS.search(path.read_text())
    }
    reading_ = set(files.values())
    own = {module for path, module in files.items() if path.parts[1] in OUR_OWN}
    tried = {parser.module for parser in PARSERS.values()}
    elsewhere = {module for modules in ELSEWHERE.values() for module in modules}
    assert reading_ - tried - elsewhere - own == set(), "add an entry to PARSERS"
    assert elsewhere - reading_ == set(), "these read no text any more"
    known = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in ROOT.glob("*/**/*.py")}
    assert tried <= known
