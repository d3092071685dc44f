"""What names tell of a use of AI: of tables, of endpoints, of hosts, images and variables.

A name is a hint with evidence, never a proof; each rule is a list of words that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_TABLES = {
    "tickets": ("ticket", "case", "incident", "helpdesk", "support", "complaint", "claim"),
    "chats": ("chat", "message", "conversation", "thread", "transcript", "dialog", "dialogue"),
    "knowledge": (
        "article",
        "faq",
        "document",
        "doc",
        "page",
        "manual",
        "wiki",
        "knowledge",
        "kb",
        "post",
    ),
    "feedback": ("review", "comment", "feedback", "survey", "note", "answer", "question"),
    "mail": ("mail", "email", "letter"),
}
_SEARCH = frozenset(
    {
        "search",
        "searcher",
        "finder",
        "query",
        "suggest",
        "autocomplete",
        "elasticsearch",
        "opensearch",
        "solr",
        "meilisearch",
        "typesense",
        "algolia",
    }
)
_ASSISTANT = frozenset(
    {"assistant", "chat", "chatbot", "copilot", "bot", "helpdesk", "answer", "answers"}
)
_MODEL_HOST = re.compile(
    r"(^|\.)(api\.openai\.com|openai\.azure\.com|api\.anthropic\.com|api\.mistral\.ai|"
    r"generativelanguage\.googleapis\.com|aiplatform\.googleapis\.com|api\.cohere\.(ai|com)|"
    r"api\.groq\.com|api\.together\.(ai|xyz)|api\.deepseek\.com|openrouter\.ai|"
    r"api-inference\.huggingface\.co|router\.huggingface\.co|api\.voyageai\.com|"
    r"inference\.ai\.azure\.com)$"
    r"|^([a-z0-9-]+-)?aiplatform\.googleapis\.com$"
    r"|^(bedrock|bedrock-runtime|bedrock-agent|bedrock-agent-runtime)(-fips)?\.[a-z0-9-]+"
    r"\.amazonaws\.com$"
    r"|^runtime(-fips)?\.sagemaker\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$"
    r"|^[a-z0-9-]+\.(bedrock-runtime|runtime\.sagemaker)\.[a-z0-9-]+\.vpce\.amazonaws\.com$"
)
_MODEL_VARIABLE = re.compile(
    r"^(AZURE_)?(OPENAI|ANTHROPIC|MISTRAL|COHERE|GROQ|BEDROCK|SAGEMAKER|VOYAGE|GEMINI|"
    r"HUGGINGFACE|HF|OLLAMA|VLLM|LLM|LITELLM|LANGFUSE|LANGSMITH|EMBEDDINGS?)_"
)
_MODEL_IMAGE = re.compile(
    r"(^|/)(vllm(-openai)?|ollama|text-generation-inference|text-embeddings-inference|"
    r"tritonserver|nim|sglang|llama\.cpp|llama-cpp(-python)?|localai|litellm|"
    r"infinity|xinference)([:@/-]|$)"
)
_VECTOR_IMAGE = re.compile(r"(^|/)(qdrant|milvus|weaviate|chroma(db)?|pgvector|vespa)([:@/-]|$)")


def words_of(name: str) -> list[str]:
    """Return the words of a name, small: ``supportTickets`` and ``support_tickets`` alike."""
    return [part.lower() for part in _PARTS.findall(name)]


def meaning_of_table(name: str) -> str | None:
    """Return what a table's name says that it holds: tickets, chats, knowledge, … or None."""
    words = set(words_of(name))
    for meaning, known in _TABLES.items():
        if words & {form for word in known for form in (word, f"{word}s", f"{word}es")}:
            return meaning
    return None


def means_search(name: str) -> bool:
    """Tell whether a name says that people search there."""
    return "search" in name.lower() or not _SEARCH.isdisjoint(words_of(name))


def means_assistant(name: str) -> bool:
    """Tell whether a name says that somebody, or something, answers there."""
    return "assistant" in name.lower() or not _ASSISTANT.isdisjoint(words_of(name))


def is_model_host(host: str) -> bool:
    """Tell whether a host is the address of a hosted model, by its vendor's published names."""
    return _MODEL_HOST.search(host.lower()) is not None


def model_variables(names: Iterable[str]) -> list[str]:
    """Return the variables whose names belong to a model's client, in order."""
    return sorted(n for n in names if _MODEL_VARIABLE.match(n))


def serves_a_model(image: str) -> bool:
    """Tell whether a container image is a known server of models."""
    return _MODEL_IMAGE.search(image.lower()) is not None


def keeps_vectors(image: str) -> bool:
    """Tell whether a container image is a known vector store."""
    return _VECTOR_IMAGE.search(image.lower()) is not None
