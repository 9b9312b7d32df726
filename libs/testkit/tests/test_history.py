from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from google.protobuf.message import Message
from mltrainer.registry.v1.events_pb2 import AliasMoved, VersionCreated
from mltrainer.registry.v1.resources_pb2 import Alias, AliasMove, ArtifactFile, Manifest, ModelVersion
from mltrainer.scheduler.v1.events_pb2 import (
    AllocationEnded,
    AllocationStarted,
    TrainingCompleted,
    TrainingDeduplicated,
    TrainingFailed,
    TrainingPlaced,
    TrainingQueued,
    TrainingRejected,
)
from mltrainer.scheduler.v1.resources_pb2 import Allocation, Training
from mltrainer.trainer.v1.events_pb2 import AttemptFailed, AttemptProgressed, AttemptStarted, AttemptSucceeded
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.topics import record_key, topic_of
from mltrainer_testkit.history import Fault, History, check

DIGEST = "m1"
FILE = "f" * 64
LEADER, COPY, REFUSED = "trainings/a", "trainings/b", "trainings/c"


def events_of(messages: Sequence[Message]) -> list[Event[Message]]:
    return [
        Event(
            id=f"e{offset}",
            type=message.DESCRIPTOR.full_name,
            source="/mltrainer/test",
            time=datetime(2026, 1, 1, tzinfo=UTC),
            key=record_key(message),
            message=message,
            traceparent=None,
            topic=topic_of(message).name,
            partition=0,
            offset=offset,
        )
        for offset, message in enumerate(messages)
    ]


def allocation(attempt: int, token: int | None = None) -> Allocation:
    return Allocation(
        name=f"allocations/a{attempt}", training=LEADER, attempt=attempt, fencing_token=token or attempt
    )


def attempt_facts(attempt: int) -> dict[str, str | int]:
    return {
        "training": LEADER,
        "attempt": attempt,
        "allocation": f"allocations/a{attempt}",
        "fencing_token": attempt,
    }


def version(number: int = 1, training: str = LEADER, digest: str = DIGEST) -> ModelVersion:
    return ModelVersion(
        name=f"models/m/versions/{number}",
        number=number,
        training=training,
        manifest=Manifest(digest=digest, files=[ArtifactFile(path="model.npz", sha256=FILE)]),
    )


def moved(number: int, before: str) -> AliasMoved:
    move = AliasMove(
        alias="models/m/aliases/champion",
        from_version=before,
        to_version=f"models/m/versions/{number}",
        revision=number + 1,
    )
    return AliasMoved(model="models/m", move=move, revision=number + 1)


def clean_messages() -> list[Message]:
    leader = {"training": LEADER, "request_id": "r1"}
    return [
        TrainingQueued(**leader, revision=1),
        TrainingPlaced(**leader, revision=2, attempt=1, allocation=allocation(1)),
        AllocationStarted(training=LEADER, revision=2, allocation=allocation(1)),
        AttemptStarted(**attempt_facts(1), revision=2),
        AttemptFailed(**attempt_facts(1), revision=3, reason="PROCESS_DIED", retryable=True),
        AllocationEnded(training=LEADER, revision=3, allocation=allocation(1)),
        TrainingQueued(**leader, revision=3),
        TrainingPlaced(**leader, revision=4, attempt=2, allocation=allocation(2)),
        AllocationStarted(training=LEADER, revision=4, allocation=allocation(2)),
        AttemptStarted(**attempt_facts(2), revision=2),
        AttemptProgressed(**attempt_facts(2), revision=3, progress=0.5),
        AttemptSucceeded(**attempt_facts(2), revision=4, manifest_digest=DIGEST),
        TrainingCompleted(**leader, revision=5, attempt=2, manifest_digest=DIGEST),
        AllocationEnded(training=LEADER, revision=5, allocation=allocation(2)),
        TrainingDeduplicated(
            training=COPY, request_id="r2", revision=2, duplicate_of=LEADER, manifest_digest=DIGEST
        ),
        TrainingRejected(training=REFUSED, request_id="r3", revision=1),
        VersionCreated(model="models/m", version=version(), revision=1),
        moved(1, before=""),
    ]


