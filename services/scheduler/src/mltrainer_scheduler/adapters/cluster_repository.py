"""Keeps nodes, allocations and replicated tables in the database."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from mltrainer_common.database import upsert
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.changes import ChangeCounter
from mltrainer_scheduler.adapters.rows import (
    allocation_row,
    node_row,
    to_allocation,
    to_node,
    to_training,
)
from mltrainer_scheduler.adapters.tables import (
    allocation,
    cluster,
    node,
    trainer_release,
    training,
    view_version,
)
from mltrainer_scheduler.application.ports import HeldAllocation
from mltrainer_scheduler.domain.catalogue import CatalogueEntry, Knowledge, TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import Capacity, NodeReport
from mltrainer_scheduler.domain.specification import TargetKind
from mltrainer_scheduler.domain.training import Allocation

_LIVING = allocation.c.end_time.is_(None)
_CHANGING = (
    "lease_expire_time",
    "end_time",
    "end_reason",
    "stage",
    "progress",
    "progress_revision",
    "checkpoint_time",
    "checkpoint_heard_time",
)
# Built once: to build one costs more than to execute it.
_HELD_BY = (
    select(allocation)
    .where(_LIVING, allocation.c.training == bindparam("training"))
    .order_by(allocation.c.name)
)
_ALLOCATE = insert(allocation)
_REPLACE = (
    update(allocation)
    .where(allocation.c.name == bindparam("key"))
    .values({column: bindparam(f"new_{column}") for column in _CHANGING})
)
# Below the number of parameters that a statement may have.
_CHUNK = 500


class SqlClusterRepository:
    """Keeps nodes and allocations inside one transaction."""

    def __init__(self, connection: AsyncConnection, changes: ChangeCounter) -> None:
        self._connection = connection
        self._changes = changes

    async def nodes(self, limit: int = 0, after: str = "") -> list[NodeReport]:
        """Returns nodes by name; all without a limit."""
        query = select(node).where(node.c.name > after).order_by(node.c.name).limit(limit or None)
        return [to_node(row) for row in await self._connection.execute(query)]

    async def report(self, reported: NodeReport) -> bool:
        """Stores what a node says and tells whether that was news, not only a sign of life."""
        known = (
            await self._connection.execute(select(node).where(node.c.name == reported.name))
        ).one_or_none()
        if known is not None and known.revision >= reported.revision:
            return False
        same = known is not None and _says(to_node(known)) == _says(reported)
        change = known.change if known is not None and same else await self._changes.number()
        values = node_row(reported) | {"change": change}
        statement = upsert(self._connection, node).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={column: statement.excluded[column] for column in values},
            where=node.c.revision < statement.excluded.revision,
        )
        if (await self._connection.execute(statement)).rowcount != 1 or same:
            return False
        self._changes.written.nodes[reported.name] = reported
        return True

    async def held(self, limit: int = 0, after: str = "") -> list[HeldAllocation]:
        """Returns the allocations that live, oldest first; all without a limit."""
        query = (
            select(allocation)
            .where(_LIVING, allocation.c.name > after)
            .order_by(allocation.c.name)
            .limit(limit or None)
        )
        living = [to_allocation(row) for row in await self._connection.execute(query)]
        asked = select(training).where(training.c.name.in_({item.training for item in living}))
        rows = await self._connection.execute(asked)
        trainings = {row.name: to_training(row) for row in rows}
        return [HeldAllocation(item, trainings[item.training]) for item in living]

    async def held_by(self, name: str) -> list[Allocation]:
        """Returns the allocations of a training that live, oldest first."""
        rows = await self._connection.execute(_HELD_BY, {"training": name})
        return [to_allocation(row) for row in rows]

    async def held_by_all(self, names: Collection[str]) -> dict[str, list[Allocation]]:
        """Returns the living allocations of trainings, oldest first."""
        held: dict[str, list[Allocation]] = {name: [] for name in names}
        ordered = sorted(names)
        for start in range(0, len(ordered), _CHUNK):
            chunk = ordered[start : start + _CHUNK]
            query = select(allocation).where(_LIVING, allocation.c.training.in_(chunk))
            for row in await self._connection.execute(query.order_by(allocation.c.name)):
                held[row.training].append(to_allocation(row))
        return held

    async def living(self, names: Collection[str]) -> list[Allocation]:
        """Returns which of these allocations live."""
        query = select(allocation).where(_LIVING, allocation.c.name.in_(sorted(names)))
        return [to_allocation(row) for row in await self._connection.execute(query)]

    async def used(self) -> dict[str, tuple[Capacity, int]]:
        """Returns what living allocations hold and how many there are, by node."""
        workers = allocation.c.workers
        query = (
            select(
                allocation.c.node,
                func.sum(workers * training.c.cpu_millis),
                func.sum(workers * training.c.memory_bytes),
                func.sum(workers * training.c.gpu_millis),
                func.count(),
            )
            .join(training, training.c.name == allocation.c.training)
            .where(_LIVING)
            .group_by(allocation.c.node)
        )
        rows = await self._connection.execute(query)
        return {
            name: (Capacity(int(cpus), int(memory), int(gpus)), count)
            for name, cpus, memory, gpus, count in rows
        }

    async def allocate(self, allocations: Sequence[Allocation]) -> None:
        """Stores new allocations, under the lock of the cluster."""
        await self._changes.number()
        if allocations:
            await self._connection.execute(_ALLOCATE, [allocation_row(item) for item in allocations])
        for item in allocations:
            self._changes.written.allocate(item)

    async def update(self, allocations: Sequence[Allocation]) -> None:
        """Replaces allocations."""
        rows = [allocation_row(item) for item in allocations]
        if not rows:
            return
        values = [
            {"key": row["name"]} | {f"new_{column}": row[column] for column in _CHANGING} for row in rows
        ]
        await self._connection.execute(_REPLACE, values)

    async def due(self, now: datetime, limit: int) -> list[Allocation]:
        """Returns living allocations whose lease has lapsed."""
        query = select(allocation).where(_LIVING, allocation.c.lease_expire_time <= now)
        rows = await self._connection.execute(query.order_by(allocation.c.name).limit(limit))
        return [to_allocation(row) for row in rows]

    async def prolong(self, trainings: Collection[str], until: datetime) -> None:
        """Has the living leases of trainings hold until then."""
        if trainings:
            chosen = update(allocation).where(_LIVING, allocation.c.training.in_(sorted(trainings)))
            await self._connection.execute(chosen.values(lease_expire_time=until))

    async def prolong_all(self, until: datetime) -> int:
        """Has every living lease hold until then, neither longer nor shorter; returns how many changed."""
        other = update(allocation).where(_LIVING, allocation.c.lease_expire_time != until)
        return (await self._connection.execute(other.values(lease_expire_time=until))).rowcount


def _says(report: NodeReport) -> tuple[object, ...]:
    return (report.total, report.gpu_type, report.schedulable, report.spot, report.zone)


class SqlKnowledgeRepository:
    """Keeps the tables replicated from trainers and from feature."""

    def __init__(self, connection: AsyncConnection, changes: ChangeCounter) -> None:
        self._connection = connection
        self._changes = changes

    async def load(self) -> Knowledge:
        """Returns the newest release and all views."""
        newest = select(trainer_release).order_by(trainer_release.c.received_time.desc()).limit(1)
        row = (await self._connection.execute(newest)).one_or_none()
        views = await self._connection.execute(
            select(view_version).order_by(view_version.c.feature_view, view_version.c.version)
        )
        release = None
        if row is not None:
            entries = tuple(_to_entry(*entry) for entry in row.entries)
            release = TrainerRelease(
                row.trainer, row.code_digest, row.environment_digest, entries, row.revision
            )
        revision = (await self._connection.execute(select(cluster.c.knowledge))).scalar_one()
        return Knowledge(release, tuple(ViewVersion(*view) for view in views), int(revision))

    async def store_release(self, release: TrainerRelease, received_time: datetime) -> bool:
        """Stores a release and tells whether it was news."""
        values = {
            "trainer": release.trainer,
            "code_digest": release.code_digest,
            "environment_digest": release.environment_digest,
            "entries": [_from_entry(entry) for entry in release.entries],
            "revision": release.revision,
            "received_time": received_time,
        }
        statement = upsert(self._connection, trainer_release).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=["trainer"],
            set_={column: statement.excluded[column] for column in values},
            where=trainer_release.c.revision < statement.excluded.revision,
        )
        return await self._is_news(statement)

    async def store_view(self, view: ViewVersion) -> bool:
        """Stores a view version and tells whether it was news."""
        values = {
            "feature_view": view.feature_view,
            "version": view.version,
            "definition_digest": view.definition_digest,
            "data_revision": view.data_revision,
            "revision": view.revision,
        }
        statement = upsert(self._connection, view_version).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=["feature_view", "version"],
            set_={column: statement.excluded[column] for column in values},
            where=view_version.c.revision < statement.excluded.revision,
        )
        return await self._is_news(statement)

    async def _is_news(self, statement: Any) -> bool:
        if (await self._connection.execute(statement)).rowcount != 1:
            return False
        await self._changes.number()
        counted = update(cluster).values(knowledge=cluster.c.knowledge + 1).returning(cluster.c.knowledge)
        self._changes.written.knowledge = int((await self._connection.execute(counted)).scalar_one())
        return True


def _from_entry(entry: CatalogueEntry) -> list[object]:
    return [entry.id, entry.family, sorted(entry.target_kinds), entry.digest, entry.unavailable_reason]


def _to_entry(
    model: str, family: str, kinds: list[str], digest: str, unavailable_reason: str
) -> CatalogueEntry:
    return CatalogueEntry(
        model, family, frozenset(TargetKind(kind) for kind in kinds), digest, unavailable_reason
    )
