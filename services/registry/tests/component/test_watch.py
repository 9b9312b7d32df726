"""Watching: the present state, then every change once and in order, within bounds."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from mltrainer_common.telemetry import use_traceparent
from mltrainer_registry.application.archive_version import ArchiveVersion
from mltrainer_registry.application.move_alias import MoveAlias
from mltrainer_registry.application.watch_models import Bookmark
from mltrainer_registry.domain.aliases import Alias, Motive
from mltrainer_registry.domain.changes import LoggedChange
from mltrainer_registry.domain.errors import TooManyWatchersError, WatcherTooSlowError
from mltrainer_registry.domain.gates import GateEvaluation
from mltrainer_registry.domain.names import AliasName, VersionName
from mltrainer_registry.domain.versions import ModelVersion, VersionState

TRACEPARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def shown(item: LoggedChange | Bookmark) -> str:
    match item:
        case Bookmark(revision=revision):
            return f"bookmark {revision}"
        case LoggedChange(revision=revision, resource=ModelVersion() as version):
            return f"{revision} v{version.name.number} {version.state}"
        case LoggedChange(revision=revision, resource=Alias() as alias):
            return f"{revision} {alias.name.alias} -> {alias.number}"
        case LoggedChange(revision=revision, resource=GateEvaluation() as held):
            return f"{revision} gate {held.alias.alias} v{held.version.number} {held.passed}"
    raise AssertionError(item)


async def until_bookmark(items: Any) -> list[str]:
    seen: list[str] = []
    async for item in items:
        seen.append(shown(item))
        if isinstance(item, Bookmark):
            return seen
    raise AssertionError("a watch never ends by itself")


async def point(registry: Any, number: int, expected: int | None = None) -> None:
    name = AliasName("vol5", "blue")
    believed = name.version(expected) if expected else None
    await registry.use.move_alias(MoveAlias(name, name.version(number), believed, Motive("a", "b"), ""))


async def test_a_new_watcher_gets_the_present_state_then_a_bookmark(registry: Any) -> None:
    for number in range(1, 4):
        await registry.make_version(f"trainings/t{number}", r2=number / 10, alias="champion")
    await registry.use.archive_version(ArchiveVersion(VersionName("vol5", 1), ""))

    async with aclosing(registry.use.watch_models(0)) as items:
        seen = await until_bookmark(items)

    assert seen == [
        "4 v2 ACTIVE",
        "7 v3 ACTIVE",
        "9 champion -> 3",
        "10 v1 ARCHIVED",
        "bookmark 10",
    ]


async def test_a_watcher_that_was_cut_off_anywhere_resumes_without_loss(registry: Any) -> None:
    for number in range(1, 4):
        await registry.make_version(f"trainings/t{number}", r2=number / 10, alias="champion")
    async with aclosing(registry.use.watch_models(0)) as items:
        whole = await until_bookmark(items)

    for cut in range(len(whole) - 1):
        last_seen = int(whole[cut].split()[0])
        async with aclosing(registry.use.watch_models(last_seen)) as items:
            rest = await until_bookmark(items)
        assert whole[cut + 1 : -1] == [item for item in rest if item in whole][:-1]


async def test_a_watcher_from_a_revision_gets_every_change_since(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    await registry.make_version("trainings/t2")
    start = registry.follower.revision
    await point(registry, 1)
    await point(registry, 2, expected=1)
    await point(registry, 1, expected=2)

    async with aclosing(registry.use.watch_models(start)) as items:
        seen = await until_bookmark(items)

    assert seen == [
        "3 gate blue v1 True",
        "4 blue -> 1",
        "5 gate blue v2 True",
        "6 blue -> 2",
        "7 gate blue v1 True",
        "8 blue -> 1",
        "bookmark 8",
    ]


async def test_a_revision_from_the_future_starts_over(registry: Any) -> None:
    await registry.make_version("trainings/t1")

    async with aclosing(registry.use.watch_models(99)) as items:
        seen = await until_bookmark(items)

    assert seen == ["1 v1 ACTIVE", "bookmark 1"]


async def test_changes_arrive_live_in_order_and_once(registry: Any) -> None:
    async with aclosing(registry.use.watch_models(0)) as items:
        assert await until_bookmark(items) == ["bookmark 0"]
        await registry.make_version("trainings/t1", alias="champion")
        live = await until_bookmark(items)

    assert live == ["1 v1 ACTIVE", "2 gate champion v1 True", "3 champion -> 1", "bookmark 3"]


async def test_silence_is_filled_with_bookmarks(registry: Any) -> None:
    async with aclosing(registry.use.watch_models(0)) as items:
        beats = [shown(await anext(items)) for _ in range(3)]

    assert beats == ["bookmark 0"] * 3


async def test_every_instance_sees_the_changes_of_the_others(open_registry: Any) -> None:
    writer, other = await open_registry(), await open_registry()

    async with aclosing(other.use.watch_models(0)) as items:
        await until_bookmark(items)
        await writer.make_version("trainings/t1", alias="champion")
        await other.follower.catch_up()
        live = await until_bookmark(items)

    assert live == ["1 v1 ACTIVE", "2 gate champion v1 True", "3 champion -> 1", "bookmark 3"]
    assert other.follower.alias(AliasName("vol5", "champion")).number == 1


async def test_a_watcher_that_falls_behind_the_buffer_is_cut_off_and_resumes(registry: Any) -> None:
    async with aclosing(registry.use.watch_models(0)) as items:
        await until_bookmark(items)
        for number in range(registry.settings.buffered_changes + 1):
            await registry.make_version(f"trainings/t{number}")
        with pytest.raises(WatcherTooSlowError) as refused:
            await anext(items)

    async with aclosing(registry.use.watch_models(refused.value.seen_revision)) as items:
        assert len(await until_bookmark(items)) == registry.settings.buffered_changes + 2


async def test_watchers_beyond_the_limit_are_refused_until_one_leaves(registry: Any) -> None:
    watches = [registry.use.watch_models(0) for _ in range(registry.settings.max_watchers)]
    for watch in watches:
        await anext(watch)
    with pytest.raises(TooManyWatchersError):
        await anext(registry.use.watch_models(0))

    await watches.pop().aclose()

    async with aclosing(registry.use.watch_models(0)) as items:
        assert await until_bookmark(items) == ["bookmark 0"]
    for watch in watches:
        await watch.aclose()


async def test_a_change_carries_the_trace_that_made_it(registry: Any) -> None:
    with use_traceparent(TRACEPARENT):
        name = await registry.make_version("trainings/t1", alias="champion")

    (created, *_, moved) = await registry.log.changes(0, 10)
    assert (created.resource.name, created.traceparent) == (name, TRACEPARENT)
    assert (moved.resource.number, moved.traceparent) == (1, TRACEPARENT)
    state = await registry.log.present_state(0, 10, 10)
    assert {change.traceparent for change in state} == {TRACEPARENT}


async def test_the_log_tells_each_change_as_it_was(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")
    await registry.use.archive_version(ArchiveVersion(name, ""))

    created, archived = await registry.log.changes(0, 10)

    assert (created.resource.state, archived.resource.state) == (VersionState.ACTIVE, VersionState.ARCHIVED)


async def test_a_waiter_wakes_at_a_change_and_not_before(registry: Any) -> None:
    waiting = asyncio.create_task(registry.follower.wait(0, 10.0))
    await asyncio.sleep(0)
    assert not waiting.done()

    await registry.make_version("trainings/t1")

    assert await waiting
    assert not await registry.follower.wait(registry.follower.revision, 0.001)
