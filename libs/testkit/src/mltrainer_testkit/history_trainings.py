"""What scheduler and trainer promise about requests, trainings, allocations and attempts."""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

from google.protobuf.message import Message
from mltrainer.scheduler.v1 import events_pb2 as scheduler
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.trainer.v1 import events_pb2 as trainer

from mltrainer_testkit.history_facts import Fault, Finding, Findings, History, by_training

_STATES = {
    scheduler.TrainingRejected: {Training.STATE_REJECTED},
    scheduler.TrainingDeduplicated: {Training.STATE_DEDUPLICATED},
    scheduler.TrainingCompleted: {Training.STATE_COMPLETED},
    scheduler.TrainingFailed: {Training.STATE_FAILED, Training.STATE_CANCELLED},
}
"""Terminal events and the states they tell of."""
_TERMINAL = tuple(_STATES)
_LIFE: tuple[type[Message], ...] = (
    *_TERMINAL,
    scheduler.TrainingQueued,
    scheduler.TrainingPlaced,
    scheduler.TrainingPreempted,
    scheduler.AllocationStarted,
    scheduler.AllocationEnded,
)
_ATTEMPT_ENDS = (trainer.AttemptSucceeded, trainer.AttemptFailed)
_ATTEMPT: tuple[type[Message], ...] = (
    *_ATTEMPT_ENDS,
    trainer.AttemptStarted,
    trainer.AttemptProgressed,
    trainer.UsageSampled,
)


def find_unasked(history: History) -> Findings:
    """Nothing exists that nobody asked for."""
    for training in history.trainings:
        if training.request_id not in history.requests:
            detail = f"request {training.request_id!r} was never sent"
            yield Finding(Fault.UNASKED, training.name, detail)
    events: list[Any] = history.of_type(*_LIFE, *_ATTEMPT)
    for event in events:
        if event.training not in history.trainings_by_name:
            yield Finding(Fault.UNASKED, event.training, f"{_kind(event)} of a training that nobody knows")


def find_wrong_outcomes(history: History) -> Findings:
    """Every request has one training with exactly one terminal event, and the state that it tells of."""
    by_request: dict[str, list[Training]] = defaultdict(list)
    for training in history.trainings:
        by_request[training.request_id].append(training)
    terminal: dict[str, list[Any]] = defaultdict(list)
    events: list[Any] = history.of_type(*_TERMINAL)
    for event in events:
        terminal[event.request_id].append(event)
    for request_id in sorted(history.requests):
        trainings, ends = by_request[request_id], terminal[request_id]
        if len(trainings) > 1:
            names = ", ".join(training.name for training in trainings)
            yield Finding(Fault.SECOND_OUTCOME, request_id, f"it has several trainings: {names}")
        if not trainings or not ends:
            state = Training.State.Name(trainings[0].state) if trainings else "no training"
            yield Finding(Fault.NO_OUTCOME, request_id, f"{state}, no terminal event" if not ends else state)
        elif len(ends) > 1:
            detail = " and then ".join(f"{_kind(end)} at revision {end.revision}" for end in ends)
            yield Finding(Fault.SECOND_OUTCOME, request_id, detail)
        else:
            yield from _find_disagreements(history, trainings[0], ends[0])


def _find_disagreements(history: History, training: Training, end: Any) -> Findings:
    told = f"{_kind(end)} of {end.training}"
    if end.training != training.name or training.state not in _STATES[type(end)]:
        state = Training.State.Name(training.state)
        yield Finding(Fault.OUTCOMES_DISAGREE, training.request_id, f"{told}, but {training.name} is {state}")
    if isinstance(end, scheduler.TrainingCompleted):
        earned = any(
            (success.training, success.attempt, success.manifest_digest)
            == (end.training, end.attempt, end.manifest_digest)
            for success in history.of_type(trainer.AttemptSucceeded)
        )
        if not earned:
            detail = f"{told}: attempt {end.attempt} never told of {end.manifest_digest}"
            yield Finding(Fault.OUTCOMES_DISAGREE, training.request_id, detail)
    if isinstance(end, scheduler.TrainingDeduplicated):
        leader = history.trainings_by_name.get(end.duplicate_of)
        if leader is None or leader.manifest_digest != end.manifest_digest:
            detail = f"{told}: {end.duplicate_of} has no result {end.manifest_digest}"
            yield Finding(Fault.OUTCOMES_DISAGREE, training.request_id, detail)


