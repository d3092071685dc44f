"""What a workload file says of its corpus: what is embedded, how, and where to.

Unknown fields are refused; every field has a meaning and a bound.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=40)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")]
Field_ = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]

# what sources have in common, in the words of a table and in those of files and points
_KEPT = "that are kept beside each chunk."
_TAKEN_APART = " A single one that holds an object is taken apart."
GroupsColumn = Annotated[
    Identifier | None,
    Field(
        description="text[] column with the groups that may read the row; without it: everybody."
    ),
]
GroupsField = Annotated[
    Field_ | None, Field(description="Field with a list of groups; without it: everybody.")
]

EVERYBODY = "everyone"  # the group of a reader that nobody has identified


class Model(BaseModel):
    """Base of all parts: frozen, and unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VectorOrigin(Model):
    """What made the vectors that an index holds already; equal to the embedder's: they are copied.

    Nothing in an index says which model made it, so a person has to.
    """

    model: str = Field(min_length=1, description="Model, as the embedder names it.")
    revision: str = Field("", description="What, beside the name, decides its vectors.")
    normalised: bool = Field(True, description="Every vector has length 1.")


class PostgresSource(Model):
    """A table or a query, read in the order of its key."""

    kind: Literal["postgres"] = Field(description="A PostgreSQL table, view or query.")
    block: Name = Field(description="Connection to the source database.")
    table: Identifier | None = Field(None, description="Table or view; may be schema.table.")
    query: str | None = Field(
        None,
        max_length=20_000,
        description="Instead of a table: one SELECT whose columns are named here.",
    )
    key: list[Identifier] = Field(min_length=1, description="Columns that order and identify rows.")
    text: list[Identifier] = Field(
        min_length=1,
        description="Text columns, joined by a line break. Of several, the first is the title.",
    )
    acl: GroupsColumn = None
    metadata: list[Identifier] = Field([], description=f"Columns {_KEPT}")

    @model_validator(mode="after")
    def _table_or_query(self) -> PostgresSource:
        if (self.table is None) == (self.query is None):
            raise ValueError("name either table or query")
        return self

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        return self.table or "the query"


class ObjectSource(Model):
    """Files: a folder, one file, or a prefix in an S3 bucket."""

    kind: Literal["objects"] = Field(description="Files or S3 objects.")
    location: str = Field(
        min_length=1,
        max_length=1000,
        description="Folder, file or s3://bucket/prefix; a relative path starts at QAFILA_HOME.",
    )
    block: Name | None = Field(None, description="Connection to AWS, for s3://.")
    format: Literal["jsonl", "parquet", "csv", "markdown", "html", "pdf"] = Field(
        description="One format a source. jsonl, parquet and csv hold a document a record; of the "
        "others, a file is a document and its path the key, so key and text are not looked at."
    )
    key: Field_ = Field("id", description="Field that identifies a record.")
    text: list[Field_] = Field(
        ["text"],
        min_length=1,
        description="Text fields, joined by a line break. Of several, the first is the title.",
    )
    acl: GroupsField = None
    metadata: list[Field_] = Field([], description=f"Fields {_KEPT}")

    @model_validator(mode="after")
    def _s3_by_a_connection(self) -> ObjectSource:
        if self.location.startswith("s3://") and self.block is None:
            raise ValueError("an s3:// location needs a block, the connection to AWS")
        return self

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        return self.location


class PgvectorSource(Model):
    """A table that holds chunks and their vectors already: Qafila's own, or anybody's."""

    kind: Literal["pgvector"] = Field(description="An existing pgvector table.")
    block: Name = Field(description="Connection to its database.")
    table: Identifier = Field(description="Table; may be schema.table.")
    key: list[Identifier] = Field(
        ["source_key", "chunk_number"],
        min_length=1,
        description="Columns that order and identify chunks. Two, of which the second is an "
        "integer: document and number of the chunk.",
    )
    text: Identifier = Field("text", description="Column with the text of the chunk.")
    embedding: Identifier = Field("embedding", description="Column with the vector.")
    title: Identifier | None = Field(None, description="Column with the title.")
    acl: GroupsColumn = None
    metadata: list[Identifier] = Field([], description=f"Columns {_KEPT}{_TAKEN_APART}")
    vectors: VectorOrigin = Field(description="What made the vectors in it.")

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        return self.table


