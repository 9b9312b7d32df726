"""Where versions come from and what came of them, as a graph."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mltrainer_registry.domain.aliases import Alias
from mltrainer_registry.domain.versions import ModelVersion

MAX_GENERATIONS = 100
DEFAULT_GENERATIONS = 10
MAX_RELATIVES = 500


class NodeKind(StrEnum):
    """Says what a node is."""

    VERSION = "VERSION"
    ATTEMPT = "ATTEMPT"
    TRAINING = "TRAINING"
    STUDY = "STUDY"
    DATASET = "DATASET"
    DATASET_SHA256 = "DATASET_SHA256"
    FEATURE_VIEW_VERSION = "FEATURE_VIEW_VERSION"
    CODE_DIGEST = "CODE_DIGEST"
    ENVIRONMENT_DIGEST = "ENVIRONMENT_DIGEST"
    COMPUTATION_KEY = "COMPUTATION_KEY"
    ALIAS = "ALIAS"


@dataclass(frozen=True, slots=True)
class Origin:
    """One thing that versions are made of."""

    kind: NodeKind
    name: str


Node = Origin


@dataclass(frozen=True, slots=True)
class Descendant:
    """A version that was made of something; `generation` is 1 where directly."""

    version: str
    generation: int


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """Nodes without repetition, the version asked for first; edges lead to what something was made of."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]
    truncated: bool = False


class GraphBuilder:
    """Puts a graph together; what is unknown is left out."""

    def __init__(self) -> None:
        self._positions: dict[Node, int] = {}
        self._edges: dict[tuple[int, int], None] = {}

    def add_version(self, version: ModelVersion) -> None:
        """Adds a version with everything it was made of."""
        lineage = version.lineage
        top = Node(NodeKind.VERSION, str(version.name))
        self._position(top)
        attempt = f"{lineage.training}/attempts/{lineage.attempt}" if lineage.training else ""
        training = self.link(self.link(top, NodeKind.ATTEMPT, attempt), NodeKind.TRAINING, lineage.training)
        self.link(training, NodeKind.STUDY, lineage.study)
        dataset = self.link(training, NodeKind.DATASET, lineage.dataset)
        self.link(dataset, NodeKind.DATASET_SHA256, lineage.dataset_sha256)
        for view in lineage.feature_view_versions:
            self.link(dataset, NodeKind.FEATURE_VIEW_VERSION, view)
        self.link(training, NodeKind.CODE_DIGEST, lineage.code_digest)
        self.link(training, NodeKind.ENVIRONMENT_DIGEST, lineage.environment_digest)
        self.link(training, NodeKind.COMPUTATION_KEY, lineage.computation_key)
        self.link(top, NodeKind.VERSION, lineage.parent_version)

    def add_aliases(self, aliases: Iterable[Alias]) -> None:
        """Adds what points to a version of the graph."""
        for alias in aliases:
            target = Node(NodeKind.VERSION, str(alias.version))
            if target in self._positions:
                self.link(Node(NodeKind.ALIAS, str(alias.name)), target.kind, target.name)

    def link(self, source: Node, kind: NodeKind, name: str) -> Node:
        """Adds an edge and returns its end; the source itself where the end is unknown."""
        if not name:
            return source
        end = Node(kind, name)
        self._edges[self._position(source), self._position(end)] = None
        return end

    def build(self, *, truncated: bool) -> LineageGraph:
        """Returns the graph."""
        return LineageGraph(tuple(self._positions), tuple(self._edges), truncated)

    def _position(self, node: Node) -> int:
        return self._positions.setdefault(node, len(self._positions))
