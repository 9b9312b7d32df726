"""Batches of several partitions share transactions, and fail together."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from mltrainer.feature.v1.events_pb2 import BarClosed
from mltrainer_feature.application.record_bars import ReceivedBars, RecordBarsHandler, RecordedBars
from mltrainer_feature.entrypoints.events import OnBarsClosed
from mltrainer_messaging.envelope import Event

NOW = datetime(2022, 1, 3, 21, tzinfo=UTC)


class SlowStore:
    """Stands in for the use case; counts transactions and fails on demand."""

    def __init__(self) -> None:
        self.transactions: list[tuple[str, ...]] = []
        self.may_end = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def __call__(self, received: ReceivedBars) -> RecordedBars:
        self.transactions.append(received.event_ids)
        await self.may_end.acquire()
        if self.error is not None:
            raise self.error
        return RecordedBars(len(received.event_ids), ())


def _events(*symbols: str) -> list[Event[BarClosed]]:
    events = []
    for symbol in symbols:
        bar = BarClosed(symbol=symbol, close=1.0)
        bar.event_time.FromDatetime(NOW)
        bar.knowledge_time.FromDatetime(NOW)
        events.append(
            Event(
                id=symbol,
                type=BarClosed.DESCRIPTOR.full_name,
                key=symbol,
                message=bar,
                source="/t",
                time=NOW,
                traceparent=None,
                topic="t",
                partition=0,
                offset=0,
            )
        )
    return events


def _let_all_end(store: SlowStore) -> None:
    for _ in range(10):
        store.may_end.release()


def _handler(store: SlowStore) -> OnBarsClosed:
    return OnBarsClosed(cast("RecordBarsHandler", store))


async def _start(handler: OnBarsClosed, *symbols: str) -> "asyncio.Task[Any]":
    task = asyncio.create_task(handler(_events(*symbols)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_batches_that_arrive_during_a_transaction_share_the_next() -> None:
    store = SlowStore()
    handler = _handler(store)

    first = await _start(handler, "A")
    others = [await _start(handler, symbol) for symbol in ("B", "C", "D")]
    _let_all_end(store)
    await asyncio.gather(first, *others)

    assert store.transactions == [("A",), ("B", "C", "D")]


async def test_every_member_of_a_failed_transaction_fails() -> None:
    store = SlowStore()
    handler = _handler(store)
    store.error = OSError("disk full")

    tasks = [await _start(handler, symbol) for symbol in ("A", "B", "C")]
    _let_all_end(store)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [OSError, OSError, OSError]


async def test_a_cancelled_transaction_fails_those_who_wait_for_it() -> None:
    store = SlowStore()
    handler = _handler(store)
    first = await _start(handler, "A")
    second, third = await _start(handler, "B"), await _start(handler, "C")
    store.may_end.release()
    await first
    await asyncio.sleep(0)
    second.cancel()

    results = await asyncio.gather(second, third, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[1], Exception)


async def test_a_later_batch_succeeds_after_a_failed_one() -> None:
    store = SlowStore()
    handler = _handler(store)
    _let_all_end(store)
    store.error = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        await handler(_events("A"))
    store.error = None

    await handler(_events("A"))

    assert store.transactions == [("A",), ("A",)]
