"""Traces a version to what it was made of, and to what was made of it."""

from dataclasses import dataclass

from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.ports import RegistryReader
from mltrainer_registry.application.search_ports import LineageReader
from mltrainer_registry.domain.errors import VersionNotFoundError
from mltrainer_registry.domain.lineage import MAX_RELATIVES, GraphBuilder, LineageGraph, Node, NodeKind
from mltrainer_registry.domain.names import VersionName, parse_version


@dataclass(frozen=True, slots=True)
class TraceLineageHandler:
    """Builds the graph around a version."""

    follower: ChangeFollower
    reader: RegistryReader
    lineage: LineageReader

    async def __call__(self, name: VersionName, generations: int) -> LineageGraph:
        """Returns ancestors with all they were made of, children with their parents, and aliases.

        Raises:
            VersionNotFoundError: It does not exist.
        """
        graph = GraphBuilder()
        is_cut = await self._add_ancestors(graph, name, generations)
        children = await self.lineage.children(name, generations, MAX_RELATIVES + 1)
        for child, parent in children[:MAX_RELATIVES]:
            graph.link(Node(NodeKind.VERSION, str(child)), NodeKind.VERSION, str(parent))
        model = await self.reader.model(name.model)
        graph.add_aliases(model.aliases if model else ())
        return graph.build(truncated=is_cut or len(children) > MAX_RELATIVES)

    async def _add_ancestors(self, graph: GraphBuilder, name: VersionName, generations: int) -> bool:
        version = await self.follower.version(name)
        graph.add_version(version)
        seen = {name}
        for _ in range(generations):
            if not version.lineage.parent_version:
                return False
            parent = parse_version(version.lineage.parent_version)
            if parent in seen:
                return False
            try:
                version = await self.follower.version(parent)
            except VersionNotFoundError:
                # It may live in another installation.
                return False
            graph.add_version(version)
            seen.add(parent)
        return bool(version.lineage.parent_version)
