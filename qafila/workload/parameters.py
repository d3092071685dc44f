"""What the parameter models of the flows share; the Prefect UI draws its forms from them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from qafila.workload.corpus import Name


class ForWorkload(BaseModel):
    """Base of every flow's one parameter: which workload it is about."""

    model_config = ConfigDict(extra="forbid")

    workload: Name = Field(
        description="Name of an applied workload, for instance aws-docs-search.",
        examples=["aws-docs-search"],
    )