class QdrantSource(Model):
    """A collection that holds chunks and their vectors already: Qafila's own, or anybody's."""

    kind: Literal["qdrant"] = Field(description="An existing Qdrant collection.")
    block: Name = Field(description="Connection to Qdrant.")
    collection: str = Field(min_length=1, max_length=255, description="Collection.")
    vector_name: str = Field("", description="Name of the vector; empty: the unnamed one.")
    key: Field_ | None = Field(
        "source_key", description="Payload field with the document's key; none: the point's id."
    )
    number: Field_ | None = Field(
        "chunk_number", description="Payload field with the chunk's number; none: always 0."
    )
    text: Field_ = Field("text", description="Payload field with the text; dots go deeper.")
    title: Field_ | None = Field(None, description="Payload field with the title.")
    acl: GroupsField = None
    metadata: list[Field_] = Field([], description=f"Payload fields {_KEPT}{_TAKEN_APART}")
    vectors: VectorOrigin = Field(description="What made the vectors in it.")

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        return self.collection


Source = Annotated[
    PostgresSource | ObjectSource | PgvectorSource | QdrantSource, Field(discriminator="kind")
]


class Chunking(Model):
    """How a document becomes chunks."""

    method: Literal["whole", "window", "tokens", "sentences", "headings"] = Field(
        "whole",
        description="One chunk a document; windows of characters or of the model's tokens; whole "
        "sentences; or Markdown sections.",
    )
    max_characters: int = Field(
        2000, ge=100, le=100_000, description="For window, sentences and headings."
    )
    overlap_characters: int = Field(
        200, ge=0, le=10_000, description="For window, sentences and headings."
    )
    max_tokens: int = Field(256, ge=16, le=32_000, description="Only for tokens.")
    overlap_tokens: int = Field(32, ge=0, le=8_000, description="Only for tokens.")

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Chunking:
        if self.overlap_characters * 2 > self.max_characters:
            raise ValueError("overlap_characters must be at most half of max_characters")
        if self.overlap_tokens * 2 > self.max_tokens:
            raise ValueError("overlap_tokens must be at most half of max_tokens")
        return self


class WordLlamaEmbedder(Model):
    """The static model that ships inside the wordllama package; runs in process."""

    kind: Literal["wordllama"] = Field(description="Runs in process and costs nothing a token.")
    dimensions: Literal[64, 128, 256] = Field(256, description="Length of a vector.")
    lowercase: bool = Field(True, description="The model is sensitive to case; lower-case first.")


class OpenAIEmbedder(Model):
    """Any service that answers /v1/embeddings as OpenAI's does."""

    kind: Literal["openai"] = Field(description="An OpenAI-compatible service over HTTP.")
    block: Name = Field(description="Connection to the service.")
    model: str = Field(min_length=1, max_length=200, description="Model, as the service names it.")
    revision: str = Field(
        "", max_length=200, description="Version, where the name says too little."
    )
    dimensions: int = Field(
        ge=1, le=8192, description="Length of a vector; every reply is checked."
    )
    ask_dimensions: bool = Field(
        False, description="Send dimensions with each request: the model can shorten its vectors."
    )
    requests_per_minute: int | None = Field(
        None, ge=1, description="Of the account; none: no limit."
    )
    tokens_per_minute: int | None = Field(None, ge=1, description="The account's limit.")
    batch_texts: int = Field(64, ge=1, le=2048, description="Most texts a request.")
    batch_tokens: int = Field(8000, ge=16, description="Most tokens a request.")
    text_tokens: int = Field(8000, ge=16, description="Most tokens that the model reads of a text.")
    price_per_million_tokens: float = Field(ge=0, description="In the budget's currency.")


Embedder = Annotated[WordLlamaEmbedder | OpenAIEmbedder, Field(discriminator="kind")]


class ColumnLayout(Model):
    """A second column in the application's own table, swapped under the same name at cut-over."""

    table: Identifier = Field(description="The application's table; may be schema.table.")
    key: list[Identifier] = Field(min_length=1, description="Its primary key.")
    column: Identifier = Field(description="Column that the application searches in.")


