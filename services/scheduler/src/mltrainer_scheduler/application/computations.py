"""Has every computation done once: joins equal trainings, shares results, replaces a leader that fails."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mltrainer_scheduler.application.ports import UnitOfWork
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.events import ComputationAudited, SchedulerEvent
from mltrainer_scheduler.domain.keys import KeyedInputs
from mltrainer_scheduler.domain.lifecycle import Change
from mltrainer_scheduler.domain.reuse import UNKNOWN_DIGESTS, UNKNOWN_WORTH, AuditPolicy, ResultDigests, Worth
from mltrainer_scheduler.domain.training import Computation, Training, TrainingState, computation_id

LEADER_ENDED = "LEADER_ENDED"


async def store(uow: UnitOfWork, before: Training, change: Change) -> None:
    """Stores a training and its allocations after a step, and what happened."""
    await uow.trainings.save(change.training, before.revision)
    await uow.cluster.update(change.allocations)
    publish(uow, change)


def publish(uow: UnitOfWork, change: Change) -> None:
    """Adds the events of a step to the outbox."""
    for event in change.events:
        uow.outbox.add(event)


async def claim(
    uow: UnitOfWork, training: Training, inputs: KeyedInputs, now: datetime, audits: AuditPolicy
) -> Change | Training:
    """Makes the training compute, as the leader or to audit, or lets it take part in another's work."""
    keyed = replace(training, computation_key=inputs.key)
    wanted = computation_id(keyed)
    computation = await uow.computations.get(wanted)
    if computation is None:
        await uow.computations.add(Computation(wanted, leader=training.name))
        await uow.computations.remember(inputs)
        return replace(keyed, audit_of="")
    if computation.is_finished:
        age_s = (now - (computation.finish_time or now)).total_seconds()
        if training.spec.recompute or audits.demands(training.name, inputs.key, age_s):
            return replace(keyed, audit_of=computation.leader)
        return lifecycle.deduplicate(keyed, computation, now)
    if computation.leader == training.name:
        return keyed
    await uow.computations.save(replace(computation, revision=computation.revision + 1), computation.revision)
    return lifecycle.join(keyed, computation.leader)


async def release(uow: UnitOfWork, training: Training) -> None:
    """Hands the computation of a leader to the oldest training that waits for it, if any does."""
    computation = await _led_by(uow, training)
    if computation is None:
        return
    joined = await uow.trainings.joined_to(computation.id)
    if not joined:
        await uow.computations.remove(computation)
        return
    heir, *others = joined
    await store(uow, heir, lifecycle.queue(heir, LEADER_ENDED, f"{training.name} ended without a result"))
    for other in others:
        await store(uow, other, lifecycle.join(other, heir.name))
    successor = replace(computation, leader=heir.name, revision=computation.revision + 1)
    await uow.computations.save(successor, computation.revision)


async def finish(
    uow: UnitOfWork,
    training: Training,
    now: datetime,
    digests: ResultDigests = UNKNOWN_DIGESTS,
    worth: Worth = UNKNOWN_WORTH,
) -> list[SchedulerEvent]:
    """Shares the result of a leader with every training that waits for it, and returns what happened."""
    computation = await _led_by(uow, training)
    if computation is None:
        return []
    finished = replace(
        computation,
        manifest_digest=training.manifest_digest,
        revision=computation.revision + 1,
        digests=digests,
        worth=worth,
        finish_time=now,
    )
    await uow.computations.save(finished, computation.revision)
    return await _share(uow, finished, await uow.trainings.joined_to(computation.id), now)


async def _share(
    uow: UnitOfWork, computation: Computation, joined: Sequence[Training], now: datetime
) -> list[SchedulerEvent]:
    events: list[SchedulerEvent] = []
    for training in joined:
        assert training.state is TrainingState.JOINED
        change = lifecycle.deduplicate(training, computation, now)
        await store(uow, training, change)
        events += change.events
    return events


async def audit(uow: UnitOfWork, training: Training, digests: ResultDigests) -> list[SchedulerEvent]:
    """Compares a result with the known one, which is forgotten where they differ; returns what happened."""
    known = await uow.computations.get(computation_id(training))
    if known is None or known.leader != training.audit_of or not digests.model:
        return []
    if not known.digests.model:
        learned = replace(known, digests=digests, revision=known.revision + 1)
        await uow.computations.save(learned, known.revision)
        return []
    found = ComputationAudited(training, known.digests, digests)
    if not found.is_equal:
        await uow.computations.remove(known)
    uow.outbox.add(found)
    return [found]


async def _led_by(uow: UnitOfWork, training: Training) -> Computation | None:
    if not training.computation_key:
        return None
    computation = await uow.computations.get(computation_id(training))
    if computation is None or computation.is_finished or computation.leader != training.name:
        return None
    return computation
