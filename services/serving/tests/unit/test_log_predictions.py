from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from mltrainer_serving.application.log_predictions import BufferedPredictionLog
from mltrainer_serving.application.ports import Prediction


@dataclass
class FakeSink:
    fails: bool = False
    committed: list[Any] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["FakeTransaction"]:
        yield FakeTransaction(self)


@dataclass
class FakeTransaction:
    sink: FakeSink
    added: list[Any] = field(default_factory=list)

    def add(self, prediction: Prediction) -> None:
        self.added.append(prediction)

    async def commit(self) -> None:
        if self.sink.fails:
            raise OSError("disk full")
        self.sink.committed.extend(self.added)


def _prediction(number: int) -> Prediction:
    return cast("Prediction", number)


async def test_everything_buffered_is_written_in_order_and_once() -> None:
    sink = FakeSink()
    log = BufferedPredictionLog(sink)
    for number in range(1_200):
        log.add(_prediction(number))

    written = await log.flush()
    again = await log.flush()

    assert (written, again) == (1_200, 0)
    assert sink.committed == list(range(1_200))


async def test_a_failed_write_keeps_the_buffer() -> None:
    sink = FakeSink(fails=True)
    log = BufferedPredictionLog(sink)
    log.add(_prediction(1))
    with pytest.raises(OSError, match="disk full"):
        await log.flush()
    sink.fails = False

    await log.flush()

    assert sink.committed == [1]


def test_a_full_buffer_drops_and_counts() -> None:
    log = BufferedPredictionLog(FakeSink(), capacity=2)

    for number in range(5):
        log.add(_prediction(number))

    assert log.dropped_count == 3
