"""Takes requests in: refuses, deduplicates, joins or queues each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from mltrainer_scheduler.application import computations
from mltrainer_scheduler.application.ports import Clock, NewId, UnitOfWork, UnitOfWorkFactory
from mltrainer_scheduler.application.resolve_training import KeyResolver, Resolved, Waits
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.catalogue import Knowledge
from mltrainer_scheduler.domain.cluster import AWAITING_PLACEMENT
from mltrainer_scheduler.domain.events import SchedulerEvent
from mltrainer_scheduler.domain.lifecycle import Change
from mltrainer_scheduler.domain.specification import TrainingSpec, with_defaults
from mltrainer_scheduler.domain.training import Training, TrainingState
from mltrainer_scheduler.domain.validation import validate

CONSUMER = "accept-trainings"


@dataclass(frozen=True, slots=True)
class AcceptTraining:
    """A request as it arrived, with the trace it belongs to."""

    event_id: str
    request_id: str
    spec: TrainingSpec
    traceparent: str | None = None


class Acceptance(StrEnum):
    """What became of a request."""

    KNOWN = "KNOWN"
    REJECTED = "REJECTED"
    QUEUED = "QUEUED"
    JOINED = "JOINED"
    DEDUPLICATED = "DEDUPLICATED"


_OUTCOMES = {
    TrainingState.REJECTED: Acceptance.REJECTED,
    TrainingState.QUEUED: Acceptance.QUEUED,
    TrainingState.JOINED: Acceptance.JOINED,
    TrainingState.DEDUPLICATED: Acceptance.DEDUPLICATED,
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one request; the training is None where the request was known."""

    request_id: str
    outcome: Acceptance
    training: Training | None = None
    events: tuple[SchedulerEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptTrainingsHandler:
    """Takes a batch of requests in, in one transaction."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    market_clock: Clock
    new_id: NewId
    resolve: KeyResolver

    async def __call__(self, commands: Sequence[AcceptTraining]) -> list[Accepted]:
        """Returns what became of each request, in order."""
        async with self.unit_of_work() as uow:
            knowledge = await uow.knowledge.load()
            known = await uow.trainings.known_requests({command.request_id for command in commands})
            new = await uow.inbox.claim_all([command.event_id for command in commands], CONSUMER)
            accepted: list[Accepted] = []
            for command in commands:
                if command.event_id not in new or (command.request_id and command.request_id in known):
                    accepted.append(Accepted(command.request_id, Acceptance.KNOWN))
                    continue
                accepted.append(await self._accept(uow, command, knowledge))
                new.remove(command.event_id)
                known.add(command.request_id)
            await uow.trainings.add_all([item.training for item in accepted if item.training])
            await uow.commit()
        return accepted

    async def _accept(self, uow: UnitOfWork, command: AcceptTraining, knowledge: Knowledge) -> Accepted:
        change = await self._decide(uow, command, knowledge)
        computations.publish(uow, change)
        outcome = _OUTCOMES[change.training.state]
        return Accepted(command.request_id, outcome, change.training, change.events)

    async def _decide(self, uow: UnitOfWork, command: AcceptTraining, knowledge: Knowledge) -> Change:
        now = self.clock.now()
        training = Training(
            name=f"trainings/{self.new_id()}",
            request_id=command.request_id,
            spec=command.spec,
            state=TrainingState.QUEUED,
            create_time=now,
            ready_time=now,
            traceparent=command.traceparent,
        )
        violations = validate(command.request_id, command.spec, self.market_clock.now(), now)
        if violations:
            return lifecycle.reject(training, violations, now)
        training = replace(training, spec=with_defaults(training.spec))
        resolution = await self.resolve(uow, training, knowledge, now)
        match resolution:
            case Resolved(training=resolved):
                return lifecycle.queue(resolved, AWAITING_PLACEMENT)
            case Waits(reason=reason):
                return lifecycle.queue(training, reason)
            case Change():
                return resolution
            case _:
                assert_never(resolution)
