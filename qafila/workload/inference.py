"""The optional section of a workload file that compares two language models by golden prompts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qafila.workload.corpus import Identifier, Model, Name

ServiceUrl = Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/[^\s?#]*)?$", max_length=2000)]


class LanguageModel(Model):
    """A model behind an OpenAI-compatible service, and how it is asked."""

    url: ServiceUrl | None = Field(
        None, description="Address up to the version (http://host/v1) of a service without a key."
    )
    block: Name | None = Field(None, description="Connection with address and key; instead of url.")
    model: str = Field(min_length=1, max_length=200, description="Model, as the service names it.")
    interface: Literal["chat", "completions"] = Field(
        "chat", description="/chat/completions, or /completions with the messages as one text."
    )
    system: str = Field("", max_length=100_000, description="System prompt before every prompt.")
    temperature: float | None = Field(0.0, ge=0, le=2, description="None: the service's own.")
    max_tokens: int = Field(256, ge=1, le=1_000_000, description="Most tokens of an answer.")
    limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="Name under which the service takes max_tokens."
    )
    seed: int | None = Field(None, ge=0, description="Sent along when it is set.")
    requests_per_minute: int | None = Field(
        None, ge=1, description="Of the account; none: no limit."
    )
    tokens_per_minute: int | None = Field(None, ge=1, description="The account's limit.")
    input_price_per_million: float | None = Field(
        None, ge=0, description="Of tokens read, in the budget's currency; none: not known."
    )
    output_price_per_million: float | None = Field(
        None, ge=0, description="Of tokens written; none: not known."
    )

    @model_validator(mode="after")
    def _is_somewhere(self) -> LanguageModel:
        if (self.url is None) == (self.block is None):
            raise ValueError("name either url, or a block with address and key")
        if (self.input_price_per_million is None) != (self.output_price_per_million is None):
            raise ValueError("name both prices, or none of them")
        return self


class FilePrompts(Model):
    """Golden prompts in a file."""

    kind: Literal["file"] = Field(description="A JSONL file, a prompt a line.")
    path: str = Field(
        min_length=1, max_length=1000, description="A relative path starts at QAFILA_HOME."
    )


class TablePrompts(Model):
    """Golden prompts in a table."""

    kind: Literal["table"] = Field(description="A table with a prompt a row.")
    table: Identifier = Field(
        description="Table with the columns prompt_id and prompt (jsonb, as a line of the file)."
    )
    block: Name = Field(description="Connection to its database.")


class ModelGrader(Model):
    """A language model that grades answers; counts only where it agrees with people."""

    service: LanguageModel
    at_least_kappa: float = Field(
        0.6, ge=0, le=1, description="Least Cohen's kappa with the human grades."
    )


class Inference(Model):
    """Two language models under comparison, and the prompts whose right answers are known."""

    baseline: LanguageModel
    candidate: LanguageModel
    prompts: Annotated[FilePrompts | TablePrompts, Field(discriminator="kind")]
    grader: ModelGrader | None = Field(None, description="For prompts with a model's grade.")

    @property
    def services(self) -> tuple[LanguageModel, ...]:
        """Return every service that is asked."""
        graders = () if self.grader is None else (self.grader.service,)
        return (self.baseline, self.candidate, *graders)


class AnswerObjectives(Model):
    """What a language model on trial may lose against the one that serves."""

    at_least_delta: float = Field(
        -0.05,
        ge=-1,
        le=1,
        description="Mean score, candidate minus baseline; by as much may refusals and broken "
        "formats become more.",
    )
    first_token: float = Field(
        1.25, ge=1, le=100, description="Time to the first token, candidate over baseline, at most."
    )
    per_token: float = Field(
        1.25, ge=1, le=100, description="Time a token after the first, likewise."
    )
