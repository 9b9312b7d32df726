"""What the backend asks of a cluster; objects are plain mappings, as the API sends them."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from mltrainer_trainer.application.ports import BackendUnavailableError

Object = dict[str, Any]


class AlreadyExistsError(Exception):
    """There is an object of this name."""


class RefusedError(Exception):
    """The cluster will not have this object; the text is its own."""


class ExpiredError(Exception):
    """What has changed since this version is no longer known: list again."""


UnavailableError = BackendUnavailableError


@dataclass(frozen=True, slots=True)
class Collection:
    """Objects of one kind.

    Attributes:
        path: Where the API has them.
        selector: Labels that they carry.
    """

    path: str
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `rest` finds the next one and is empty at the end."""

    items: tuple[Object, ...]
    version: str
    rest: str = ""


class ClusterApi(Protocol):
    """The API of a cluster; every method raises `UnavailableError` where there is no answer."""

    async def create(self, path: str, body: Object) -> Object:
        """Creates an object.

        Raises:
            AlreadyExistsError: There is one of this name.
            RefusedError: It is malformed, forbidden or beyond a quota.
        """
        ...

    async def get(self, path: str) -> Object | None:
        """Returns an object."""
        ...

    async def patch(self, path: str, body: Object) -> Object | None:
        """Merges fields into an object; None where there is none."""
        ...

    async def delete(self, path: str, *, selector: str = "", grace_s: int | None = None) -> None:
        """Deletes an object and what it owns, or the objects that a selector finds."""
        ...

    async def read_log(self, pod: str, lines: int) -> bytes:
        """Returns the last lines of a pod's output; empty where there is none."""
        ...

    async def list_page(self, collection: Collection, rest: str) -> Page:
        """Returns a part of a list.

        Raises:
            ExpiredError: The rest of the list is gone: begin again.
        """
        ...

    def watch(self, collection: Collection, version: str) -> AsyncGenerator[tuple[str, Object], None]:
        """Yields what changes after a version, until the server ends the connection.

        Raises:
            ExpiredError: What came after this version is no longer known.
        """
        ...
