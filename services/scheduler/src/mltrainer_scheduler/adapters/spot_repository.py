"""Keeps what was seen of spot pools."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from mltrainer_common.bulk import Rows, write_rows
from sqlalchemy import and_, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mltrainer_scheduler.adapters.rows import storable
from mltrainer_scheduler.adapters.tables import spot_run
from mltrainer_scheduler.domain.spot_history import MOST_RUNS, Pool, SpotRun

_COLUMNS = spot_run.c
_KEY = ("zone", "gpu_type", "begin_time")
_NEWEST = (
    select(_COLUMNS.zone, _COLUMNS.gpu_type, func.max(_COLUMNS.begin_time).label("begin_time"))
    .group_by(_COLUMNS.zone, _COLUMNS.gpu_type)
    .subquery()
)
_LAST = select(spot_run).join(_NEWEST, and_(*(_COLUMNS[name] == _NEWEST.c[name] for name in _KEY)))


async def last_spot_runs(connection: AsyncConnection) -> list[SpotRun]:
    """Returns the last run of each pool."""
    return [_to_run(row) for row in await connection.execute(_LAST)]


async def spot_runs(connection: AsyncConnection, pools: Collection[Pool]) -> list[SpotRun]:
    """Returns what was seen of pools, oldest first."""
    query = select(spot_run).where(_COLUMNS.zone.in_(sorted({pool.zone for pool in pools})))
    runs = [_to_run(row) for row in await connection.execute(query.order_by(_COLUMNS.begin_time))]
    return [run for run in runs if run.pool in pools]


async def keep_spot_runs(connection: AsyncConnection, runs: Sequence[SpotRun], since: datetime) -> None:
    """Adds runs or makes them longer; forgets those that ended before, and of too many the oldest."""
    await write_rows(connection, Rows(spot_run, [_row(run) for run in runs], _KEY, ("end_time", "available")))
    begun = [run for run in runs if run.begin_time == run.end_time]
    if begun:
        await connection.execute(delete(spot_run).where(_COLUMNS.end_time < since))
    for run in begun:
        row = _row(run)
        mine = (_COLUMNS.zone == row["zone"], _COLUMNS.gpu_type == row["gpu_type"])
        newest_first = select(_COLUMNS.begin_time).where(*mine).order_by(_COLUMNS.begin_time.desc())
        first_too_many = newest_first.offset(MOST_RUNS).limit(1).scalar_subquery()
        await connection.execute(delete(spot_run).where(*mine, _COLUMNS.begin_time <= first_too_many))


def _row(run: SpotRun) -> dict[str, Any]:
    return {
        "zone": storable(run.pool.zone),
        "gpu_type": storable(run.pool.gpu_type),
        "begin_time": run.begin_time,
        "end_time": run.end_time,
        "available": run.available,
    }


def _to_run(row: Any) -> SpotRun:
    return SpotRun(Pool(row.zone, row.gpu_type), row.begin_time, row.end_time, row.available)
