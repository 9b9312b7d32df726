"""Talks to Redis over one connection: requests that arrive together are sent together and answered in order.

A client of a general library spends more on one call than a whole read may cost: per command it encodes every
argument and parses the reply in Python. Here callers give commands as bytes, most of which never change.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis

from mltrainer_feature.domain.errors import OnlineStoreUnavailableError

_DEFAULT_PORT = 6379
_WATCH_S = 0.25
_NOT_ENOUGH = object()


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is and as whom it is used."""

    host: str
    port: int
    database: int
    username: str
    password: str
    is_encrypted: bool

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Reads `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.

        Raises:
            ValueError: The URL is another one.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
            raise ValueError("a Redis is named as redis://[user:password@]host[:port][/database]")
        database = parts.path.strip("/") or "0"
        return cls(
            parts.hostname,
            parts.port or _DEFAULT_PORT,
            int(database),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.scheme == "rediss",
        )

    def greeting(self) -> list[bytes]:
        """Returns the commands that begin a connection."""
        commands = []
        if self.password:
            names = [self.username.encode()] if self.username else []
            commands.append(command(b"AUTH", *names, self.password.encode()))
        if self.database:
            commands.append(command(b"SELECT", str(self.database).encode()))
        return commands


def command(*words: bytes) -> bytes:
    """Returns a command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join(map(argument, words))


def argument(word: bytes) -> bytes:
    """Returns one argument of a command as it is sent."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


class RedisReplyError(OnlineStoreUnavailableError):
    """Redis refuses a command; `reason` is the first word of its reply."""

    def __init__(self, text: str) -> None:
        self.reason = text.partition(" ")[0]
        super().__init__(f"Redis refuses: {text}")


class _Protocol(asyncio.Protocol):
    """Collects what is sent within one turn of the loop, and hands replies to those who wait, in order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
        self._transport: Any = None
        self._unsent: list[bytes] = []
        self._waiting: deque[tuple[int, asyncio.Future[list[Any]]]] = deque()
        self._replies: list[Any] = []
        self._received = 0
        self.is_open = False
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.is_open = True

    def send(self, payload: bytes, count: int) -> "asyncio.Future[list[Any]]":
        """Sends commands; the future holds their replies."""
        future = self._loop.create_future()
        self._waiting.append((count, future))
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(payload)
        return future

    def _flush(self) -> None:
        payload, self._unsent = b"".join(self._unsent), []
        if self.is_open:
            self._transport.write(payload)

    def data_received(self, data: bytes) -> None:
        self._received += 1
        reader, replies = self._reader, self._replies
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOT_ENOUGH:
                replies.append(reply)
                if self._waiting and len(replies) == self._waiting[0][0]:
                    _, future = self._waiting.popleft()
                    if not future.done():
                        future.set_result(replies)
                    replies = self._replies = []
        except hiredis.ProtocolError as error:
            self._fail(OnlineStoreUnavailableError(f"Redis answers what nobody understands: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(OnlineStoreUnavailableError(f"the connection to Redis was lost: {exc or 'closed'}"))
        self._closed.set()

    def progress(self) -> int | None:
        """Returns how often something was received; None while nobody waits."""
        return self._received if self._waiting else None

    def give_up(self, reason: str) -> None:
        """Ends the connection; whoever waits fails with the reason."""
        self._fail(OnlineStoreUnavailableError(reason))

    async def close(self) -> None:
        """Ends the connection and waits until it has ended."""
        self.give_up("the connection was closed")
        await self._closed.wait()

    def _fail(self, error: Exception) -> None:
        self.is_open = False
        self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)


class RedisConnection:
    """A connection that is opened when it is needed and again after it was lost.

    A Redis that stays silent for `timeout_s` while somebody waits counts as lost.
    """

    def __init__(self, address: RedisAddress, timeout_s: float = 1.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._protocol: _Protocol | None = None
        self._opening = asyncio.Lock()
        self._watch: asyncio.TimerHandle | None = None

    async def execute(self, payload: bytes, count: int) -> list[Any]:
        """Sends `count` commands and returns their replies; refusals are among them, as exceptions.

        Raises:
            OnlineStoreUnavailableError: Redis cannot be reached, or the connection was lost meanwhile.
        """
        protocol = self._protocol
        if protocol is None or not protocol.is_open:
            protocol = await self._open()
        return await protocol.send(payload, count)

    async def call(self, *words: bytes) -> Any:
        """Sends one command and returns its reply.

        Raises:
            RedisReplyError: Redis refuses it.
            OnlineStoreUnavailableError: As for `execute`.
        """
        [reply] = await self.execute(command(*words), 1)
        return accepted(reply)

    async def _open(self) -> _Protocol:
        async with self._opening:
            if self._protocol is not None and self._protocol.is_open:
                return self._protocol
            address = self._address
            context = ssl.create_default_context() if address.is_encrypted else None
            try:
                async with asyncio.timeout(self._timeout_s):
                    _, protocol = await asyncio.get_running_loop().create_connection(
                        _Protocol, address.host, address.port, ssl=context
                    )
                    await self._greet(protocol)
            except (OSError, TimeoutError) as error:
                where = f"{address.host}:{address.port}"
                raise OnlineStoreUnavailableError(f"Redis at {where} cannot be reached: {error!r}") from error
            self._protocol = protocol
            self._keep_watch(protocol, None)
            return protocol

    async def _greet(self, protocol: _Protocol) -> None:
        commands = self._address.greeting()
        if commands:
            try:
                all_accepted(await protocol.send(b"".join(commands), len(commands)))
            except BaseException:
                await protocol.close()
                raise

    def _keep_watch(self, protocol: _Protocol, before: int | None, silent_s: float = 0.0) -> None:
        now = protocol.progress()
        silent_s = silent_s + _WATCH_S if now is not None and now == before else 0.0
        if silent_s >= self._timeout_s:
            protocol.give_up(f"Redis was silent for {self._timeout_s} s")
        elif protocol.is_open:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(_WATCH_S, self._keep_watch, protocol, now, silent_s)

    async def close(self) -> None:
        """Closes the connection; whoever waits fails."""
        if self._watch is not None:
            self._watch.cancel()
        if self._protocol is not None:
            await self._protocol.close()


def accepted(reply: Any) -> Any:
    """Returns a reply unless it is a refusal.

    Raises:
        RedisReplyError: It is one.
    """
    if isinstance(reply, hiredis.ReplyError):
        raise RedisReplyError(str(reply))
    return reply


def all_accepted(replies: Iterable[Any]) -> None:
    """Looks for refusals.

    Raises:
        RedisReplyError: There is one.
    """
    for reply in replies:
        accepted(reply)
