"""Serves this release's views, and those of a Feast registry that somebody else keeps in a file."""

import asyncio
from pathlib import Path

import structlog

from mltrainer_feature.domain.errors import UnreadableRegistryError
from mltrainer_feature.domain.online import OnlineSchema
from mltrainer_feature.wire.feast_registry import merge, read_foreign_schema

_log = structlog.get_logger()


class ServedSchemas:
    """Implements `SchemaSource`: a changed file counts from the next `refresh` on.

    A file that cannot be read changes nothing.
    """

    def __init__(self, own: OnlineSchema, registry: Path | None) -> None:
        self._own = own
        self._registry = registry
        self._seen: tuple[int, int, int] | None = None
        self.current = merge([own], 0)

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
            self.current = merge([self._own, foreign], self.current.revision + 1)
            _log.info("registry_read", features=len(foreign.features), revision=self.current.revision)

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