def history_of(messages: Sequence[Message]) -> History:
    return History(
        requests=frozenset({"r1", "r2", "r3"}),
        events=events_of(messages),
        trainings=(
            Training(name=LEADER, request_id="r1", state=Training.STATE_COMPLETED, manifest_digest=DIGEST),
            Training(name=COPY, request_id="r2", state=Training.STATE_DEDUPLICATED, manifest_digest=DIGEST),
            Training(name=REFUSED, request_id="r3", state=Training.STATE_REJECTED),
        ),
        versions=(version(),),
        aliases=(Alias(name="models/m/aliases/champion", version="models/m/versions/1"),),
        readable_digests=frozenset({FILE}),
    )


CLEAN = history_of(clean_messages())
Fault_ = Callable[[History], History]


def add(*messages: Message) -> Fault_:
    return lambda history: replace(
        history, events=events_of([*(event.message for event in history.events), *messages])
    )


def drop(kind: type[Message]) -> Fault_:
    return lambda history: replace(
        history, events=[event for event in history.events if not isinstance(event.message, kind)]
    )


def keep_trainings(change: Callable[[Training], None]) -> Fault_:
    def plant(history: History) -> History:
        trainings = [Training.FromString(training.SerializeToString()) for training in history.trainings]
        change(trainings[0])
        return replace(history, trainings=trainings)

    return plant


def fail_leader(training: Training) -> None:
    training.state = Training.STATE_FAILED


def reuse_an_id(history: History) -> History:
    first, second, *others = history.events
    return replace(history, events=[first, replace(second, id=first.id), *others])


def swap_progress(history: History) -> History:
    older = AttemptProgressed(**attempt_facts(2), revision=2, progress=0.1)
    return add(older)(history)


