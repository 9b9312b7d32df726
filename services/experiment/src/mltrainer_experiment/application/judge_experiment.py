"""Says what an experiment knows, and ends it when the conclusion is final."""

from dataclasses import dataclass

from mltrainer_experiment.application.ports import (
    Clock,
    ExperimentEnded,
    ExperimentReader,
    UnitOfWorkFactory,
)
from mltrainer_experiment.application.split_table import SplitTable
from mltrainer_experiment.domain.analysis import Conclusion, Result, analyse
from mltrainer_experiment.domain.errors import ExperimentNotFoundError
from mltrainer_experiment.domain.experiment import Experiment, ExperimentState, experiment_name


async def find_experiment(reader: ExperimentReader, experiment_id: str) -> Experiment:
    """Returns an experiment, also one that another instance has just made.

    Raises:
        ExperimentNotFoundError: There is none.
    """
    experiment = await reader.experiment(experiment_id)
    if experiment is None:
        raise ExperimentNotFoundError(experiment_name(experiment_id))
    return experiment


@dataclass(frozen=True, slots=True)
class GetExperimentHandler:
    """Returns an experiment or raises ExperimentNotFoundError."""

    reader: ExperimentReader

    async def __call__(self, experiment_id: str) -> Experiment:
        """Returns the experiment."""
        return await find_experiment(self.reader, experiment_id)


@dataclass(frozen=True, slots=True)
class JudgeExperiment:
    """Computes the result of an experiment."""

    reader: ExperimentReader
    clock: Clock
    minimum_days: int

    async def __call__(self, experiment: Experiment) -> Result:
        """Returns what is known now."""
        observed = await self.reader.observations(experiment.experiment_id)
        return analyse(experiment, observed, self.minimum_days, self.clock.now())


@dataclass(frozen=True, slots=True)
class GetResultHandler:
    """Answers with the present result; a decided experiment keeps the one that decided it."""

    reader: ExperimentReader
    judge: JudgeExperiment

    async def __call__(self, experiment_id: str) -> Result:
        """Returns the result.

        Raises:
            ExperimentNotFoundError: There is no such experiment.
        """
        experiment = await find_experiment(self.reader, experiment_id)
        kept = None
        if experiment.state is ExperimentState.DECIDED:
            kept = await self.reader.decided_result(experiment_id)
        return kept or await self.judge(experiment)


@dataclass(frozen=True, slots=True)
class DecideExperimentsHandler:
    """Ends the active experiments whose conclusion is final."""

    unit_of_work: UnitOfWorkFactory
    table: SplitTable
    judge: JudgeExperiment
    clock: Clock

    async def __call__(self) -> list[Experiment]:
        """Returns the experiments that were decided."""
        decided = []
        for split in self.table.splits():
            if split.experiment.state is not ExperimentState.ACTIVE:
                continue
            result = await self.judge(split.experiment)
            if result.conclusion.is_final and (ended := await self._end(split.experiment, result)):
                decided.append(ended)
        return decided

    async def _end(self, known: Experiment, result: Result) -> Experiment | None:
        is_better = result.conclusion is Conclusion.CHALLENGER_BETTER
        winner = (known.challenger if is_better else known.control).variant
        async with self.unit_of_work() as uow:
            await uow.experiments.lock()
            experiment = await uow.experiments.get(known.experiment_id)
            if experiment is None or experiment.state is not ExperimentState.ACTIVE:
                return None  # somebody stopped it, or another instance decided it, in between
            ended = experiment.decide(winner, self.clock.now())
            await uow.experiments.save(ended)
            await uow.experiments.keep_result(result)
            _ = uow.outbox.add(ExperimentEnded(ended, result))
            await uow.commit()
        self.table.put([ended])
        return ended
