"""Translates searches and lineage."""

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources

from mltrainer_registry.domain.errors import InvalidFieldError
from mltrainer_registry.domain.filters import (
    MODEL_FIELDS,
    MODEL_ORDERS,
    VERSION_FIELDS,
    VERSION_ORDERS,
    Order,
    Search,
)
from mltrainer_registry.domain.lineage import (
    DEFAULT_GENERATIONS,
    MAX_GENERATIONS,
    Descendant,
    LineageGraph,
    NodeKind,
    Origin,
)
from mltrainer_registry.wire.filters import to_search

_MAX_NAME_LENGTH = 300


def to_model_search(request: api.ListModelsRequest) -> Search:
    """Decodes which models are asked for."""
    return to_search(
        request.filter,
        request.order_by,
        fields=MODEL_FIELDS,
        orders=MODEL_ORDERS,
        default=Order("name"),
    )


def to_version_search(request: api.ListModelVersionsRequest, model: str | None) -> Search:
    """Decodes which versions are asked for."""
    return to_search(
        request.filter,
        request.order_by,
        fields=VERSION_FIELDS,
        orders=VERSION_ORDERS,
        default=Order("number", descending=True) if model is not None else Order("name"),
    )


def to_generations(generations: int) -> int:
    """Returns how far a lineage goes."""
    if not 0 <= generations <= MAX_GENERATIONS:
        raise InvalidFieldError("generations", f"is {generations}, not 1 to {MAX_GENERATIONS}")
    return generations or DEFAULT_GENERATIONS


def to_origin(node: resources.LineageNode) -> Origin:
    """Decodes what versions were made of."""
    kinds = resources.LineageNode.Kind
    if node.kind in {kinds.KIND_UNSPECIFIED, kinds.KIND_ALIAS} or node.kind not in kinds.values():
        raise InvalidFieldError("origin.kind", "is nothing that versions are made of")
    if not 1 <= len(node.name) <= _MAX_NAME_LENGTH:
        raise InvalidFieldError(
            "origin.name", f"has {len(node.name)} characters, not 1 to {_MAX_NAME_LENGTH}"
        )
    return Origin(NodeKind(kinds.Name(node.kind).removeprefix("KIND_")), node.name)


def encode_graph(graph: LineageGraph) -> resources.LineageGraph:
    """Encodes a lineage."""
    return resources.LineageGraph(
        nodes=[
            resources.LineageNode(kind=resources.LineageNode.Kind.Value(f"KIND_{node.kind}"), name=node.name)
            for node in graph.nodes
        ],
        edges=[resources.LineageEdge(from_node=source, to_node=end) for source, end in graph.edges],
        truncated=graph.truncated,
    )


def encode_descendant(descendant: Descendant) -> api.Descendant:
    """Encodes a version that was made of something."""
    return api.Descendant(version=descendant.version, generation=descendant.generation)
