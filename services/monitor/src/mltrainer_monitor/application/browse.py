"""Answers questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mltrainer_common.clock import Clock

from mltrainer_monitor.application.ports import UnitOfWorkFactory
from mltrainer_monitor.domain.drift import Comparison, DriftConclusion, DriftReport
from mltrainer_monitor.domain.errors import ModelNotWatchedError
from mltrainer_monitor.domain.objectives import Counts, Objective, budget_left, burn_rate
from mltrainer_monitor.domain.scores import ModelScore, score

_FIVE_MINUTES, _HOUR = timedelta(minutes=5), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ObjectiveStatus:
    """An objective and what is left of its budget."""

    objective: Objective
    counts: Counts
    budget_left: float
    burn_rate_5m: float
    burn_rate_1h: float


@dataclass(frozen=True, slots=True)
class Browse:
    """Reads reports, scores and objectives."""

    unit_of_work: UnitOfWorkFactory
    objectives: Sequence[Objective]
    clock: Clock

    async def drift_report(self, model: str) -> DriftReport:
        """Returns the newest report.

        Raises:
            ModelNotWatchedError: Nothing is known about the model.
        """
        async with self.unit_of_work.view() as view:
            watched = await view.models.get(model)
        if watched is None:
            raise ModelNotWatchedError(model)
        nothing = DriftReport(model, Comparison(DriftConclusion.NOT_ENOUGH_DATA), self.clock.now())
        return watched.report or nothing

    async def scores(self, model: str, below: int | None, limit: int) -> list[tuple[int, ModelScore]]:
        """Returns the scores of versions below a number, newest first.

        Raises:
            ModelNotWatchedError: Nothing is known about the model.
        """
        now = self.clock.now()
        async with self.unit_of_work.view() as view:
            if await view.models.get(model) is None:
                raise ModelNotWatchedError(model)
            sums = await view.models.score_sums(model, below, limit)
        return [(number, score(f"{model}/versions/{number}", one, now)) for number, one in sums]

    async def statuses(self, after: str, limit: int) -> list[ObjectiveStatus]:
        """Returns objectives after a name, by name."""
        wanted = sorted((one for one in self.objectives if one.name > after), key=lambda one: one.name)
        wanted = wanted[:limit]
        wholes = {timedelta(seconds=one.window_s) for one in wanted}
        async with self.unit_of_work.view() as view:
            sums = await view.objectives.sums(self.clock.now().timestamp(), {_FIVE_MINUTES, _HOUR, *wholes})
        statuses = []
        for one in wanted:
            counts = sums.get((one.service, one.indicator), {})
            whole = counts.get(timedelta(seconds=one.window_s), Counts())
            statuses.append(
                ObjectiveStatus(
                    one,
                    whole,
                    budget_left(whole, one.objective),
                    burn_rate(counts.get(_FIVE_MINUTES, Counts()), one.objective),
                    burn_rate(counts.get(_HOUR, Counts()), one.objective),
                )
            )
        return statuses
