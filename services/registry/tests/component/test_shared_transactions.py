"""Use cases that commit together: each keeps or loses its own work, whatever its neighbours do."""

import asyncio
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest
from mltrainer_common.telemetry import use_traceparent
from mltrainer_registry.adapters.shared_transactions import SharedTransactions
from mltrainer_registry.application.coalescing import Coalescer, Request
from mltrainer_registry.application.move_alias import MoveAlias, MoveAliasHandler
from mltrainer_registry.domain.aliases import Alias, Motive
from mltrainer_registry.domain.errors import AliasMovedError
from mltrainer_registry.domain.names import AliasName

BLUE, GREEN = AliasName("vol5", "blue"), AliasName("vol5", "green")
TRACE = "00-0123456789abcdef0123456789abcde{}-0123456789abcdef-01"


def move(name: AliasName, number: int, expected: int | None = None) -> MoveAlias:
    believed = name.version(expected) if expected else None
    return MoveAlias(name, name.version(number), believed, Motive("a", "b"), "")


@pytest.fixture
async def filled(registry: Any) -> Any:
    for number in range(3):
        await registry.make_version(f"trainings/t{number}")
    return registry


def requests(registry: Any, *commands: MoveAlias) -> list[Request[Any]]:
    handler = MoveAliasHandler(registry.unit_of_work, registry.clock)
    asked = []
    for number, command in enumerate(commands):
        with use_traceparent(TRACE.format(number)):
            asked.append(Request(partial(handler, command), copy_context()))
    return asked


async def test_a_refusal_undoes_its_own_part_only(filled: Any) -> None:
    share = SharedTransactions(filled.unit_of_work)
    start = filled.follower.revision

    first, lost, last = await share(
        requests(filled, move(BLUE, 1), move(BLUE, 2, expected=3), move(GREEN, 2))
    )

    assert (first.number, last.number) == (1, 2)
    assert isinstance(lost, AliasMovedError)
    assert lost.present == "models/vol5/versions/1"
    changes = await filled.log.changes(start, 100)
    assert [change.revision for change in changes] == list(range(start + 1, start + 5))
    assert filled.follower.revision == start + 4
    assert [filled.follower.alias(name).number for name in (BLUE, GREEN)] == [1, 2]


async def test_each_part_sees_what_the_parts_before_it_did(filled: Any) -> None:
    share = SharedTransactions(filled.unit_of_work)

    answers = await share(requests(filled, move(BLUE, 1), move(BLUE, 2, 1), move(BLUE, 3, 2)))

    assert [answer.number for answer in answers] == [1, 2, 3]
    page = await filled.use.reader.alias_moves(BLUE, 10, "")
    assert [item.to_number for item in page.items] == [3, 2, 1]


async def test_each_change_carries_the_trace_of_its_own_request(filled: Any) -> None:
    start = filled.follower.revision

    await SharedTransactions(filled.unit_of_work)(requests(filled, move(BLUE, 1), move(GREEN, 1)))

    changes = await filled.log.changes(start, 100)
    moved = [change for change in changes if isinstance(change.resource, Alias)]
    assert [change.traceparent[3:35] for change in moved] == [TRACE.format(n)[3:35] for n in range(2)]


async def test_a_fault_in_one_part_fails_that_request_alone(filled: Any) -> None:
    async def faulty() -> None:
        async with filled.unit_of_work() as uow:
            await uow.changes.next_revision()
            raise ValueError("a fault of our own")

    handler = MoveAliasHandler(filled.unit_of_work, filled.clock)
    share: Coalescer[Any, Any] = Coalescer(SharedTransactions(filled.unit_of_work))
    start = filled.follower.revision

    answers = await asyncio.gather(
        share(partial(handler, move(BLUE, 1))),
        share(partial(handler, move(BLUE, 2, 1))),
        share(faulty),
        share(partial(handler, move(GREEN, 3))),
        return_exceptions=True,
    )

    assert isinstance(answers[2], ValueError)
    assert [answers[index].number for index in (0, 1, 3)] == [1, 2, 3]
    changes = await filled.log.changes(start, 100)
    assert [change.revision for change in changes] == list(range(start + 1, start + 7))
