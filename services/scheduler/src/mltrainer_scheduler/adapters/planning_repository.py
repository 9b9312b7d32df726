"""Reads what has changed since a revision, and keeps queues, past use, durations and the leader."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from math import nan
from typing import Any

from mltrainer_common.bulk import Rows, write_rows
from mltrainer_common.database import upsert
from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.quotas import Queue
from sqlalchemy import bindparam, case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters import spot_repository
from mltrainer_scheduler.adapters.changes import ChangeCounter
from mltrainer_scheduler.adapters.rows import to_fact, to_node
from mltrainer_scheduler.adapters.tables import (
    allocation,
    cluster,
    duration,
    leader,
    node,
    queue,
    queue_use,
    training,
)
from mltrainer_scheduler.application.ports import Lock
from mltrainer_scheduler.domain.facts import (
    Delta,
    Duration,
    HeldShare,
    TrainingFact,
    forgotten_count,
    learned_count,
)
from mltrainer_scheduler.domain.saved_work import last_checkpoint_s
from mltrainer_scheduler.domain.spot_history import Pool, SpotRun
from mltrainer_scheduler.domain.training import TrainingState

_LEADER = "scheduler"
# Below the number of parameters that a statement may have.
_CHUNK = 500
_FACT_COLUMNS = (
    training.c.name,
    training.c.state,
    training.c.study,
    training.c.queue,
    training.c.priority,
    training.c.cpu_millis,
    training.c.memory_bytes,
    training.c.gpu_millis,
    training.c.gpu_type,
    training.c.gang_workers,
    training.c.allows_spot,
    training.c.create_time,
    training.c.ready_time,
    training.c.wait_begin_time,
    training.c.begin_time,
    training.c.deadline_time,
    training.c.attained_s,
    training.c.checkpoint_interval_s,
    training.c.preemption_count,
    training.c.computation_key,
    training.c.knowledge,
    training.c.reason,
)
_HOLDER = select(leader.c.holder).where(leader.c.name == _LEADER).scalar_subquery().label("holder")
_SILENT_COUNT = (
    select(func.count())
    .select_from(node)
    .where(node.c.seen_time < bindparam("heard_since"))
    .scalar_subquery()
    .label("silent_count")
)
_CHECKPOINTS = (
    select(allocation.c.training, allocation.c.checkpoint_time)
    .where(allocation.c.end_time.is_(None), allocation.c.checkpoint_heard_time >= bindparam("heard_since"))
    .order_by(allocation.c.checkpoint_time)
)
_PAST = select(queue_use).where(queue_use.c.queue.in_(bindparam("names", expanding=True)))
_USE = ("cpu_millis_s", "memory_bytes_s", "gpu_millis_s", "time_s")
_SET_USE_CHANGE = update(cluster).values(use_change=bindparam("change"))
_COUNT_DURATION = (
    update(cluster).values(duration_count=cluster.c.duration_count + 1).returning(cluster.c.duration_count)
)
_ADD_DURATION = insert(duration)
_ACTIVE = training.c.state.in_([TrainingState.QUEUED, TrainingState.PLACED])


class SqlPlanningRepository:
    """Serves planning inside one transaction."""

    def __init__(self, connection: AsyncConnection, changes: ChangeCounter) -> None:
        self._connection = connection
        self._changes = changes

    async def lock(self) -> int:
        """Waits until no other transaction changes anything, and returns the number of this one.

        Raises:
            DatabaseConflictError: On PostgreSQL, another one was committed meanwhile.
        """
        return await self._changes.number()

    async def revision(self) -> int:
        """Returns the number of the last change."""
        return await self._changes.last()

    async def changes(self, since: int, duration_count: int) -> list[Delta]:
        """Returns what has changed since a revision, in order; everything that is not over since -1.

        What this process has committed itself is not read again, unless another one came in between.
        `duration_count` is how many durations the reader knows.
        """
        own = await self._changes.own_changes(since)
        return own if own is not None else [await self._read(since, duration_count)]

    async def _read(self, since: int, duration_count: int) -> Delta:
        heads = (await self._connection.execute(select(cluster))).one()
        nodes = await self._connection.execute(select(node).where(node.c.change > since))
        return Delta(
            self._changes.visible(heads.revision),
            await self._facts(since),
            [to_node(row) for row in nodes],
            await self.queues() if heads.queues_change > since else None,
            await self._past() if heads.use_change > since else None,
            await self._durations(max(duration_count, forgotten_count(learned_count(heads.duration_count)))),
            heads.duration_count,
            heads.knowledge,
        )

    async def checkpoints_s(self, heard_since: datetime) -> dict[str, float]:
        """Returns until when the work of present attempts is safe, of those heard of since, by training."""
        rows = await self._connection.execute(_CHECKPOINTS, {"heard_since": heard_since})
        return {row.training: row.checkpoint_time.timestamp() for row in rows}

    async def silent(self, heard_since: datetime) -> frozenset[str]:
        """Names the nodes that have not reported since a moment."""
        query = select(node.c.name).where(node.c.seen_time < heard_since)
        return frozenset((await self._connection.execute(query)).scalars())

    async def lock_for_leader(self, holder: str, heard_since: datetime) -> Lock | None:
        """Locks like `lock`, and looks for silent nodes; None unless a process still leads."""
        times = {"heard_since": heard_since}
        row = await self._changes.number_and(_HOLDER, _SILENT_COUNT, parameters=times)
        if row.holder != holder:
            return None
        silent = await self.silent(heard_since) if row.silent_count else frozenset()
        return Lock(int(row.revision), silent)

    async def queues(self) -> tuple[Queue, ...]:
        """Returns the queues that were set, by name."""
        rows = await self._connection.execute(select(queue).order_by(queue.c.name))
        return tuple(
            Queue(
                row.name,
                row.parent,
                row.weight,
                (row.guaranteed_cpu_millis, row.guaranteed_memory_bytes, row.guaranteed_gpu_millis),
                (row.ceiling_cpu_millis, row.ceiling_memory_bytes, row.ceiling_gpu_millis),
            )
            for row in rows
        )

    async def queues_revision(self) -> int:
        """Returns the number of the change that set the queues."""
        return int((await self._connection.execute(select(cluster.c.queues_change))).scalar_one())

    async def set_queues(self, queues: Sequence[Queue]) -> None:
        """Replaces the tree of queues."""
        change = await self._changes.number()
        await self._connection.execute(delete(queue))
        if queues:
            await self._connection.execute(insert(queue), [_queue_row(item) for item in queues])
        await self._connection.execute(update(cluster).values(queues_change=change))
        self._changes.written.queues = tuple(sorted(queues, key=lambda item: item.name))

    async def past(self, queues: Collection[str]) -> dict[str, PastUse]:
        """Returns what queues held in ended allocations."""
        return await self._past(queues)

    async def set_past(self, past: Mapping[str, PastUse]) -> None:
        """Replaces what queues held."""
        change = await self._changes.number()
        rows = [
            {"queue": name} | dict(zip(_USE, (*use.amount_s, use.time_s), strict=True))
            for name, use in past.items()
        ]
        await write_rows(self._connection, Rows(queue_use, rows, ("queue",), _USE))
        await self._connection.execute(_SET_USE_CHANGE, {"change": change})
        self._changes.written.past |= past

    async def add_duration(self, taken: Duration) -> None:
        """Remembers how long a training took."""
        await self._changes.number()
        number = (await self._connection.execute(_COUNT_DURATION)).scalar_one()
        values = {
            "number": number,
            "kind": taken.group,
            "gpus": taken.gpus,
            "wall_s": taken.wall_s,
            "submit_s": taken.submit_s,
        }
        await self._connection.execute(_ADD_DURATION, values)
        self._changes.written.durations.append(taken)
        self._changes.written.duration_count = int(number)

    async def last_spot_runs(self) -> list[SpotRun]:
        """Returns the last run of each spot pool."""
        return await spot_repository.last_spot_runs(self._connection)

    async def spot_runs(self, pools: Collection[Pool]) -> list[SpotRun]:
        """Returns what was seen of spot pools, oldest first."""
        return await spot_repository.spot_runs(self._connection, pools)

    async def keep_spot_runs(self, runs: Sequence[SpotRun], since: datetime) -> None:
        """Adds runs or makes them longer; forgets those that ended before, and of too many the oldest."""
        await spot_repository.keep_spot_runs(self._connection, runs, since)

    async def lead(self, holder: str, now: datetime, length_s: float) -> bool:
        """Makes a process the leader for a time, or keeps it so, unless another is."""
        values = {"name": _LEADER, "holder": holder, "expire_time": now + timedelta(seconds=length_s)}
        is_free = (leader.c.holder == holder) | (leader.c.expire_time <= now)
        is_new_term = case((leader.c.holder == holder, 0), else_=1)
        statement = upsert(self._connection, leader).values(values | {"term": 1})
        statement = statement.on_conflict_do_update(
            index_elements=["name"], set_=values | {"term": leader.c.term + is_new_term}, where=is_free
        )
        return (await self._connection.execute(statement)).rowcount == 1

    async def _facts(self, since: int) -> list[TrainingFact]:
        query = select(*_FACT_COLUMNS)
        query = query.where(training.c.change > since) if since >= 0 else query.where(_ACTIVE)
        rows = (await self._connection.execute(query)).all()
        placed = [row.name for row in rows if row.state == TrainingState.PLACED]
        shares = await self._shares(placed)
        return [to_fact(row, *shares.get(row.name, ((), nan))) for row in rows]

    async def _shares(self, names: Sequence[str]) -> dict[str, tuple[list[HeldShare], float]]:
        held: dict[str, list[Any]] = {}
        columns = (
            allocation.c.training,
            allocation.c.node,
            allocation.c.workers,
            allocation.c.device,
            allocation.c.checkpoint_time,
        )
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            query = select(*columns).where(allocation.c.end_time.is_(None), allocation.c.training.in_(chunk))
            for row in await self._connection.execute(query.order_by(allocation.c.name)):
                held.setdefault(row.training, []).append(row)
        return {
            name: (
                [HeldShare(row.node, row.workers, row.device) for row in rows],
                last_checkpoint_s(row.checkpoint_time for row in rows),
            )
            for name, rows in held.items()
        }

    async def _past(self, names: Collection[str] | None = None) -> dict[str, PastUse]:
        query, chosen = (select(queue_use), {}) if names is None else (_PAST, {"names": sorted(names)})
        return {
            row.queue: PastUse((row.cpu_millis_s, row.memory_bytes_s, row.gpu_millis_s), row.time_s)
            for row in await self._connection.execute(query, chosen)
        }

    async def _durations(self, known: int) -> list[Duration]:
        query = select(duration).where(duration.c.number > known).order_by(duration.c.number)
        return [
            Duration(row.kind, row.gpus, row.wall_s, nan if row.submit_s is None else row.submit_s)
            for row in await self._connection.execute(query)
        ]


def _queue_row(item: Queue) -> dict[str, Any]:
    row: dict[str, Any] = {"name": item.name, "parent": item.parent, "weight": item.weight}
    for bound, amounts in (("guaranteed", item.guaranteed), ("ceiling", item.ceiling)):
        for resource, amount in zip(("cpu_millis", "memory_bytes", "gpu_millis"), amounts, strict=True):
            row[f"{bound}_{resource}"] = amount
    return row
