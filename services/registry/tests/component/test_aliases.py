"""Aliases: compare-and-set, gates, history and rollback, on every database."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from mltrainer_registry.application.archive_version import ArchiveVersion
from mltrainer_registry.application.create_version import VersionOutcome
from mltrainer_registry.application.move_alias import MoveAlias, RollBackAlias
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.errors import (
    AliasMovedError,
    AliasNotFoundError,
    GateNotPassedError,
    InvalidFieldError,
    NoEarlierVersionError,
    RequestIdReusedError,
    VersionArchivedError,
    VersionNotFoundError,
)
from mltrainer_registry.domain.names import AliasName, VersionName

CHAMPION = AliasName("vol5", "champion")
BLUE = AliasName("vol5", "blue")
WHO = Motive("users/ada", "because")


def to(
    number: int, *, expected: int | None = None, name: AliasName = BLUE, request_id: str = ""
) -> MoveAlias:
    believed = name.version(expected) if expected else None
    return MoveAlias(name, VersionName("vol5", number), believed, WHO, request_id)


def back(*, expected: int | None = None, name: AliasName = BLUE, request_id: str = "") -> RollBackAlias:
    return RollBackAlias(name, name.version(expected) if expected else None, WHO, request_id)


async def make_versions(registry: Any, *r2s: float) -> None:
    for index, r2 in enumerate(r2s):
        await registry.make_version(f"trainings/t{index}", r2=r2)


async def test_a_passing_version_becomes_champion_in_the_transaction_that_creates_it(
    registry: Any, attempts: Any
) -> None:
    outcome, name = await registry.deliver(attempts.succeeded("trainings/t1", alias="champion"))

    assert outcome is VersionOutcome.PROMOTED
    assert registry.follower.alias(CHAMPION).version == name
    moves = await registry.use.reader.alias_moves(CHAMPION, 10, "")
    assert [(move.from_number, move.to_number, move.actor) for move in moves.items] == [(None, 1, "policy")]


async def test_a_worse_version_leaves_the_champion_and_its_evaluation_says_why(
    registry: Any, attempts: Any
) -> None:
    await registry.deliver(attempts.succeeded("trainings/t1", r2=0.5, alias="champion"))

    outcome, name = await registry.deliver(attempts.succeeded("trainings/t2", r2=0.4, alias="champion"))

    assert outcome is VersionOutcome.NOT_PROMOTED
    assert registry.follower.alias(CHAMPION).number == 1
    (held,) = (await registry.use.reader.gate_evaluations(name, 10, "")).items
    assert [result.condition for result in held.failures] == ["not_worse_than_champion"]
    assert "0.4 against 0.5 of models/vol5/versions/1" in held.failures[0].detail


async def test_an_operator_cannot_pass_by_the_gate_either(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.4)
    await registry.use.move_alias(to(1, name=CHAMPION))

    with pytest.raises(GateNotPassedError) as refused:
        await registry.use.move_alias(to(2, expected=1, name=CHAMPION))

    assert refused.value.failed_conditions == ("not_worse_than_champion",)
    evaluations = await registry.use.reader.gate_evaluations(VersionName("vol5", 2), 10, "")
    assert [held.passed for held in evaluations.items] == [False]
    assert registry.follower.alias(CHAMPION).number == 1


async def test_aliases_without_a_policy_of_their_own_ask_for_lineage_only(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.1)

    await registry.use.move_alias(to(1))
    moved = await registry.use.move_alias(to(2, expected=1))

    assert moved.number == 2
    (held,) = (await registry.use.reader.gate_evaluations(VersionName("vol5", 2), 10, "")).items
    assert [result.condition for result in held.results] == ["lineage_complete"]


async def test_a_caller_who_believes_something_else_moves_nothing(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.6)
    await registry.use.move_alias(to(1))

    for expected in (None, 2):
        with pytest.raises(AliasMovedError) as refused:
            await registry.use.move_alias(to(2, expected=expected))
        assert refused.value.present == "models/vol5/versions/1"

    assert registry.follower.alias(BLUE).number == 1


async def test_of_racing_movers_one_wins(open_registry: Any) -> None:
    instances = [await open_registry(), await open_registry()]
    await make_versions(instances[0], *(0.5 for _ in range(9)))
    await instances[0].use.move_alias(to(1))

    races = [instances[n % 2].use.move_alias(to(n, expected=1)) for n in range(2, 10)]
    results = await asyncio.gather(*races, return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["Alias"] + ["AliasMovedError"] * 7
    moves = await instances[0].use.reader.alias_moves(BLUE, 10, "")
    assert len(moves.items) == 2


async def test_moving_where_it_points_already_adds_nothing_to_the_history(registry: Any) -> None:
    await make_versions(registry, 0.5)
    first = await registry.use.move_alias(to(1))

    again = await registry.use.move_alias(to(1, expected=1))

    assert again == first
    assert len((await registry.use.reader.alias_moves(BLUE, 10, "")).items) == 1


async def test_the_same_request_id_gets_the_same_answer(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.6)
    first = await registry.use.move_alias(to(1, request_id="r1"))
    await registry.use.move_alias(to(2, expected=1, request_id="r2"))
    rolled = await registry.use.roll_back_alias(back(request_id="r3"))

    assert await registry.use.move_alias(to(1, request_id="r1")) == first
    assert await registry.use.roll_back_alias(back(request_id="r3")) == rolled
    assert len((await registry.use.reader.alias_moves(BLUE, 10, "")).items) == 3
    with pytest.raises(RequestIdReusedError):
        await registry.use.move_alias(to(2, request_id="r1"))


async def test_a_rollback_is_a_new_move(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.6)
    await registry.use.move_alias(to(1, name=CHAMPION))
    await registry.use.move_alias(to(2, expected=1, name=CHAMPION))

    rolled = await registry.use.roll_back_alias(back(expected=2, name=CHAMPION))

    assert rolled.number == 1
    moves = (await registry.use.reader.alias_moves(CHAMPION, 10, "")).items
    assert [(move.from_number, move.to_number) for move in moves] == [(2, 1), (1, 2), (None, 1)]
    assert (moves[0].actor, moves[0].reason) == ("users/ada", "because")


async def test_a_rollback_needs_somewhere_to_go(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.6)
    with pytest.raises(AliasNotFoundError):
        await registry.use.roll_back_alias(back())
    await registry.use.move_alias(to(1))
    with pytest.raises(NoEarlierVersionError):
        await registry.use.roll_back_alias(back())
    await registry.use.move_alias(to(2, expected=1))
    with pytest.raises(AliasMovedError):
        await registry.use.roll_back_alias(back(expected=1))
    await registry.use.archive_version(ArchiveVersion(VersionName("vol5", 1), ""))
    with pytest.raises(VersionArchivedError):
        await registry.use.roll_back_alias(back())


async def test_only_existing_active_versions_of_the_model_can_be_pointed_to(registry: Any) -> None:
    await make_versions(registry, 0.5)
    await registry.use.archive_version(ArchiveVersion(VersionName("vol5", 1), ""))

    with pytest.raises(VersionArchivedError):
        await registry.use.move_alias(to(1))
    with pytest.raises(VersionNotFoundError):
        await registry.use.move_alias(to(7))
    foreign = MoveAlias(AliasName("other", "blue"), VersionName("vol5", 1), None, WHO, "")
    with pytest.raises(InvalidFieldError):
        await registry.use.move_alias(foreign)


async def test_the_past_of_an_alias_can_be_asked_for(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.6)
    start = registry.clock.now()
    registry.clock.advance(10)
    await registry.use.move_alias(to(1))
    registry.clock.advance(10)
    await registry.use.move_alias(to(2, expected=1))

    async def at(seconds: float) -> int:
        alias = await registry.use.get_alias(BLUE, start + timedelta(seconds=seconds))
        return int(alias.number)

    with pytest.raises(AliasNotFoundError):
        await at(9.999)
    assert [await at(10), await at(19.999), await at(20), await at(1e6)] == [1, 1, 2, 2]
    assert (await registry.use.get_alias(BLUE, None)).number == 2


async def test_a_clock_that_steps_back_does_not_disorder_the_past(registry: Any) -> None:
    await make_versions(registry, 0.5, 0.6)
    moved = await registry.use.move_alias(to(1))
    registry.clock.advance(-60)

    later = await registry.use.move_alias(to(2, expected=1))

    assert later.update_time == moved.update_time
    assert (await registry.use.get_alias(BLUE, moved.update_time)).number == 2


async def test_a_lookup_of_an_alias_asks_the_database_nothing(registry: Any) -> None:
    await registry.make_version("trainings/t1", alias="champion")
    await registry.follower.version(VersionName("vol5", 1))
    await registry.database.reader.dispose()
    registry.database.reader.pool._creator = None

    assert registry.follower.alias(CHAMPION).number == 1
    assert (await registry.follower.version(VersionName("vol5", 1))).name.number == 1
    with pytest.raises(AliasNotFoundError):
        registry.follower.alias(BLUE)
