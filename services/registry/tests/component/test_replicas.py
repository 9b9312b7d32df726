"""Replicas on one database: whoever names a revision reads it, or what came later, on any of them."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from mltrainer_common.database import DatabaseUnavailableError
from mltrainer_common.deadlines import deadline_scope
from mltrainer_registry.application.archive_version import ArchiveVersion
from mltrainer_registry.application.move_alias import MoveAlias
from mltrainer_registry.domain.aliases import Motive
from mltrainer_registry.domain.errors import AliasMovedError, InvalidFieldError, RevisionNotReachedError
from mltrainer_registry.domain.names import AliasName
from mltrainer_registry.domain.versions import VersionState

BLUE = AliasName("vol5", "blue")
VERSIONS, WRITERS, READERS, MOVES_EACH = 3, 4, 8, 6


@dataclass(frozen=True, slots=True)
class Read:
    """What a reader asked for and what it was told."""

    min_revision: int
    acknowledged: int
    answered: int


class History:
    """Records what callers were told, by whichever replica."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.reads: list[Read] = []
        self.moved: set[int] = set()

    def moved_at(self, revision: int) -> None:
        self.moved.add(revision)
        self.acknowledged = max(self.acknowledged, revision)

    def stale(self) -> list[Read]:
        """Lists reads that were answered with less than had been acknowledged before they began."""
        return [read for read in self.reads if read.answered < max(read.min_revision, read.acknowledged)]


async def point(registry: Any, number: int, expected: int | None) -> Any:
    believed = BLUE.version(expected) if expected else None
    return await registry.use.move_alias(
        MoveAlias(BLUE, BLUE.version(number), believed, Motive("a", "b"), "")
    )


async def write(registry: Any, history: History) -> None:
    for _ in range(MOVES_EACH):
        while True:
            await registry.use.reach_revision(history.acknowledged)
            present = registry.follower.alias(BLUE)
            try:
                moved = await point(registry, present.number % VERSIONS + 1, present.number)
            except (AliasMovedError, DatabaseUnavailableError):
                # SQLite is for one process: a second one may wait in vain for its turn, and nothing is done.
                continue
            history.moved_at(moved.revision)
            break


async def read(registry: Any, history: History, until: asyncio.Event) -> None:
    while not until.is_set():
        token = history.acknowledged
        await registry.use.reach_revision(token)
        history.reads.append(Read(token, token, registry.follower.alias(BLUE).revision))
        await asyncio.sleep(0)


async def test_no_replica_answers_with_less_than_was_acknowledged_anywhere(open_registry: Any) -> None:
    replicas = [await open_registry(), await open_registry()]
    for number in range(VERSIONS):
        await replicas[0].make_version(f"trainings/t{number}")
    history, done = History(), asyncio.Event()
    history.moved_at((await point(replicas[0], 1, None)).revision)

    async with asyncio.TaskGroup() as group:
        for reader in range(READERS):
            group.create_task(read(replicas[reader % 2], history, done))
        async with asyncio.TaskGroup() as writers:
            for writer in range(WRITERS):
                writers.create_task(write(replicas[writer % 2], history))
        done.set()

    page = await replicas[1].use.reader.alias_moves(BLUE, 1_000, "")
    moves = page.items[::-1]
    assert history.stale() == []
    assert len(history.reads) > READERS
    assert [move.revision for move in moves] == sorted(history.moved)
    assert all(later.from_number == earlier.to_number for earlier, later in pairwise(moves))


async def test_what_one_replica_has_written_the_other_reads_by_its_revision(open_registry: Any) -> None:
    writer, other = await open_registry(), await open_registry()
    name = await writer.make_version("trainings/t1")
    await other.follower.version(name)
    archived = await writer.use.archive_version(ArchiveVersion(name, ""))

    await other.use.reach_revision(archived.state_revision)

    assert (await other.follower.version(name)).state is VersionState.ARCHIVED


async def test_a_revision_that_nobody_has_reached_is_refused_at_the_deadline(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    known = registry.follower.revision

    with deadline_scope(0.1), pytest.raises(RevisionNotReachedError) as refused:
        await registry.use.reach_revision(known + 1)

    assert (refused.value.min_revision, refused.value.revision) == (known + 1, known)
    await registry.use.reach_revision(known)


async def test_a_reader_that_waits_is_answered_when_the_revision_comes(open_registry: Any) -> None:
    writer, other = await open_registry(), await open_registry()
    waiting = asyncio.create_task(other.use.reach_revision(1))
    await asyncio.sleep(0)
    assert not waiting.done()

    await writer.make_version("trainings/t1")

    await asyncio.wait_for(waiting, 5)
    assert other.follower.revision == 1


async def test_a_negative_revision_is_refused(registry: Any) -> None:
    with pytest.raises(InvalidFieldError, match="below 0"):
        await registry.use.reach_revision(-1)
