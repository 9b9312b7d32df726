"""Talks to the API server of a cluster."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from kubernetes_asyncio.client import ApiClient, ApiException, Configuration
from kubernetes_asyncio.config import (
    ConfigException,
    load_incluster_config,
    load_kube_config,
    refresh_token,
)

from mltrainer_trainer.adapters.kubernetes.api import (
    AlreadyExistsError,
    Collection,
    ExpiredError,
    Object,
    Page,
    RefusedError,
    UnavailableError,
)

_PAGE = 500
_REFUSALS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.NOT_FOUND,
}
_JSON = "application/json"
_Query = Sequence[tuple[str, str]]
_LONGEST_LINE_BYTES = 8 << 20
_LOG_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RestClusterApi:
    """Implements `ClusterApi` over HTTPS.

    Attributes:
        timeout_s: For a call.
        watch_s: How long a watch may last; the server ends it, and it goes on where it was.
    """

    client: Any
    timeout_s: float = 10.0
    watch_s: int = 240

    async def create(self, path: str, body: Object) -> Object:
        """Creates an object."""
        status, answer = await self._call("POST", path, body=body)
        if status == HTTPStatus.CONFLICT:
            raise AlreadyExistsError(path)
        if status in _REFUSALS:
            raise RefusedError(_message(answer))
        return _checked(status, answer)

    async def get(self, path: str) -> Object | None:
        """Returns an object."""
        return _checked_or_none(*await self._call("GET", path))

    async def patch(self, path: str, body: Object) -> Object | None:
        """Merges fields into an object; None where there is none."""
        answer = await self._call("PATCH", path, body=body, content="application/merge-patch+json")
        return _checked_or_none(*answer)

    async def delete(self, path: str, *, selector: str = "", grace_s: int | None = None) -> None:
        """Deletes an object and what it owns, or the objects that a selector finds."""
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        query = [("labelSelector", selector)] if selector else []
        _checked_or_none(*await self._call("DELETE", path, query, body))

    async def read_log(self, pod: str, lines: int) -> bytes:
        """Returns the last lines of a pod's output; empty where there is none."""
        query = [("tailLines", str(lines)), ("limitBytes", str(_LOG_LIMIT_BYTES))]
        status, content = await self._exchange("GET", f"{pod}/log", query)
        return content if status == HTTPStatus.OK else b""

    async def list_page(self, collection: Collection, rest: str) -> Page:
        """Returns a part of a list."""
        query = [("limit", str(_PAGE)), *([("continue", rest)] if rest else []), *_selected(collection)]
        status, answer = await self._call("GET", collection.path, query)
        if status == HTTPStatus.GONE:
            raise ExpiredError(_message(answer))
        content = _checked(status, answer)
        metadata = content["metadata"]
        return Page(tuple(content["items"]), metadata["resourceVersion"], metadata.get("continue", ""))

    async def watch(self, collection: Collection, version: str) -> AsyncGenerator[tuple[str, Object], None]:
        """Yields what changes after a version, until the server ends the connection."""
        query = [
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(self.watch_s)),
            *_selected(collection),
        ]
        # The server says when it ends; a connection that falls silent after that is cut.
        timeout = aiohttp.ClientTimeout(sock_connect=self.timeout_s, sock_read=self.watch_s + self.timeout_s)
        try:
            response = await self._request("GET", collection.path, query, timeout)
            async with _cut_at_the_end(response):
                await _refuse(response)
                async for line in _lines(response):
                    yield _event(line)
        except _LOST as error:
            raise UnavailableError(f"the watch of {collection.path} was cut: {error}") from error

    async def _call(
        self, method: str, path: str, query: _Query = (), body: object = None, content: str = _JSON
    ) -> tuple[int, Object]:
        status, answer = await self._exchange(method, path, query, body, content)
        try:
            return status, json.loads(answer or b"{}")
        except ValueError:
            return status, {"message": answer[:200].decode(errors="replace")}

    async def _exchange(
        self, method: str, path: str, query: _Query = (), body: object = None, content: str = _JSON
    ) -> tuple[int, bytes]:
        try:
            response = await self._request(method, path, query, self.timeout_s, body=body, content=content)
            async with response:
                return response.status, await response.read()
        except _LOST as error:
            raise UnavailableError(f"the API server cannot be asked: {error}") from error

    async def _request(
        self,
        method: str,
        path: str,
        query: _Query,
        timeout: Any,
        *,
        body: object = None,
        content: str = _JSON,
    ) -> Any:
        return await self.client.call_api(
            quote(path),
            method,
            query_params=list(query),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=timeout,
        )


_LOST = (aiohttp.ClientError, TimeoutError, OSError, ApiException, ConfigException)


def _selected(collection: Collection) -> list[tuple[str, str]]:
    return [("labelSelector", collection.selector)] if collection.selector else []


def _checked(status: int, answer: Object) -> Object:
    if status >= HTTPStatus.BAD_REQUEST:
        raise UnavailableError(f"the API server answers {status}: {_message(answer)}")
    return answer


def _checked_or_none(status: int, answer: Object) -> Object | None:
    return None if status == HTTPStatus.NOT_FOUND else _checked(status, answer)


def _message(answer: Object) -> str:
    return str(answer.get("message", ""))


async def _refuse(response: Any) -> None:
    if response.status == HTTPStatus.GONE:
        raise ExpiredError(str(response.url))
    if response.status >= HTTPStatus.BAD_REQUEST:
        raise UnavailableError(f"the API server answers {response.status}")


@asynccontextmanager
async def _cut_at_the_end(response: Any) -> AsyncIterator[None]:
    """Leaves no connection that waits for the server to agree to its end, which may come after our loop's."""
    transport = response.connection.transport if response.connection is not None else None
    try:
        async with response:
            yield
    finally:
        if transport is not None:
            transport.abort()


async def _lines(response: Any) -> AsyncIterator[bytes]:
    pending = b""
    async for chunk in response.content.iter_any():
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(pending) > _LONGEST_LINE_BYTES:
            raise UnavailableError("the API server sends an object without end")


def _event(line: bytes) -> tuple[str, Object]:
    event = json.loads(line)
    if event["type"] != "ERROR":
        return event["type"], event["object"]
    if event["object"].get("code") == HTTPStatus.GONE:
        raise ExpiredError(_message(event["object"]))
    raise UnavailableError(f"the API server ends a watch: {_message(event['object'])}")


@asynccontextmanager
async def open_api(kubeconfig: Path | None, context: str | None = None) -> AsyncIterator[RestClusterApi]:
    """Connects with a kubeconfig, or with the service account of this pod where there is none.

    Raises:
        UnavailableError: There are no credentials.
    """
    configuration = Configuration()
    async with AsyncExitStack() as stack:
        try:
            if kubeconfig is None:
                load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # the library's own
            else:
                loader = await load_kube_config(str(kubeconfig), context, configuration, persist_config=False)
                refreshing = asyncio.create_task(refresh_token(loader, configuration))
                stack.callback(refreshing.cancel)
        except (ConfigException, OSError) as error:
            raise UnavailableError(f"there are no credentials for a cluster: {error}") from error
        yield RestClusterApi(await stack.enter_async_context(ApiClient(configuration)))
