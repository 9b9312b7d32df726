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
    AttemptProgressed,
    AttemptStarted,
    AttemptState,
    AttemptSucceeded,
    Change,
    Failure,
    Placement,
    Success,
    Usage,
    accept,
    advance,
    check_identity,
    end_execution,
    explain_end,
    fail,
    launch,
    preempt,
    sample,
    start,
    succeed,
)
from mltrainer_trainer.domain.checkpoints import SearchProgress
from mltrainer_trainer.domain.errors import AttemptEndedError, StaleFencingTokenError
from mltrainer_trainer.domain.execution import Ended, EndReason

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
EXECUTION = "7.mark"

Step = Callable[[Attempt], Change]


def try_succeed(attempt: Attempt) -> Change:
    try:
        return succeed(attempt, SUCCESS, NOW)
    except AttemptEndedError:
        return Change(attempt)


STEPS: dict[str, Step] = {
    "start": lambda it: start(it, EXECUTION, NOW),
    "launch": lambda it: launch(it, EXECUTION),
    "adopt": lambda it: start(it, "7.mark", NOW),
    "progress": lambda it: advance(it, 0.3, "trials", NOW),
    "more progress": lambda it: advance(it, 0.6, "folds", NOW),
    "success": try_succeed,
    "failure": lambda it: fail(it, Failure("NOT_ENOUGH_ROWS", "few", retryable=False), NOW),
    "preempt": lambda it: preempt(it, "PREEMPTED", NOW),
    "cancel": lambda it: preempt(it, "CANCELLED", NOW),
    "exit": lambda it: end_execution(it, Ended(EndReason.FAILED, -9), NOW),
    "sample": lambda it: sample(it, Usage(1.0, 10, NOW)),
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
        if "sample" not in name:
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


def test_an_execution_found_after_the_end_is_remembered_to_be_ended() -> None:
    ended = replace(preempt(PENDING, "CANCELLED", NOW).attempt, execution_gone=True)

    change = start(ended, EXECUTION, NOW)

    assert (change.attempt.execution_id, change.attempt.execution_gone) == (EXECUTION, False)
    assert change.events == ()


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


FAILED, UNKNOWN = EndReason.FAILED, EndReason.UNKNOWN


@pytest.mark.parametrize(
    ("ended", "reason", "retryable"),
    [
        pytest.param(Ended(FAILED, -9, 3.0), "PROCESS_DIED", True, id="killed"),
        pytest.param(Ended(UNKNOWN), "PROCESS_DIED", True, id="gone while nobody watched"),
        pytest.param(Ended(EndReason.SUCCEEDED, 0), "PROCESS_DIED", True, id="ended well without a report"),
        pytest.param(Ended(FAILED, -24, 3.0), "BUDGET_EXCEEDED", False, id="signal of the CPU limit"),
        pytest.param(Ended(FAILED, 152), "BUDGET_EXCEEDED", False, id="the same in a container"),
        pytest.param(Ended(FAILED, -9, 130.0), "BUDGET_EXCEEDED", False, id="killed beyond the CPU limit"),
        pytest.param(Ended(FAILED, 75, 3.0), "LEASE_LAPSED", True, id="lease lapsed"),
        pytest.param(Ended(EndReason.OUT_OF_MEMORY, 137), "OUT_OF_MEMORY", False, id="out of memory"),
        pytest.param(Ended(EndReason.EVICTED), "EVICTED", True, id="evicted"),
        pytest.param(Ended(EndReason.NODE_LOST), "NODE_LOST", True, id="node lost"),
        pytest.param(Ended(EndReason.IMAGE_MISSING), "IMAGE_MISSING", False, id="image missing"),
        pytest.param(Ended(EndReason.UNSCHEDULABLE), "UNSCHEDULABLE", True, id="unschedulable"),
    ],
)
def test_an_end_without_a_report_is_explained(ended: Ended, reason: str, retryable: bool) -> None:
    failure = explain_end(PENDING, ended)

    assert (failure.reason, failure.retryable) == (reason, retryable)


def test_the_last_words_of_a_process_are_part_of_the_explanation() -> None:
    failure = explain_end(PENDING, Ended(FAILED, 1, message="ImportError: no module"))

    assert failure.message == "the process ended without a report, exit code 1: ImportError: no module"


def test_an_execution_that_does_not_compute_yet_leaves_the_attempt_pending() -> None:
    change = launch(PENDING, EXECUTION)

    assert (change.attempt.state, change.attempt.execution_id) == (AttemptState.PENDING, EXECUTION)
    assert change.events == ()


def test_a_finished_trial_is_told_even_where_nothing_else_changes() -> None:
    one, two = SearchProgress(1, 9, 0.5), SearchProgress(2, 9, 0.4)
    attempt = advance(PENDING, 0.1, "trials", NOW, one).attempt

    change = advance(attempt, 0.1, "trials", NOW, two)
    again = advance(change.attempt, 0.1, "trials", NOW, two)

    assert [type(event) for event in change.events] == [AttemptProgressed]
    assert change.attempt.search == two
    assert again.events == ()


def test_a_library_that_dies_of_memory_is_named_so() -> None:
    ended = Ended(EndReason.FAILED, -6, message="memory allocation of 8589934592 bytes failed")

    failure = explain_end(PENDING, ended)

    assert (failure.reason, failure.retryable) == ("OUT_OF_MEMORY", False)
