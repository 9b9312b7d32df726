"""Pruning: old entries go, what every watcher needs to begin anew stays."""

from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from mltrainer_registry.application.archive_version import ArchiveVersion
from mltrainer_registry.application.move_alias import MoveAlias
from mltrainer_registry.application.prune_changes import PruneChangesHandler
from mltrainer_registry.application.watch_models import Bookmark
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.changes import LoggedChange
from mltrainer_registry.domain.errors import RevisionPrunedError
from mltrainer_registry.domain.names import AliasName

BLUE = AliasName("vol5", "blue")
RETENTION = timedelta(days=30)


async def point(registry: Any, number: int, expected: int | None) -> None:
    believed = BLUE.version(expected) if expected else None
    await registry.use.move_alias(MoveAlias(BLUE, BLUE.version(number), believed, Motive("a", "b"), ""))


async def live_a_while(registry: Any) -> None:
    """Creates versions 1 to 3, archives the first, and moves an alias: revisions 1 to 10."""
    names = [await registry.make_version(f"trainings/t{number}") for number in range(3)]
    await registry.use.archive_version(ArchiveVersion(names[0], ""))
    await point(registry, 2, None)
    await point(registry, 3, 2)
    await point(registry, 2, 3)


async def prune(registry: Any) -> int:
    return await PruneChangesHandler(registry.unit_of_work, registry.clock, RETENTION)()


async def present_state(registry: Any, from_revision: int) -> list[int]:
    """Returns the revisions that a watcher is told until it is complete."""
    seen: list[int] = []
    async with aclosing(registry.use.watch_models(from_revision)) as items:
        async for item in items:
            match item:
                case LoggedChange(revision=revision):
                    seen.append(revision)
                case Bookmark(revision=revision):
                    return [*seen, revision]
    raise AssertionError("a watch never ends by itself")


async def test_entries_are_kept_for_their_time(registry: Any) -> None:
    await live_a_while(registry)

    assert await prune(registry) == 0

    assert len(await registry.log.changes(0, 100)) == registry.follower.revision


async def test_only_what_was_overtaken_goes(registry: Any) -> None:
    await live_a_while(registry)
    before = await present_state(registry, 0)
    registry.clock.advance(RETENTION.total_seconds() + 1)

    forgotten = await prune(registry)

    assert forgotten == registry.follower.revision - (len(before) - 1)
    assert await present_state(registry, 0) == before
    assert await prune(registry) == 0


async def test_a_watcher_from_before_the_pruning_is_shown_the_present_state(registry: Any) -> None:
    await live_a_while(registry)
    before = await present_state(registry, 0)
    registry.clock.advance(RETENTION.total_seconds() + 1)
    await prune(registry)

    assert await present_state(registry, 5) == before
    assert await present_state(registry, registry.follower.revision) == [registry.follower.revision]
    with pytest.raises(RevisionPrunedError) as refused:
        await registry.log.changes(5, 10)
    assert refused.value.pruned_revision == registry.follower.revision


async def test_what_is_younger_stays_whole(registry: Any) -> None:
    await live_a_while(registry)
    old = registry.follower.revision
    registry.clock.advance(RETENTION.total_seconds() + 1)
    await registry.make_version("trainings/t9")
    await point(registry, 3, 2)
    await point(registry, 4, 3)

    await prune(registry)

    changes = await registry.log.changes(old, 100)
    assert [change.revision for change in changes] == list(range(old + 1, registry.follower.revision + 1))


async def test_a_replica_that_followed_nothing_for_longer_begins_anew(open_registry: Any) -> None:
    writer, sleeper = await open_registry(), await open_registry()
    await live_a_while(writer)
    writer.clock.advance(RETENTION.total_seconds() + 1)
    await prune(writer)

    await sleeper.follower.catch_up()

    assert sleeper.follower.revision == writer.follower.revision
    assert sleeper.follower.alias(BLUE) == writer.follower.alias(BLUE)
