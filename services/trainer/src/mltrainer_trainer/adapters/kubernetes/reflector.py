"""Keeps a copy of the objects of one kind, by watching them."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Protocol

import structlog

from mltrainer_trainer.adapters.kubernetes.api import (
    ClusterApi,
    Collection,
    ExpiredError,
    Object,
    UnavailableError,
)
from mltrainer_trainer.adapters.kubernetes.profile import ORDER_ANNOTATION

_log = structlog.get_logger()
_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 10.0


class Seen(Protocol):
    """Takes an object as it is, or as it last was."""

    def __call__(self, found: Object, *, is_gone: bool) -> None:
        """Takes it."""
        ...


class Reflector:
    """Lists once, then follows changes from where it was; lists again where the server has forgotten them.

    `seen` gets every object at every change, the last time with `is_gone`; then `changed` is called.
    """

    def __init__(
        self,
        api: ClusterApi,
        collection: Collection,
        changed: Callable[[], None],
        seen: Seen | None = None,
    ) -> None:
        self._api = api
        self._collection = collection
        self._changed = changed
        self._seen = seen or _ignore
        self._objects: dict[str, Object] = {}
        self._version = ""
        self.is_complete = False
        self.list_count = 0

    def get(self, name: str) -> Object | None:
        """Returns an object as it was last seen."""
        return self._objects.get(name)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    async def run(self) -> None:
        """Runs until cancelled."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                if not self._version:
                    await self._list()
                    backoff_s = _FIRST_BACKOFF_S
                await self._follow()
                backoff_s = _FIRST_BACKOFF_S
            except ExpiredError:
                self._version = ""
            except UnavailableError as error:
                _log.warning("cluster_not_watched", path=self._collection.path, error=str(error))
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def _list(self) -> None:
        found, rest = dict[str, Object](), ""
        while True:
            page = await self._api.list_page(self._collection, rest)
            found.update({it["metadata"]["name"]: _trimmed(it) for it in page.items})
            if not page.rest:
                break
            rest = page.rest
        gone = [self._objects[name] for name in self._objects.keys() - found.keys()]
        self._objects, self._version = found, page.version
        for each in gone:
            self._seen(each, is_gone=True)
        for each in found.values():
            self._seen(each, is_gone=False)
        self.is_complete = True
        self.list_count += 1
        self._changed()

    async def _follow(self) -> None:
        async with aclosing(self._api.watch(self._collection, self._version)) as changes:
            async for kind, changed in changes:
                self._version = changed["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    self._take(_trimmed(changed), is_gone=kind == "DELETED")

    def _take(self, found: Object, *, is_gone: bool) -> None:
        name = found["metadata"]["name"]
        if is_gone:
            self._objects.pop(name, None)
        else:
            self._objects[name] = found
        self._seen(found, is_gone=is_gone)
        self._changed()


def _ignore(found: Object, *, is_gone: bool) -> None:
    """Keeps nothing."""


def _trimmed(found: Object) -> Object:
    """Drops what nobody reads: it may be most of an object."""
    metadata = found["metadata"]
    metadata.pop("managedFields", None)
    metadata.get("annotations", {}).pop(ORDER_ANNOTATION, None)
    found.get("spec", {}).pop("template", None)
    found.get("status", {}).pop("images", None)
    return found