def find_life_after_the_end(history: History) -> Findings:
    """A training that has ended changes no more."""
    for name, life in by_training(history.of_type(*_LIFE)).items():
        ends: list[Any] = [event for event in life if isinstance(event, _TERMINAL)]
        for event in life:
            revision: int = getattr(event, "revision", 0)
            if ends and revision > ends[0].revision and not isinstance(event, _TERMINAL):
                detail = f"{_kind(event)} at revision {revision}, after {_kind(ends[0])}"
                yield Finding(Fault.AFTER_THE_END, name, detail)


def find_wrong_allocations(history: History) -> Findings:
    """Tokens grow, one attempt at a time holds capacity, and all of it is given back once."""
    ends: dict[str, list[scheduler.AllocationEnded]] = defaultdict(list)
    for end in history.of_type(scheduler.AllocationEnded):
        ends[end.allocation.name].append(end)
    started = history.of_type(scheduler.AllocationStarted)
    for name in sorted(ends.keys() - {start.allocation.name for start in started}):
        yield Finding(Fault.UNKNOWN_ALLOCATION, name, "it ended and never started")
    for name, again in ends.items():
        if len(again) > 1:
            yield Finding(Fault.ALLOCATION_ENDED_TWICE, name, f"it ended {len(again)} times")
    for name, starts in by_training(started).items():
        for start in starts:
            if start.allocation.name not in ends:
                detail = f"{start.allocation.name} of attempt {start.allocation.attempt} never ended"
                yield Finding(Fault.ALLOCATION_NOT_ENDED, name, detail)
        for earlier, later in pairwise(starts):
            yield from _find_conflicts(name, earlier, later, ends)
    for living in history.allocations:
        yield Finding(Fault.ALLOCATION_NOT_ENDED, living.training, f"{living.name} lives at the end")


def _find_conflicts(
    name: str,
    earlier: scheduler.AllocationStarted,
    later: scheduler.AllocationStarted,
    ends: dict[str, list[scheduler.AllocationEnded]],
) -> Findings:
    before, after = earlier.allocation, later.allocation
    if before.attempt == after.attempt and earlier.revision == later.revision:
        return  # workers of one gang share an attempt and its token
    if after.fencing_token <= before.fencing_token:
        detail = f"token {after.fencing_token} of {after.name} follows {before.fencing_token}"
        yield Finding(Fault.TOKEN_NOT_GREATER, name, detail)
    if any(end.revision > later.revision for end in ends.get(before.name, ())):
        yield Finding(Fault.ALLOCATIONS_OVERLAP, name, f"{before.name} ended after {after.name} had started")


def find_wrong_attempts(history: History) -> Findings:
    """Attempts execute only under allocations that were made for them, and end once."""
    made = {
        (start.training, start.allocation.name, start.allocation.fencing_token, start.allocation.attempt)
        for start in history.of_type(scheduler.AllocationStarted)
    }
    events: list[Any] = history.of_type(*_ATTEMPT)
    claimed = {(event.training, event.allocation, event.fencing_token, event.attempt) for event in events}
    for training, allocation, token, attempt in sorted(claimed - made):
        detail = f"attempt {attempt} claims {allocation} with token {token}, which was never made"
        yield Finding(Fault.UNKNOWN_ALLOCATION, training, detail)
    told: list[Any] = history.of_type(*_ATTEMPT_ENDS)
    ends = Counter(end.allocation for end in told)
    for start in history.of_type(trainer.AttemptStarted):
        if not ends[start.allocation]:
            yield Finding(Fault.ATTEMPT_NOT_ENDED, start.training, f"attempt {start.attempt} never ended")
    for allocation, count in ends.items():
        if count > 1:
            yield Finding(Fault.ATTEMPT_ENDED_TWICE, allocation, f"its attempt ended {count} times")


def find_disorder(history: History) -> Findings:
    """Events of one aggregate arrive in the order of its revisions; an id names one event only."""
    bodies: dict[str, bytes] = {}
    for event in history.events:
        body = event.message.SerializeToString(deterministic=True)
        if bodies.setdefault(event.id, body) != body:
            yield Finding(Fault.ID_REUSED, event.id, f"another body on {event.topic}")
    newest: dict[tuple[str, str], int] = {}
    for event in history.first_copies:
        if not isinstance(event.message, (*_LIFE, *_ATTEMPT)):
            continue
        # The revision of an attempt counts within its allocation, that of a training within the training.
        is_attempt = isinstance(event.message, _ATTEMPT)
        message: Any = event.message
        subject: str = message.allocation if is_attempt else message.training
        if message.revision < newest.get((event.topic, subject), 0):
            detail = f"revision {message.revision} after {newest[event.topic, subject]} on {event.topic}"
            yield Finding(Fault.OUT_OF_ORDER, subject, detail)
        newest[event.topic, subject] = max(message.revision, newest.get((event.topic, subject), 0))


def _kind(event: Message) -> str:
    return event.DESCRIPTOR.name
