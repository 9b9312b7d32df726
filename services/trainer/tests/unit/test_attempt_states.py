"""Whatever order things arrive in, an attempt ends once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptEvent,
    AttemptFailed,
    AttemptIdentity,
    AttemptLimits,
    AttemptStarted,
    AttemptState,
    AttemptSucceeded,
    Change,
    Failure,
    Placement,
    ProcessExit,
    ProcessId,
    Success,
    Usage,
    accept,
    advance,
    check_identity,
    exit_process,
    explain_exit,
    fail,
    preempt,
    sample,
    start,
    succeed,
)
from mltrainer_trainer.domain.errors import AttemptEndedError, StaleFencingTokenError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PLACEMENT = Placement(
    training="trainings/t1",
    number=1,
    allocation="allocations/a1",
    fencing_token=3,
    node="nodes/local-0",
    study="studies/s",
    computation_key="k",
    as_of_time=NOW,
    lease_expire_time=NOW + timedelta(seconds=30),
    spec=b"",
    limits=AttemptLimits(cpus=1, cpu_seconds=100, memory_bytes=1000),
)
PENDING = Attempt(PLACEMENT, accept_time=NOW)
SUCCESS = Success("m", "k", b"r", b"l")
PROCESS = ProcessId(7, "mark")

Step = Callable[[Attempt], Change]


def try_succeed(attempt: Attempt) -> Change:
    try:
        return succeed(attempt, SUCCESS, NOW)
    except AttemptEndedError:
        return Change(attempt)


STEPS: dict[str, Step] = {
    "start": lambda it: start(it, PROCESS, NOW),
    "adopt": lambda it: start(it, ProcessId(7, "mark"), NOW),
    "progress": lambda it: advance(it, 0.3, "trials"),
    "more progress": lambda it: advance(it, 0.6, "folds"),
    "success": try_succeed,
    "failure": lambda it: fail(it, Failure("NOT_ENOUGH_ROWS", "few", retryable=False), NOW),
    "preempt": lambda it: preempt(it, "PREEMPTED", NOW),
    "cancel": lambda it: preempt(it, "CANCELLED", NOW),
    "exit": lambda it: exit_process(it, ProcessExit(-9), NOW),
    "sample": lambda it: sample(it, Usage(1.0, 10, NOW), NOW),
    "too much memory": lambda it: sample(it, Usage(1.0, 2000, NOW), NOW),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=14))
def test_an_attempt_ends_once_whatever_order_things_arrive_in(names: list[str]) -> None:
    attempt, events = take([STEPS[name] for name in [*names, "exit"]])

    terminal = [event for event in events if isinstance(event, AttemptSucceeded | AttemptFailed)]
    revisions = [event.attempt.revision for event in events]
    assert attempt.state.is_final
    assert len(terminal) == 1
    assert events[-1] is terminal[0]
    assert len([event for event in events if isinstance(event, AttemptStarted)]) <= 1
    assert revisions == sorted(set(revisions))


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=14))
def test_a_step_that_is_repeated_at_once_changes_nothing_but_samples(names: list[str]) -> None:
    attempt = PENDING
    for name in names:
        attempt = STEPS[name](attempt).attempt
        again = STEPS[name](attempt)
        if "sample" not in name and "memory" not in name:
            assert again.events == ()


def take(steps: list[Step]) -> tuple[Attempt, list[AttemptEvent]]:
    attempt, events = PENDING, list[AttemptEvent]()
    for step in steps:
        change = step(attempt)
        attempt = change.attempt
        events.extend(change.events)
    return attempt, events


def test_a_success_that_overtakes_the_record_of_the_start_tells_of_both() -> None:
    change = succeed(PENDING, SUCCESS, NOW)

    assert [type(event) for event in change.events] == [AttemptStarted, AttemptSucceeded]


def test_a_success_after_another_end_is_refused() -> None:
    ended = preempt(PENDING, "CANCELLED", NOW).attempt

    with pytest.raises(AttemptEndedError):
        succeed(ended, SUCCESS, NOW)


def test_a_process_found_after_the_end_is_remembered_to_be_ended() -> None:
    ended = replace(preempt(PENDING, "CANCELLED", NOW).attempt, process_gone=True)

    change = start(ended, PROCESS, NOW)

    assert (change.attempt.process, change.attempt.process_gone, change.events) == (PROCESS, False, ())


def test_a_placement_is_accepted_only_if_no_later_one_is_known_and_it_still_holds() -> None:
    assert accept(PLACEMENT, 2, is_revoked=False, now=NOW) == PENDING
    assert accept(PLACEMENT, 3, is_revoked=False, now=NOW) is None
    assert accept(PLACEMENT, 0, is_revoked=True, now=NOW) is None


@pytest.mark.parametrize(
    ("identity", "highest"),
    [
        pytest.param(AttemptIdentity(PENDING.name, "allocations/a1", 3), 4, id="a later token is known"),
        pytest.param(AttemptIdentity(PENDING.name, "allocations/a1", 2), 3, id="another token"),
        pytest.param(AttemptIdentity(PENDING.name, "allocations/a0", 3), 3, id="another allocation"),
    ],
)
def test_only_the_holder_of_the_allocation_may_speak(identity: AttemptIdentity, highest: int) -> None:
    with pytest.raises(StaleFencingTokenError):
        check_identity(PENDING, identity, highest)


@pytest.mark.parametrize(
    ("ended", "reason", "retryable"),
    [
        pytest.param(ProcessExit(-9, 3.0), "PROCESS_DIED", True, id="killed"),
        pytest.param(ProcessExit(None), "PROCESS_DIED", True, id="gone while nobody watched"),
        pytest.param(ProcessExit(-24, 3.0), "BUDGET_EXCEEDED", False, id="signal of the CPU limit"),
        pytest.param(ProcessExit(-9, 130.0), "BUDGET_EXCEEDED", False, id="killed beyond the CPU limit"),
        pytest.param(ProcessExit(75, 3.0), "LEASE_LAPSED", True, id="lease lapsed"),
    ],
)
def test_an_exit_without_a_report_is_explained(ended: ProcessExit, reason: str, retryable: bool) -> None:
    failure = explain_exit(PENDING, ended)

    assert (failure.reason, failure.retryable) == (reason, retryable)


def test_an_attempt_that_holds_too_much_memory_is_ended_for_good() -> None:
    executing = start(PENDING, PROCESS, NOW).attempt

    change = sample(executing, Usage(1.0, 2000, NOW), NOW)

    assert change.attempt.state is AttemptState.FAILED
    assert change.attempt.failure is not None
    assert (change.attempt.failure.reason, change.attempt.failure.retryable) == ("OUT_OF_MEMORY", False)
