"""Coalescing: who arrives together is executed together, and nobody pays for another's fault."""

import asyncio
from collections.abc import Sequence

import pytest
from mltrainer_registry.application.coalescing import Coalescer, Request


class OutageError(Exception):
    """Says nothing about a request."""


class Doubler:
    """Doubles numbers, some of them grudgingly, and remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, requests: Sequence[Request[int]]) -> list[int | Exception]:
        numbers = [request.command for request in requests]
        self.batches.append(numbers)
        await self.gate.wait()
        if any(number > 90 for number in numbers):
            raise ValueError("above 90")
        if any(number < 0 for number in numbers):
            raise OutageError
        return [2 * number if number else KeyError("zero") for number in numbers]


async def held_back(doubler: Doubler, double: Coalescer[int, int], *numbers: int) -> list[object]:
    """Has the first number executed alone while the others gather."""
    doubler.gate.clear()
    tasks = [asyncio.create_task(double(number)) for number in (1, *numbers)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    doubler.gate.set()
    _, *answers = await asyncio.gather(*tasks, return_exceptions=True)
    return list(answers)


async def test_requests_that_wait_are_executed_together_and_answered_in_order() -> None:
    doubler = Doubler()

    answers = await held_back(doubler, Coalescer(doubler), 2, 3, 4)

    assert answers == [4, 6, 8]
    assert doubler.batches[-1][-1] == 4
    assert len(doubler.batches) <= 2


async def test_an_execution_takes_no_more_than_its_limit() -> None:
    doubler = Doubler()

    await held_back(doubler, Coalescer(doubler, limit=3), *range(2, 12))

    assert max(map(len, doubler.batches)) == 3
    assert sorted(number for batch in doubler.batches for number in batch) == list(range(1, 12))


async def test_a_refusal_is_the_answer_of_its_request_alone() -> None:
    doubler = Doubler()

    first, refused, last = await held_back(doubler, Coalescer(doubler), 2, 0, 4)

    assert (first, last) == (4, 8)
    assert isinstance(refused, KeyError)


async def test_an_execution_that_fails_is_repeated_for_each_request_alone() -> None:
    doubler = Doubler()

    first, failed, last = await held_back(doubler, Coalescer(doubler), 2, 99, 4)

    assert (first, last) == (4, 8)
    assert isinstance(failed, ValueError)


async def test_an_outage_is_everybodys_answer_and_is_not_tried_again() -> None:
    doubler = Doubler()

    answers = await held_back(doubler, Coalescer(doubler, shared=(OutageError,)), 2, -1, 4)

    assert any(isinstance(answer, OutageError) for answer in answers)
    assert all(len(batch) > 1 or batch == [1] for batch in doubler.batches)


async def test_a_caller_that_leaves_takes_its_request_along() -> None:
    doubler = Doubler()
    double = Coalescer(doubler)
    doubler.gate.clear()
    first = asyncio.create_task(double(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving, staying = asyncio.create_task(double(2)), asyncio.create_task(double(3))
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.sleep(0)
    doubler.gate.set()

    assert await asyncio.gather(first, staying) == [2, 6]
    assert doubler.batches == [[1], [3]]


async def test_a_lone_request_waits_for_nobody() -> None:
    doubler = Doubler()
    double: Coalescer[int, int] = Coalescer(doubler, max_linger_s=3_600)

    async with asyncio.timeout(5):
        answers = [await double(1), await double(2)]

    assert answers == [2, 4]
    with pytest.raises(KeyError):
        await double(0)
