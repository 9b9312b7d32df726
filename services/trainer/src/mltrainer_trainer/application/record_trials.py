"""Keeps the ledger of what was tried."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mltrainer_trainer.application.change_attempt import load_speaker
from mltrainer_trainer.application.ports import Clock, UnitOfWork, UnitOfWorkFactory
from mltrainer_trainer.domain.attempt import AttemptIdentity
from mltrainer_trainer.domain.checkpoints import FinishedStep, StepScope
from mltrainer_trainer.domain.ledger import RecordedStudy, RecordedTrial, StudyTarget, add_training


@dataclass(frozen=True, slots=True)
class RecordTrials:
    """Configurations that an attempt has evaluated, and steps it has finished."""

    identity: AttemptIdentity
    study: str
    target: StudyTarget
    trials: Sequence[RecordedTrial]
    steps: Sequence[FinishedStep] = ()


@dataclass(frozen=True, slots=True)
class RecordTrialsHandler:
    """Records trials and steps together; of an attempt that is being cancelled too: what was tried counts."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, command: RecordTrials) -> int:
        """Returns how many trials the study has from now on; one recorded twice counts once."""
        async with self.unit_of_work() as uow:
            attempt = await load_speaker(uow, command.identity)
            placement, now = attempt.placement, self.clock.now()
            await self._count_training(uow, command, placement.training)
            await uow.studies.add_trials(command.trials)
            scope = StepScope(placement.training, placement.computation_key)
            await uow.steps.add(scope, command.steps, now)
            await uow.attempts.save(replace(attempt, checkpoint_time=now))
            count = await uow.studies.trial_count(command.study)
            await uow.commit()
        return count

    async def _count_training(self, uow: UnitOfWork, command: RecordTrials, training: str) -> None:
        study = await uow.studies.get(command.study) or RecordedStudy(
            command.study, command.target, trial_count=0, training_count=0, create_time=self.clock.now()
        )
        counted = add_training(study, command.target)
        await uow.studies.save(study)
        if await uow.studies.add_training(command.study, training):
            await uow.studies.save(counted)