class PgvectorTarget(Model):
    """A generation table behind a pointer row, or a column of the application's own table."""

    kind: Literal["pgvector"] = Field(description="PostgreSQL with pgvector.")
    block: Name = Field(description="Connection to the target database.")
    index: Literal["hnsw", "none"] = Field(
        "hnsw", description="Built after the load; none: every search looks at every row."
    )
    ef_search: int = Field(100, ge=10, le=1000, description="HNSW candidates a query looks at.")
    m: int = Field(16, ge=2, le=100, description="HNSW links a node.")
    ef_construction: int = Field(64, ge=4, le=1000, description="HNSW candidates while building.")
    vector_type: Literal["vector", "halfvec"] = Field(
        "vector", description="halfvec: two bytes a number, up to 4 000 dimensions."
    )
    inline_vectors: bool = Field(
        False,
        description="Keep rows of up to 8 kB whole, vector and all: from some 400 dimensions on, "
        "loads half again as fast; takes more disk where a page then holds one row only.",
    )
    index_memory_mb: int | None = Field(
        None, ge=64, description="Most memory for building the index; none: what its graph needs."
    )
    full_text: Literal["english", "french", "arabic", "simple", "none"] = Field(
        "english", description="Language of the lexemes for keyword search; none: no lexemes."
    )
    column: ColumnLayout | None = Field(
        None, description="Instead of a generation table: a column of the application's table."
    )


class QdrantTarget(Model):
    """A collection a generation behind an alias."""

    kind: Literal["qdrant"] = Field(description="Qdrant, a server or local mode.")
    block: Name = Field(description="Connection to Qdrant.")
    m: int = Field(16, ge=2, le=100, description="HNSW links a node.")
    ef_construction: int = Field(100, ge=4, le=1000, description="HNSW candidates while building.")
    ef_search: int = Field(100, ge=10, le=1000, description="HNSW candidates a query looks at.")
    index_minutes: int = Field(
        120, ge=1, le=10_080, description="Longest wait for the server to index what was loaded."
    )


Target = Annotated[PgvectorTarget | QdrantTarget, Field(discriminator="kind")]


class LoadLimits(Model):
    """Above any of these the load slows down by half, and says why; None: not looked at."""

    probe_p95_ms: float | None = Field(
        200, gt=0, description="Slowest of five trivial queries on source and target."
    )
    active_sessions: int | None = Field(
        None, ge=1, description="Sessions at work on source or target, the load's own included."
    )
    replication_lag_seconds: float | None = Field(
        30, gt=0, description="Of the slowest standby of source or target."
    )


class Bridge(Model):
    """Fill a generation with the old index's vectors, mapped, while the real one is being made.

    A sample of texts is embedded with the new model too, and a linear map is fitted to the pairs.
    """

    calibration_texts: int = Field(
        2000, ge=100, le=50_000, description="Texts that are embedded to fit and judge the map."
    )
    method: Literal["best", "ridge", "procrustes"] = Field(
        "best", description="best: whichever does better on texts held out."
    )
    least_overlap: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the ten nearest texts that must be the same, on texts held out.",
    )
    seed: int = Field(7, ge=0, description="Decides which texts of the sample are held out.")


class Corpus(Model):
    """What is embedded, how, and where to."""

    source: Source
    chunking: Chunking = Chunking()
    embedder: Embedder
    target: Target
    cache: bool = Field(
        False, description="Keep computed vectors beside the target and use them again."
    )
    live_sync: bool = Field(
        False, description="Follow writes to the source (PostgreSQL tables) through an outbox."
    )
    limits: LoadLimits = LoadLimits()
    bridge: Bridge | None = Field(
        None, description="Map the vectors of an existing index and make none, for the time being."
    )

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Corpus:
        problems = []
        if self.target.kind != "pgvector":
            problems += [
                f"{part} needs a target of kind pgvector, where it is kept"
                for part, wanted in (("cache", self.cache), ("bridge", self.bridge is not None))
                if wanted
            ]
        if self.bridge is not None and self.source.kind not in ("pgvector", "qdrant"):
            problems.append("bridge needs a source that holds vectors: pgvector or qdrant")
        if self.bridge is not None and self.chunking.method != "whole":
            problems.append("bridge needs chunking by whole: a vector is that of its whole text")
        alone = _remedy_of_numbers(self.source)
        if alone is not None and self.chunking.method != "whole":
            # each chunk's chunks would begin with number 0 again: one place for several texts
            problems.append(
                f"chunking by {self.chunking.method} would cut the numbered chunks of "
                f"{self.source.name!r} anew, and each chunk of a document would give another "
                "number 0: set corpus.chunking.method to whole; or read the documents themselves, "
                f"by a source of kind postgres or objects; or, where each {alone}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _remedy_of_numbers(source: Source) -> str | None:
    """Return what to set where a source numbers the chunks of a document; None: it does not."""
    if isinstance(source, PgvectorSource) and len(source.key) == 2:
        return "row is a document of its own, name one column in corpus.source.key"
    if isinstance(source, QdrantSource) and source.number is not None:
        return "point is a document of its own, set corpus.source.number to null"
    return None
