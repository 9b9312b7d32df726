"""Looks which spot pools are to be had, so that forecasts learn from this cluster."""

from dataclasses import dataclass

from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory
from mltrainer_scheduler.domain.spot_history import RETENTION, observed, pools_of


@dataclass(frozen=True, slots=True)
class WatchSpotHandler:
    """Keeps one look at each pool; a cluster without spot machines costs no transaction."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    planner: Planner

    async def __call__(self) -> int:
        """Returns in how many pools something began or ended."""
        seen = pools_of(self.planner.state.nodes.values(), self.planner.silent)
        if not seen:
            return 0
        now = self.clock.now()
        async with self.unit_of_work() as uow:
            last = {run.pool: run for run in await uow.planning.last_spot_runs()}
            runs = observed(last, seen, now)
            await uow.planning.keep_spot_runs(runs, now - RETENTION)
            await uow.commit()
        return sum(run.begin_time == run.end_time for run in runs)
