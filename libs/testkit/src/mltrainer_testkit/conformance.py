"""Checks that databases, and the units of work that services build on them, keep their promises.

Each function raises AssertionError; run it on SQLite and on PostgreSQL (fixture `database_url`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol

from mltrainer_common.database import retry_conflicts


class CountingTransaction(Protocol):
    """Reads and writes one number; an adapter over the repository under test."""

    async def read(self) -> int:
        """Returns the number."""
        ...

    async def write(self, value: int) -> None:
        """Stores the number."""
        ...

    async def commit(self) -> None:
        """Makes it permanent."""
        ...


class ClaimingUnitOfWork(Protocol):
    """The parts of any unit of work that the suite needs."""

    inbox: Any
    outbox: Any

    async def commit(self) -> None:
        """Makes everything permanent."""
        ...


OpenCounting = Callable[[], AbstractAsyncContextManager[CountingTransaction]]
OpenUnitOfWork = Callable[[], AbstractAsyncContextManager[ClaimingUnitOfWork]]


async def check_no_update_is_lost(open_transaction: OpenCounting, writers: int = 16, rounds: int = 5) -> None:
    """Lets many writers read, then increment: every increment must count."""

    async def increment() -> None:
        async with open_transaction() as transaction:
            value = await transaction.read()
            await asyncio.sleep(0)
            await transaction.write(value + 1)
            await transaction.commit()

    async def work() -> None:
        for _ in range(rounds):
            await retry_conflicts(increment, attempts=1_000, first_backoff_s=0)

    await asyncio.gather(*(work() for _ in range(writers)))
    async with open_transaction() as transaction:
        assert await transaction.read() == writers * rounds


async def check_leaving_without_commit_rolls_back(open_transaction: OpenCounting) -> None:
    """Writes without commit, then with an error: neither must remain."""
    async with open_transaction() as transaction:
        before = await transaction.read()
        await transaction.write(before + 1)
    with suppress(ZeroDivisionError):
        async with open_transaction() as transaction:
            await transaction.write(before + 2)
            _ = 1 / 0
    async with open_transaction() as transaction:
        assert await transaction.read() == before


async def check_a_cancelled_writer_frees_the_database(open_transaction: OpenCounting) -> None:
    """Cancels a writer inside its transaction: the next one must get in, and see none of it."""
    inside = asyncio.Event()

    async def write_and_wait() -> None:
        async with open_transaction() as transaction:
            await transaction.write(await transaction.read() + 1)
            inside.set()
            await asyncio.Event().wait()

    async with open_transaction() as transaction:
        before = await transaction.read()
    task = asyncio.create_task(write_and_wait())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(10), open_transaction() as transaction:
        assert await transaction.read() == before


async def check_an_event_is_claimed_once(open_unit_of_work: OpenUnitOfWork) -> None:
    """Claims the same event again, after a rollback, concurrently, and for another consumer."""
    async with open_unit_of_work() as unit:
        assert await unit.inbox.claim("event-1", "consumer")
    async with open_unit_of_work() as unit:
        assert await unit.inbox.claim("event-1", "consumer"), "a claim that was rolled back must not count"
        assert not await unit.inbox.claim("event-1", "consumer")
        await unit.commit()
    async with open_unit_of_work() as unit:
        assert not await unit.inbox.claim("event-1", "consumer")
        assert await unit.inbox.claim("event-1", "another consumer")

    async def claim() -> bool:
        async with open_unit_of_work() as unit:
            is_new: bool = await unit.inbox.claim("event-2", "consumer")
            await unit.commit()
            return is_new

    claims = await asyncio.gather(*(retry_conflicts(claim, attempts=100) for _ in range(8)))
    assert sorted(claims) == [False] * 7 + [True]


async def check_events_leave_in_order(
    open_unit_of_work: OpenUnitOfWork,
    event: Callable[[int], Any],
    published: Callable[[], Awaitable[list[int]]],
    count: int = 50,
) -> None:
    """Adds numbered events of one key, also in transactions that roll back; `published` relays and reads."""
    for start in range(0, count, 10):
        async with open_unit_of_work() as unit:
            for number in range(start, start + 10):
                unit.outbox.add(event(number))
            await unit.commit()
        async with open_unit_of_work() as unit:
            unit.outbox.add(event(-1))
    assert await published() == list(range(count))
