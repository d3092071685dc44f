"""Ask the Prefect server for a block; what Qafila finds as ``prefect`` among ``qafila.secrets``."""

from __future__ import annotations

from typing import Any

from prefect.exceptions import ObjectNotFound

from blocks import ALL


def load_block(slug: str, name: str) -> dict[str, Any]:
    """Return the settings of the block ``slug``/``name``, its secrets as ``SecretStr``.

    Raises:
        LookupError: the Prefect server answers that there is none. Of this very class.
        Exception: whatever Prefect raises when its server does not answer.
    """
    kind = next(kind for kind in ALL if kind.get_block_type_slug() == slug)
    try:
        block: Any = kind.load(name)
    except ValueError as error:
        if isinstance(error.__cause__, ObjectNotFound):
            raise LookupError(f"there is no block {slug}/{name}") from error
        raise
    return {field: getattr(block, field) for field in kind.model_fields}
