"""Serves this release's views, those of a Feast registry that others keep in a file, and what was applied."""

import asyncio
from dataclasses import replace
from pathlib import Path

import structlog

from mltrainer_feature.application.definitions import view_names, with_definitions
from mltrainer_feature.domain.definitions import Definitions
from mltrainer_feature.domain.errors import UnreadableRegistryError
from mltrainer_feature.domain.online import OnlineSchema
from mltrainer_feature.wire.feast_registry import merge, read_foreign_schema

_log = structlog.get_logger()


class ServedSchemas:
    """Implements `SchemaSource` and `DefinedSchemas`: a changed file counts from the next `refresh` on.

    A file that cannot be read changes nothing. What it no longer holds is remembered while the process lives.
    """

    def __init__(self, own: OnlineSchema, registry: Path | None) -> None:
        self._own = own
        self._registry = registry
        self._seen: tuple[int, int, int] | None = None
        self._definitions = Definitions()
        self.stored = merge([own], 0)
        self.current = with_definitions(self.stored, self._definitions)

    def define(self, definitions: Definitions) -> None:
        """Takes over newer definitions; older ones change nothing."""
        if definitions.revision > self._definitions.revision:
            self._definitions = definitions
            self._publish()
            _log.info("definitions_read", revision=definitions.revision)

    async def refresh(self) -> None:
        """Reads the file again if it has changed.

        Raises:
            UnreadableRegistryError: The file is not there or no registry that can be served.
        """
        if self._registry is None:
            return
        content = await asyncio.to_thread(self._changed_content, self._registry)
        if content is not None:
            foreign = read_foreign_schema(content)
            self.stored = _with_removed(merge([self._own, foreign], 0), self.stored)
            self._publish()
            _log.info("registry_read", features=len(foreign.features), revision=self.current.revision)

    def _publish(self) -> None:
        made = with_definitions(self.stored, self._definitions)
        self.current = replace(made, revision=self.current.revision + 1)

    def _changed_content(self, registry: Path) -> bytes | None:
        try:
            state = registry.stat()
            mark = (state.st_mtime_ns, state.st_size, state.st_ino)
            if mark == self._seen:
                return None
            content = registry.read_bytes()
        except OSError as error:
            raise UnreadableRegistryError(f"{registry} cannot be read: {error.strerror}") from error
        self._seen = mark
        return content


def _with_removed(schema: OnlineSchema, before: OnlineSchema) -> OnlineSchema:
    views = (view_names(before) | before.removed_views) - view_names(schema)
    lost = {
        name: tuple(sorted({feature.view.name for feature in members} & views))
        for name, members in before.services.items()
    }
    services = {
        name: reason
        for name, reason in {**before.removed_services, **lost}.items()
        if name not in schema.services
    }
    return replace(schema, removed_views=views, removed_services=services)