PLANTED = [
    pytest.param(
        lambda history: replace(history, requests=frozenset({"r1", "r2"})), Fault.UNASKED, id="nobody asked"
    ),
    pytest.param(
        add(TrainingQueued(training="trainings/x", request_id="r1", revision=1)),
        Fault.UNASKED,
        id="an unknown training",
    ),
    pytest.param(
        lambda history: replace(history, requests=history.requests | {"r4"}),
        Fault.NO_OUTCOME,
        id="a request vanished",
    ),
    pytest.param(drop(TrainingRejected), Fault.NO_OUTCOME, id="a terminal event vanished"),
    pytest.param(
        add(TrainingFailed(training=LEADER, request_id="r1", revision=6)),
        Fault.SECOND_OUTCOME,
        id="completed and failed",
    ),
    pytest.param(
        add(
            TrainingCompleted(training=LEADER, request_id="r1", revision=5, attempt=2, manifest_digest=DIGEST)
        ),
        Fault.SECOND_OUTCOME,
        id="completed twice by different events",
    ),
    pytest.param(
        lambda history: replace(
            history,
            trainings=[*history.trainings, Training(name="trainings/d", request_id="r3", state=7)],
        ),
        Fault.SECOND_OUTCOME,
        id="two trainings of one request",
    ),
    pytest.param(keep_trainings(fail_leader), Fault.OUTCOMES_DISAGREE, id="event and state disagree"),
    pytest.param(drop(AttemptSucceeded), Fault.OUTCOMES_DISAGREE, id="completed without a success"),
    pytest.param(
        keep_trainings(lambda leader: leader.ClearField("manifest_digest")),
        Fault.OUTCOMES_DISAGREE,
        id="the result of nobody taken",
    ),
    pytest.param(
        add(TrainingQueued(training=LEADER, request_id="r1", revision=6)),
        Fault.AFTER_THE_END,
        id="queued after its end",
    ),
    pytest.param(reuse_an_id, Fault.ID_REUSED, id="one id, two events"),
    pytest.param(swap_progress, Fault.OUT_OF_ORDER, id="an older revision later"),
    pytest.param(
        add(
            AllocationStarted(training=LEADER, revision=4, allocation=allocation(3, token=2)),
            AllocationEnded(training=LEADER, revision=5, allocation=allocation(3, token=2)),
        ),
        Fault.TOKEN_NOT_GREATER,
        id="a token used twice",
    ),
    pytest.param(
        add(
            AllocationStarted(training=LEADER, revision=4, allocation=allocation(3)),
            AllocationEnded(training=LEADER, revision=5, allocation=allocation(3)),
        ),
        Fault.ALLOCATIONS_OVERLAP,
        id="two allocations live at a time",
    ),
    pytest.param(drop(AllocationEnded), Fault.ALLOCATION_NOT_ENDED, id="capacity never given back"),
    pytest.param(
        lambda history: replace(history, allocations=[allocation(2)]),
        Fault.ALLOCATION_NOT_ENDED,
        id="an allocation lives at the end",
    ),
    pytest.param(
        add(AllocationEnded(training=LEADER, revision=5, allocation=allocation(2))),
        Fault.ALLOCATION_ENDED_TWICE,
        id="capacity given back twice",
    ),
    pytest.param(drop(AllocationStarted), Fault.UNKNOWN_ALLOCATION, id="ended and never started"),
    pytest.param(
        add(AttemptFailed(**attempt_facts(9), revision=1)),
        Fault.UNKNOWN_ALLOCATION,
        id="a made-up allocation",
    ),
    pytest.param(drop(AttemptFailed), Fault.ATTEMPT_NOT_ENDED, id="an attempt vanished"),
    pytest.param(
        add(AttemptFailed(**attempt_facts(2), revision=5)),
        Fault.ATTEMPT_ENDED_TWICE,
        id="succeeded and failed",
    ),
    pytest.param(lambda history: replace(history, versions=()), Fault.LOST_VERSION, id="no version"),
    pytest.param(
        lambda history: replace(history, versions=[version(1), version(2)]),
        Fault.SECOND_VERSION,
        id="two versions of one training",
    ),
    pytest.param(
        add(VersionCreated(model="models/m", version=version(), revision=2)),
        Fault.SECOND_VERSION,
        id="one version told of by two events",
    ),
    pytest.param(
        lambda history: replace(history, versions=[version(1), version(2, training=COPY)]),
        Fault.UNEARNED_VERSION,
        id="a version of a training that computed nothing",
    ),
    pytest.param(
        lambda history: replace(history, versions=[version(digest="m2")]),
        Fault.UNEARNED_VERSION,
        id="other files than it completed with",
    ),
    pytest.param(
        lambda history: replace(history, versions=[version(2)]), Fault.VERSION_GAP, id="number 1 is missing"
    ),
    pytest.param(drop(VersionCreated), Fault.VERSION_NOT_TOLD, id="a version without its event"),
    pytest.param(
        lambda history: replace(history, readable_digests=frozenset()),
        Fault.ARTIFACT_UNREADABLE,
        id="a file is gone",
    ),
    pytest.param(drop(AliasMoved), Fault.ALIAS_HISTORY_BROKEN, id="a move without its event"),
    pytest.param(
        add(moved(2, before="")), Fault.ALIAS_HISTORY_BROKEN, id="a move from where the alias was not"
    ),
    pytest.param(
        lambda history: replace(history, dead_letters=["t/0/0 handler: ValueError"]),
        Fault.DEAD_LETTER,
        id="something was given up",
    ),
]


def test_a_history_that_keeps_every_promise_passes() -> None:
    assert check(CLEAN) == []


def test_copies_of_an_event_change_nothing() -> None:
    copies = [replace(event, offset=event.offset + 1_000) for event in CLEAN.events]

    findings = check(replace(CLEAN, events=[*CLEAN.events, *copies]))

    assert findings == []


def test_workers_of_a_gang_share_a_token() -> None:
    second = Allocation(name="allocations/a2-2", training=LEADER, attempt=2, fencing_token=2)
    gang = add(
        AllocationStarted(training=LEADER, revision=4, allocation=second),
        AllocationEnded(training=LEADER, revision=5, allocation=second),
    )

    assert check(gang(CLEAN)) == []


@pytest.mark.parametrize(("plant", "fault"), PLANTED)
def test_each_planted_fault_is_found(plant: Fault_, fault: Fault) -> None:
    findings = check(plant(CLEAN))

    assert fault in {finding.fault for finding in findings}


def test_every_kind_of_fault_is_planted() -> None:
    planted = {parameters.values[1] for parameters in PLANTED}

    assert planted == set(Fault)
