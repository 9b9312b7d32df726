"""Reads references from the content store."""

import asyncio
from collections import OrderedDict

from mltrainer_common.content_store import (
    ContentNotFoundError,
    ContentStore,
    DigestMismatchError,
    InvalidDigestError,
)
from mltrainer_models import ArtifactError, ModelReference, read_reference

from mltrainer_monitor.application.ports import ReferenceUnavailableError

_KEPT = 64


class ContentStoreReferences:
    """Reads references by digest and keeps the last ones in memory: content never changes."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._known: OrderedDict[str, ModelReference] = OrderedDict()

    async def read(self, digest: str) -> ModelReference:
        """Returns a reference.

        Raises:
            ReferenceUnavailableError: It is missing, altered or no reference.
        """
        if digest not in self._known:
            self._known[digest] = await asyncio.to_thread(self._load, digest)
        self._known.move_to_end(digest)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return self._known[digest]

    def _load(self, digest: str) -> ModelReference:
        try:
            return read_reference(self._store.read_bytes(digest))
        except (
            ContentNotFoundError,
            DigestMismatchError,
            InvalidDigestError,
            ArtifactError,
            OSError,
        ) as error:
            raise ReferenceUnavailableError(str(error)) from error
