"""Checks that every execution backend of the trainer keeps the promises of its port.

Each check is a coroutine that raises AssertionError. `CHECKS` hold everywhere, `CLUSTER_CHECKS` on clusters
of nodes. What is executed is shell text: real machines execute it, the fake cluster knows it by name.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from mltrainer_trainer.application.ports import ExecutionBackend, Launch, LaunchError, StaleLaunchError
from mltrainer_trainer.domain.attempt import Attempt, AttemptLimits, AttemptState, NodeShare, Placement
from mltrainer_trainer.domain.execution import Absent, Ended, EndReason, Executing, Observation, Starting

MEMORY_LIMIT_BYTES = 64 << 20
_HOG_BYTES = 200 << 20
LIMITS = AttemptLimits(cpus=0.2, memory_bytes=MEMORY_LIMIT_BYTES)


class Program(StrEnum):
    """What the attempts of the checks execute."""

    SUCCEED = "exit 0"
    FAIL = "echo no such column; exit 3"
    WAIT = "trap 'exit 143' TERM; while :; do sleep 0.1; done"
    IGNORE = "trap '' TERM; while :; do sleep 0.1; done"
    HOG = f"held=$(head -c {_HOG_BYTES} /dev/zero | tr '\\0' x); while :; do sleep 0.1; done"
    CHATTER = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo last words"
    SAY_THREADS = 'echo "threads=$OMP_NUM_THREADS index=${MLTRAINER_WORKER_INDEX:-0}"'
    SAY_NODE = 'echo "node=$MLTRAINER_WORKER_NODE"'
    SAY_USER = "id; touch /written 2>&1; exit 0"
    SECOND_FAILS = (
        'trap "exit 143" TERM; sleep 2; test "$MLTRAINER_WORKER_INDEX" = 1 && exit 3; '
        "while :; do sleep 0.1; done"
    )


class Machine(Protocol):
    """Where a backend executes, and what a test may see of it from outside.

    Attributes:
        patience_s: How long something may take here.
    """

    patience_s: float

    def trainer(self) -> AbstractAsyncContextManager[ExecutionBackend]:
        """Opens the backend as a trainer does that has just been started."""
        ...

    def node(self) -> str:
        """Names a node with room, as placements do."""
        ...

    def living(self, placement: Placement) -> Awaitable[int]:
        """Counts workers that execute now."""
        ...

    def left_behind(self) -> Awaitable[list[str]]:
        """Names everything that executions have left."""
        ...


class ClusterMachine(Machine, Protocol):
    """A cluster whose nodes and pods can be interfered with."""

    def evict(self, placement: Placement) -> Awaitable[None]:
        """Has the pods of an attempt evicted, as a drain does."""
        ...

    def delete_job(self, placement: Placement) -> Awaitable[None]:
        """Deletes the job of an attempt by hand."""
        ...

    def lose_node(self) -> Awaitable[str]:
        """Returns a node with room, under the name of placements, that the checks may lose, for `silence`."""
        ...

    def silence(self, node: str) -> Awaitable[None]:
        """Lets nothing be heard of a node any more."""
        ...

    def without_image(self) -> AbstractAsyncContextManager[ExecutionBackend]:
        """Opens a backend whose image does not exist."""
        ...

    def with_queue(self) -> AbstractAsyncContextManager[ExecutionBackend]:
        """Opens a backend whose jobs wait for a queue."""
        ...

    def admit(self, placement: Placement) -> Awaitable[None]:
        """Lets a job begin, as its queue does."""
        ...


def place(
    program: Program, training: str, *, token: int = 1, node: str = "", limits: AttemptLimits = LIMITS
) -> Placement:
    """Makes a placement that executes a program."""
    now = datetime.now(UTC)
    return Placement(
        training=f"trainings/{training}",
        number=token,
        allocation=f"allocations/{training}-{token}",
        fencing_token=token,
        node=node,
        study="studies/s",
        computation_key="k",
        as_of_time=now,
        lease_expire_time=now + timedelta(seconds=60),
        spec=program.value.encode(),
        limits=limits,
    )


def order_of(launch: Launch) -> bytes:
    """Writes the order of a check: its program."""
    return launch.placement.spec


def attempt_of(placement: Placement, execution_id: str | None = None) -> Attempt:
    """Makes the attempt that a trainer has stored, which may not know its execution."""
    state = AttemptState.EXECUTING if execution_id else AttemptState.PENDING
    return Attempt(placement, accept_time=placement.as_of_time, state=state, execution_id=execution_id)


async def start(backend: ExecutionBackend, placement: Placement) -> Observation:
    """Starts an attempt."""
    return await backend.start(Launch(placement, 0, 60.0))


async def reached(
    machine: Machine, backend: ExecutionBackend, attempt: Attempt, *kinds: type[Observation]
) -> Observation:
    """Looks as a supervision does until one of these is seen."""
    until = time.monotonic() + machine.patience_s
    while True:
        seen = await backend.observe(attempt)
        if isinstance(seen, kinds):
            return seen
        if time.monotonic() > until:
            output = await backend.read_output(attempt, 500)
            raise AssertionError(f"still {seen} after {machine.patience_s} s; output: {output!r}")
        await backend.measure(attempt)
        await asyncio.sleep(machine.patience_s / 500)


async def _executing(machine: Machine, backend: ExecutionBackend, placement: Placement) -> Attempt:
    await start(backend, placement)
    seen = await reached(machine, backend, attempt_of(placement), Executing, Ended)
    assert isinstance(seen, Executing), seen
    return attempt_of(placement, seen.execution_id)


async def _ended(machine: Machine, backend: ExecutionBackend, placement: Placement) -> Ended:
    await start(backend, placement)
    seen = await reached(machine, backend, attempt_of(placement), Ended)
    assert isinstance(seen, Ended)
    return seen


async def _nobody_lives(machine: Machine, placement: Placement) -> None:
    until = time.monotonic() + machine.patience_s
    while count := await machine.living(placement):
        assert time.monotonic() < until, f"{count} workers live on"
        await asyncio.sleep(machine.patience_s / 500)


async def check_starting_again_starts_nothing(machine: Machine) -> None:
    """A start is idempotent by attempt and token, also for a trainer that was restarted in between."""
    placement = place(Program.WAIT, "again")
    async with machine.trainer() as first, machine.trainer() as second:
        attempt = await _executing(machine, first, placement)
        for backend in (first, second):
            seen = await start(backend, placement)
            assert not isinstance(seen, Absent | Ended), seen
            assert seen.execution_id == attempt.execution_id
        assert await machine.living(placement) == 1


async def check_concurrent_starts_start_once(machine: Machine) -> None:
    """Retries that overtake each other meet the same execution."""
    placement = place(Program.WAIT, "racing")
    async with machine.trainer() as backend:
        first = await start(backend, placement)
        others = await asyncio.gather(*(start(backend, placement) for _ in range(3)))
        ids = {it.execution_id for it in (first, *others) if not isinstance(it, Absent)}
        await reached(machine, backend, attempt_of(placement), Executing)
        assert len(ids) == 1
        assert await machine.living(placement) == 1


async def check_an_exit_is_told_by_name_and_code(machine: Machine) -> None:
    """Success and failure are told apart."""
    async with machine.trainer() as backend:
        good = await _ended(machine, backend, place(Program.SUCCEED, "good"))
        bad = await _ended(machine, backend, place(Program.FAIL, "bad"))
        output = await backend.read_output(attempt_of(place(Program.FAIL, "bad")), 1000)
    assert (good.reason, good.exit_code) == (EndReason.SUCCEEDED, 0)
    assert (bad.reason, bad.exit_code) == (EndReason.FAILED, 3)
    assert b"no such column" in output


async def check_too_much_memory_is_told_by_name(machine: Machine) -> None:
    """Memory beyond the limit ends an attempt, and the reason says so."""
    placement = place(Program.HOG, "hog")
    async with machine.trainer() as backend:
        ended = await _ended(machine, backend, placement)
        await _nobody_lives(machine, placement)
    assert ended.reason is EndReason.OUT_OF_MEMORY, ended


async def check_a_stop_is_asked_for(machine: Machine) -> None:
    """A worker that listens ends when it is asked to."""
    placement = place(Program.WAIT, "listening")
    async with machine.trainer() as backend:
        attempt = await _executing(machine, backend, placement)
        await backend.stop(attempt, force=False)
        seen = await reached(machine, backend, attempt, Ended)
        await _nobody_lives(machine, placement)
        await backend.stop(attempt, force=True)
    assert isinstance(seen, Ended)
    assert seen.reason is EndReason.CANCELLED


async def check_a_stop_is_enforced(machine: Machine) -> None:
    """A worker that does not listen is ended."""
    placement = place(Program.IGNORE, "deaf")
    async with machine.trainer() as backend:
        attempt = await _executing(machine, backend, placement)
        await backend.stop(attempt, force=False)
        await backend.stop(attempt, force=True)
        seen = await reached(machine, backend, attempt, Ended)
        await _nobody_lives(machine, placement)
    assert isinstance(seen, Ended)
    assert seen.reason is EndReason.CANCELLED


async def check_a_restarted_trainer_adopts(machine: Machine) -> None:
    """An execution outlives its trainer; the next one knows it by attempt and token alone, to its end."""
    placement = place(Program.WAIT, "adopted")
    async with machine.trainer() as backend:
        before = await _executing(machine, backend, placement)
    async with machine.trainer() as backend:
        seen = await reached(machine, backend, attempt_of(placement), Executing, Ended)
        assert isinstance(seen, Executing)
        assert seen.execution_id == before.execution_id
        assert await machine.living(placement) == 1
        await backend.stop(before, force=True)
        await reached(machine, backend, before, Ended)


async def check_a_gang_shares_its_fate(machine: Machine) -> None:
    """All workers execute together; where one fails, none goes on."""
    placement = place(Program.SECOND_FAILS, "fate", limits=replace(LIMITS, workers=3))
    async with machine.trainer() as backend:
        attempt = await _executing(machine, backend, placement)
        seen = await reached(machine, backend, attempt, Ended)
        await _nobody_lives(machine, placement)
    assert isinstance(seen, Ended)
    assert (seen.reason, seen.exit_code) == (EndReason.FAILED, 3)


async def _refused(machine: Machine, limits: AttemptLimits, training: str) -> None:
    placement = place(Program.WAIT, training, limits=limits)
    async with machine.trainer() as backend:
        try:
            await start(backend, placement)
        except LaunchError:
            pass
        else:
            seen = await reached(machine, backend, attempt_of(placement), Ended, Executing)
            assert isinstance(seen, Ended), "it executes"
            assert seen.reason is EndReason.UNSCHEDULABLE, seen
        await _nobody_lives(machine, placement)


async def check_a_gang_starts_whole_or_not_at_all(machine: Machine) -> None:
    """A gang of which one worker has no GPU leaves no worker behind."""
    await _refused(machine, replace(LIMITS, gpus=1.0, workers=3), "half")


async def check_a_gpu_of_another_type_will_not_do(machine: Machine) -> None:
    """GPUs are those that were asked for."""
    await _refused(machine, replace(LIMITS, gpus=1.0, gpu_type="none-such"), "type")


async def check_cores_bound_the_threads(machine: Machine) -> None:
    """Numerical libraries are told how many cores there are."""
    placement = place(Program.SAY_THREADS, "threads", limits=replace(LIMITS, cpus=0.3))
    async with machine.trainer() as backend:
        await _ended(machine, backend, placement)
        output = await backend.read_output(attempt_of(placement), 1000)
    assert output.split()[-2:] == [b"threads=1", b"index=0"], output


async def check_a_worker_knows_its_node(machine: Machine) -> None:
    """A worker is told where it was placed, alone and in a gang."""
    node = machine.node()
    alone = place(Program.SAY_NODE, "placed", node=node)
    gang = replace(
        place(Program.SAY_NODE, "placed-gang", node=node, limits=replace(LIMITS, workers=2)),
        shares=(NodeShare(node, 2),),
    )
    async with machine.trainer() as backend:
        for placement in (alone, gang):
            await _ended(machine, backend, placement)
            output = (await backend.read_output(attempt_of(placement), 1000)).decode()
            assert set(output.split()) == {f"node={node}"}, output


async def check_output_is_bounded(machine: Machine) -> None:
    """No more is read than was asked for, and it is the end."""
    placement = place(Program.CHATTER, "chatter")
    async with machine.trainer() as backend:
        await _ended(machine, backend, placement)
        output = await backend.read_output(attempt_of(placement), 1000)
    assert len(output) <= 1000
    assert output.endswith(b"last words\n"), output[-40:]


async def check_a_stale_attempt_is_refused(machine: Machine) -> None:
    """Once a later attempt of a training was started, no earlier one is."""
    stale, later = place(Program.WAIT, "fenced", token=1), place(Program.WAIT, "fenced", token=2)
    async with machine.trainer() as backend:
        await _executing(machine, backend, later)
        try:
            await start(backend, stale)
        except StaleLaunchError:
            pass
        else:
            raise AssertionError("a stale attempt was started")
        assert await machine.living(stale) == 0


async def check_nothing_is_left(machine: Machine) -> None:
    """What was discarded leaves no trace; doing so again, or for what never was, is fine."""
    placement, never = place(Program.SUCCEED, "tidy"), place(Program.WAIT, "never")
    async with machine.trainer() as backend:
        await _ended(machine, backend, placement)
        for each in (placement, placement, never):
            await backend.discard(attempt_of(each))
        await backend.stop(attempt_of(never), force=True)
        until = time.monotonic() + machine.patience_s
        while left := await machine.left_behind():
            assert time.monotonic() < until, f"left behind: {left}"
            await asyncio.sleep(machine.patience_s / 500)
        await reached(machine, backend, attempt_of(placement), Absent)
        assert await backend.observe(attempt_of(never)) == Absent()
        assert await backend.read_output(attempt_of(never), 100) == b""


Check = Callable[[Machine], Awaitable[None]]
CHECKS: tuple[Check, ...] = (
    check_starting_again_starts_nothing,
    check_concurrent_starts_start_once,
    check_an_exit_is_told_by_name_and_code,
    check_too_much_memory_is_told_by_name,
    check_a_stop_is_asked_for,
    check_a_stop_is_enforced,
    check_a_restarted_trainer_adopts,
    check_a_gang_shares_its_fate,
    check_a_gang_starts_whole_or_not_at_all,
    check_a_gpu_of_another_type_will_not_do,
    check_cores_bound_the_threads,
    check_a_worker_knows_its_node,
    check_output_is_bounded,
    check_a_stale_attempt_is_refused,
    check_nothing_is_left,
)


async def check_a_missing_image_is_told_by_name(machine: ClusterMachine) -> None:
    """An image that is not there is not waited for."""
    placement = place(Program.WAIT, "imageless")
    async with machine.without_image() as backend:
        ended = await _ended(machine, backend, placement)
    assert ended.reason is EndReason.IMAGE_MISSING, ended


async def check_an_eviction_is_told_by_name(machine: ClusterMachine) -> None:
    """A drained node ends an attempt, which may be repeated elsewhere."""
    placement = place(Program.WAIT, "evicted")
    async with machine.trainer() as backend:
        attempt = await _executing(machine, backend, placement)
        await machine.evict(placement)
        seen = await reached(machine, backend, attempt, Ended)
    assert isinstance(seen, Ended)
    assert seen.reason is EndReason.EVICTED, seen


async def check_an_eviction_is_told_to_a_trainer_that_was_away(machine: ClusterMachine) -> None:
    """The job says what happened when nobody watched."""
    placement = place(Program.WAIT, "unseen")
    async with machine.trainer() as backend:
        attempt = await _executing(machine, backend, placement)
    await machine.evict(placement)
    await _nobody_lives(machine, placement)
    async with machine.trainer() as backend:
        seen = await reached(machine, backend, attempt, Ended)
    assert isinstance(seen, Ended)
    assert seen.reason is EndReason.EVICTED, seen


async def check_a_job_deleted_by_hand_is_absent(machine: ClusterMachine) -> None:
    """Nobody starts it again under the same token: the attempt knows that it had an execution."""
    placement = place(Program.WAIT, "deleted")
    async with machine.trainer() as backend:
        attempt = await _executing(machine, backend, placement)
        await machine.delete_job(placement)
        await reached(machine, backend, attempt, Absent)
        await _nobody_lives(machine, placement)


async def check_a_lost_node_is_told_by_name(machine: ClusterMachine) -> None:
    """A node that is not heard of takes its attempts with it."""
    node = await machine.lose_node()
    placement = place(Program.WAIT, "lost", node=node)
    async with machine.trainer() as backend:
        attempt = await _executing(machine, backend, placement)
        await machine.silence(node)
        seen = await reached(machine, backend, attempt, Ended)
    assert isinstance(seen, Ended)
    assert seen.reason is EndReason.NODE_LOST, seen


async def check_a_placement_is_executed_on_its_node(machine: ClusterMachine) -> None:
    """The scheduler decides; a node that is not there is waited for, and then given up."""
    async with machine.trainer() as backend:
        await _executing(machine, backend, place(Program.WAIT, "here", node=machine.node()))
        elsewhere = place(Program.WAIT, "nowhere", node=f"{machine.node()}-that-is-not-there")
        ended = await _ended(machine, backend, elsewhere)
    assert ended.reason is EndReason.UNSCHEDULABLE, ended


async def check_a_queued_job_waits_until_it_is_admitted(machine: ClusterMachine) -> None:
    """With a queue, jobs are suspended; one that is cancelled before it began is gone."""
    admitted, cancelled = place(Program.WAIT, "admitted"), place(Program.WAIT, "withdrawn")
    async with machine.with_queue() as backend:
        await start(backend, cancelled)
        assert isinstance(await start(backend, admitted), Starting)
        assert await machine.living(admitted) == 0
        await machine.admit(admitted)
        await reached(machine, backend, attempt_of(admitted), Executing)
        await backend.stop(attempt_of(cancelled), force=False)
        await reached(machine, backend, attempt_of(cancelled), Absent)


ClusterCheck = Callable[[ClusterMachine], Awaitable[None]]
CLUSTER_CHECKS: tuple[ClusterCheck, ...] = (
    check_a_missing_image_is_told_by_name,
    check_an_eviction_is_told_by_name,
    check_an_eviction_is_told_to_a_trainer_that_was_away,
    check_a_job_deleted_by_hand_is_absent,
    check_a_lost_node_is_told_by_name,
    check_a_placement_is_executed_on_its_node,
    check_a_queued_job_waits_until_it_is_admitted,
)
