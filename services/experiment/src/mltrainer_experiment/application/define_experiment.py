"""Defines, starts and stops experiments."""

from collections.abc import Callable
from dataclasses import dataclass

from mltrainer_experiment.application.judge_experiment import JudgeExperiment, find_experiment
from mltrainer_experiment.application.ports import (
    Clock,
    ExperimentEnded,
    UnitOfWork,
    UnitOfWorkFactory,
)
from mltrainer_experiment.application.split_table import SplitTable
from mltrainer_experiment.domain.errors import (
    ExperimentExistsError,
    ExperimentNotFoundError,
    ModelHasActiveExperimentError,
    RequestIdReusedError,
)
from mltrainer_experiment.domain.experiment import Definition, Experiment, experiment_name
from mltrainer_experiment.domain.validation import check_definition


@dataclass(frozen=True, slots=True)
class CreateExperiment:
    """Defines an experiment; a repeated request id is answered with what it created."""

    experiment_id: str
    definition: Definition
    request_id: str


@dataclass(frozen=True, slots=True)
class CreateExperimentHandler:
    """Creates a draft."""

    unit_of_work: UnitOfWorkFactory
    table: SplitTable
    new_salt: Callable[[], str]

    async def __call__(self, command: CreateExperiment) -> Experiment:
        """Returns the experiment, also when the request was answered before.

        Raises:
            InvalidDefinitionError: The definition contradicts itself.
            ExperimentExistsError: The id is taken.
            RequestIdReusedError: The request id has created another experiment.
        """
        check_definition(command.experiment_id, command.definition)
        async with self.unit_of_work() as uow:
            await uow.experiments.lock()
            if (answered := await _answered(uow, command)) is not None:
                return answered
            if await uow.experiments.get(command.experiment_id) is not None:
                raise ExperimentExistsError(experiment_name(command.experiment_id))
            experiment = Experiment(
                command.experiment_id, command.definition, self.new_salt(), command.request_id
            )
            await uow.experiments.add(experiment)
            await uow.commit()
        self.table.put([experiment])
        return experiment


@dataclass(frozen=True, slots=True)
class StartExperimentHandler:
    """Starts to assign units of a model that no other experiment splits."""

    unit_of_work: UnitOfWorkFactory
    table: SplitTable
    clock: Clock

    async def __call__(self, experiment_id: str) -> Experiment:
        """Returns the active experiment.

        Raises:
            ExperimentNotDraftError: It was started or stopped before.
            ModelHasActiveExperimentError: Another one is active.
        """
        async with self.unit_of_work() as uow:
            await uow.experiments.lock()
            started = (await _existing(uow, experiment_id)).start(self.clock.now())
            active = await uow.experiments.active_of(started.definition.model)
            if active is not None:
                raise ModelHasActiveExperimentError(started.definition.model, active.name)
            await uow.experiments.save(started)
            await uow.commit()
        self.table.put([started])
        return started


@dataclass(frozen=True, slots=True)
class StopExperimentHandler:
    """Ends an experiment without a winner."""

    unit_of_work: UnitOfWorkFactory
    table: SplitTable
    judge: JudgeExperiment
    clock: Clock

    async def __call__(self, experiment_id: str) -> Experiment:
        """Returns the stopped experiment; one that has ended stays as it is."""
        result = await self.judge(await find_experiment(self.judge.reader, experiment_id))
        async with self.unit_of_work() as uow:
            await uow.experiments.lock()
            experiment = await _existing(uow, experiment_id)
            stopped = experiment.stop(self.clock.now())
            if stopped is not experiment:
                await uow.experiments.save(stopped)
                _ = uow.outbox.add(ExperimentEnded(stopped, result))
                await uow.commit()
        self.table.put([stopped])
        return stopped


async def _answered(uow: UnitOfWork, command: CreateExperiment) -> Experiment | None:
    known = await uow.experiments.of_request(command.request_id) if command.request_id else None
    if known is None:
        return None
    if (known.experiment_id, known.definition) != (command.experiment_id, command.definition):
        raise RequestIdReusedError(command.request_id)
    return known


async def _existing(uow: UnitOfWork, experiment_id: str) -> Experiment:
    experiment = await uow.experiments.get(experiment_id)
    if experiment is None:
        raise ExperimentNotFoundError(experiment_name(experiment_id))
    return experiment
