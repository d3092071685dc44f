"""What hangs together in an estate, how sure that is, and in which waves it can move."""

from qafila.core.dependencies.combining import combine
from qafila.core.dependencies.criticality import Criticality
from qafila.core.dependencies.deriving import app_of, derive_edges, edges_of
from qafila.core.dependencies.directory import Directory
from qafila.core.dependencies.endpoints import Endpoint, endpoint_of
from qafila.core.dependencies.kinds import EdgeKind, name_of_node
from qafila.core.dependencies.traffic import Traffic
from qafila.core.dependencies.waves import Crossing, Position, Wave, WavePlan, plan_waves

__all__ = [
    "Criticality", "Crossing", "Directory", "EdgeKind", "Endpoint", "Position", "Traffic", "Wave",
    "WavePlan", "app_of", "combine", "derive_edges", "edges_of", "endpoint_of", "name_of_node",
    "plan_waves",
]  # fmt: skip
