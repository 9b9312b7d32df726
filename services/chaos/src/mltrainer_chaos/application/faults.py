"""Injects faults under leases: what is to be undone is stored before it is done."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from mltrainer_chaos.application.ports import (
    Clock,
    Guardian,
    Guardians,
    Monotonic,
    Processes,
    UnitOfWorkFactory,
)
from mltrainer_chaos.application.request_run import check_switch
from mltrainer_chaos.domain.run import Fault, FaultKind, TargetProcess

_LONGEST_DEATH_S = 2.0
_LOOK_S = 0.005
T = TypeVar("T")
Injected = Callable[[float, float], None]
"""Told, in monotonic seconds, when a fault was begun and when its effect was certain."""


class ActionFailedError(Exception):
    """An action did not do what it should; the text says why."""


@dataclass(frozen=True, slots=True)
class FaultOrder:
    """One action of a run and what it hits."""

    run: str
    action: str
    target: str


@dataclass(frozen=True, slots=True)
class FaultInjector:
    """Kills, pauses and resumes processes."""

    unit_of_work: UnitOfWorkFactory
    processes: Processes
    guardians: Guardians
    clock: Clock
    monotonic: Monotonic
    new_id: Callable[[], str]

    async def kill(self, order: FaultOrder, lease_s: float, injected: Injected) -> str:
        """Ends a process at once; whoever supervises it brings it back.

        Raises:
            ActionFailedError: It does not run, or does not end.
            KillSwitchOnError: All runs were stopped meanwhile.
        """
        process = self._find(order)
        await uninterrupted(self._store(order, FaultKind.KILL, process, lease_s))
        begun_s = self.monotonic()
        if not self.processes.kill(process):
            raise ActionFailedError(f"{order.target} had ended before it could be killed")
        while self.processes.is_alive(process):
            if self.monotonic() - begun_s > _LONGEST_DEATH_S:
                raise ActionFailedError(f"{order.target} has not ended although it was killed")
            await asyncio.sleep(_LOOK_S)
        injected(begun_s, self.monotonic())
        return f"killed {order.target} (pid {process.pid})"

    async def pause(self, order: FaultOrder, duration_s: float, injected: Injected) -> str:
        """Stops a process for a time, and lets it go on also when cancelled.

        Raises:
            ActionFailedError: It does not run.
            KillSwitchOnError: All runs were stopped meanwhile.
        """
        process = self._find(order)
        guardian = await uninterrupted(self.guardians.start(process, duration_s))
        try:
            await self._pause(order, process, guardian, duration_s, injected)
        finally:
            await uninterrupted(guardian.dismiss())
        return f"paused {order.target} (pid {process.pid}) for {duration_s:g} s"

    async def _pause(
        self,
        order: FaultOrder,
        process: TargetProcess,
        guardian: Guardian,
        duration_s: float,
        injected: Injected,
    ) -> None:
        fault = await uninterrupted(self._store(order, FaultKind.PAUSE, process, duration_s))
        try:
            guardian.begin()
            begun_s = self.monotonic()
            if not self.processes.suspend(process):
                raise ActionFailedError(f"{order.target} had ended before it could be paused")
            injected(begun_s, self.monotonic())
            await asyncio.sleep(duration_s)
        finally:
            await uninterrupted(self.undo(fault))

    def resume(self, order: FaultOrder) -> str:
        """Lets a process go on; one that was not stopped is not harmed.

        Raises:
            ActionFailedError: It does not run.
        """
        process = self._find(order)
        if not self.processes.resume(process):
            raise ActionFailedError(f"{order.target} has ended")
        return f"resumed {order.target} (pid {process.pid})"

    async def undo(self, fault: Fault) -> None:
        """Undoes a fault as far as there is something to undo, and notes it."""
        if fault.kind is FaultKind.PAUSE:
            self.processes.resume(fault.process)
        async with self.unit_of_work() as uow:
            await uow.faults.mark_reverted(fault.id, self.clock.now())
            await uow.commit()

    def _find(self, order: FaultOrder) -> TargetProcess:
        process = self.processes.find(order.target)
        if process is None:
            raise ActionFailedError(f"{order.target} does not run")
        return process

    async def _store(
        self, order: FaultOrder, kind: FaultKind, process: TargetProcess, lease_s: float
    ) -> Fault:
        now = self.clock.now()
        expire_time = now + timedelta(seconds=lease_s)
        fault = Fault(self.new_id(), order.run, order.action, kind, process, now, expire_time)
        async with self.unit_of_work() as uow:
            await check_switch(uow)
            await uow.faults.add(fault)
            await uow.commit()
        return fault


async def uninterrupted(work: Awaitable[T]) -> T:
    """Finishes some work although the caller is cancelled meanwhile, and only then passes that on."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
