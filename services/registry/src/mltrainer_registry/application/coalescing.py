"""Lets requests that arrive together share one execution."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

C = TypeVar("C")
R = TypeVar("R")


_CROWD_MEMORY_S = 0.1


@dataclass(frozen=True, slots=True)
class Request(Generic[C]):
    """A command with the context of its caller, which carries the caller's trace."""

    command: C
    context: Context


Run = Callable[[Sequence[Request[C]]], Awaitable[Sequence[R | Exception]]]
"""Executes requests and returns the answer to each, in order; an answer may be a refusal."""


class Coalescer(Generic[C, R]):
    """Collects requests while others are executed; a lone request waits for nobody.

    Callers who were answered together mostly ask together again. Without a wait the first one back would be
    executed alone and halves of the crowd would take turns for ever, each costing what the whole does. So an
    execution waits for as many as were here a moment ago, at most `max_linger_s`; those who stay away are not
    waited for again.

    A caller that leaves, because its deadline has passed, takes its request along unless that has begun. When
    an execution fails as a whole, its requests are executed one by one, so that only the guilty one fails;
    errors of the kinds in `shared` say nothing about a request and are everybody's answer.
    """

    def __init__(
        self,
        run: Run[C, R],
        *,
        limit: int = 64,
        max_linger_s: float = 0.02,
        shared: tuple[type[Exception], ...] = (),
    ) -> None:
        self._run = run
        self._limit = limit
        self._max_linger_s = max_linger_s
        self._shared = shared
        self._waiting: deque[tuple[Request[C], asyncio.Future[R]]] = deque()
        self._driver: asyncio.Task[None] | None = None
        self._crowd = 1
        self._crowd_until_s = 0.0
        self._enough = asyncio.Event()

    async def __call__(self, command: C) -> R:
        """Returns the answer to a command, or raises the refusal."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((Request(command, copy_context()), answer))
        if len(self._waiting) >= self._crowd:
            self._enough.set()
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive())
        return await answer

    async def _drive(self) -> None:
        while self._waiting:
            await self._linger()
            members = self._next()
            try:
                if members:
                    await self._execute(members)
            finally:
                for _, answer in members:
                    if not answer.done():
                        answer.cancel()
            self._crowd = min(len(members) + len(self._waiting), self._limit)
            self._crowd_until_s = time.monotonic() + _CROWD_MEMORY_S

    async def _linger(self) -> None:
        if len(self._waiting) >= self._crowd or time.monotonic() > self._crowd_until_s:
            return
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._max_linger_s):
                await self._enough.wait()

    def _next(self) -> list[tuple[Request[C], "asyncio.Future[R]"]]:
        members: list[tuple[Request[C], asyncio.Future[R]]] = []
        while self._waiting and len(members) < self._limit:
            request, answer = self._waiting.popleft()
            if not answer.done():
                members.append((request, answer))
        return members

    async def _execute(self, members: Sequence[tuple[Request[C], "asyncio.Future[R]"]]) -> None:
        try:
            answers = await self._run([request for request, _ in members])
        except Exception as error:  # noqa: BLE001 - it is the answer of those who asked
            if len(members) == 1 or isinstance(error, self._shared):
                answers = [error] * len(members)
            else:
                for member in members:
                    await self._execute([member])
                return
        for (_, waiting), answer in zip(members, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)


def together(
    share: Coalescer[Callable[[], Awaitable[Any]], Any], handler: Callable[[C], Awaitable[R]]
) -> Callable[[C], Awaitable[R]]:
    """Returns the handler as one whose executions are shared with those of other handlers."""

    async def handle(command: C) -> R:
        answer: R = await share(partial(handler, command))
        return answer

    return handle
