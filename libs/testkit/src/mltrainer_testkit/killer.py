"""Kills the processes of a running stack with SIGKILL at random times, and waits for each to come back."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import psutil
from mltrainer_cli.processes import STACK_VARIABLE, ProcessIdentity
from mltrainer_cli.record import ProcessRecord, State

from mltrainer_testkit.stack import RunningStack

ATTEMPT = "attempt"
_ATTEMPT_MODULE = "mltrainer_trainer.attempt"
_RECOVERY_TIMEOUT_S = 90.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Kill:
    """A process that was killed; how long until its successor was ready, for those that have one."""

    target: str
    recovery_s: float | None


@dataclass(slots=True)
class Killer:
    """Draws targets from a shuffled deck, so that each has its turn before any has a second one.

    Attributes:
        mean_pause_s: Between two kills, at least; pauses are exponentially distributed.
        most_down: How many processes may be down at a time: on a slow machine nothing would be up otherwise.
    """

    stack: RunningStack
    random: random.Random
    mean_pause_s: float
    most_down: int = 2
    kills: list[Kill] = field(default_factory=list)
    _rounds: int = 0
    _deck: list[str] = field(default_factory=list)
    _down: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Kills until told to stop, and returns when everything is back.

        Raises:
            TimeoutError: Something did not come back.
        """
        async with asyncio.TaskGroup() as recoveries:
            while not stop.is_set():
                try:
                    pause_s = min(self.random.expovariate(1 / self.mean_pause_s), 3 * self.mean_pause_s)
                    await asyncio.wait_for(stop.wait(), pause_s)
                except TimeoutError:
                    if self._down < self.most_down:
                        self._kill_one(recoveries)

    @property
    def has_reached_all(self) -> bool:
        """Whether every target had its turn."""
        return self._rounds > 1 or (self._rounds == 1 and not self._deck)

    def summary(self) -> str:
        """Says how often each target was killed and how long recoveries took."""
        counts = Counter(kill.target for kill in self.kills)
        lines = []
        for target in sorted(counts):
            times = sorted(
                kill.recovery_s for kill in self.kills if kill.target == target and kill.recovery_s
            )
            recovered = (
                f", back after {times[len(times) // 2]:.1f} s median, {times[-1]:.1f} s at most"
                if times
                else ""
            )
            lines.append(f"  {target}: {counts[target]} kills{recovered}")
        return "\n".join(lines)

    def _kill_one(self, recoveries: asyncio.TaskGroup) -> None:
        ready = {record.name: record for record in self.stack.record().processes if _is_ready(record)}
        if not self._deck:
            self._rounds += 1
            self._deck = [record.name for record in self.stack.record().processes] + [ATTEMPT]
            self.random.shuffle(self._deck)
        target = next((name for name in self._deck if name == ATTEMPT or name in ready), None)
        if target is None:
            return
        self._deck.remove(target)
        if target == ATTEMPT:
            attempts = sorted(attempt_processes(self.stack.data.stack_id or ""))
            if attempts and _kill(self.random.choice(attempts)):
                self.kills.append(Kill(ATTEMPT, None))
            return
        victim = ready[target].identity
        if victim is not None and victim.is_alive():
            os.kill(victim.pid, signal.SIGKILL)
            recoveries.create_task(self._await_recovery(target, victim))

    async def _await_recovery(self, target: str, victim: ProcessIdentity) -> None:
        start_s = time.monotonic()
        self._down += 1
        try:
            async with asyncio.timeout(_RECOVERY_TIMEOUT_S):
                while not self._is_back(target, victim):  # noqa: ASYNC110 - another process decides
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise TimeoutError(
                f"{target} is not back {_RECOVERY_TIMEOUT_S:.0f} s after it was killed"
            ) from error
        finally:
            self._down -= 1
        self.kills.append(Kill(target, time.monotonic() - start_s))

    def _is_back(self, target: str, victim: ProcessIdentity) -> bool:
        record = next(one for one in self.stack.record().processes if one.name == target)
        return _is_ready(record) and record.identity != victim


def attempt_processes(stack_id: str) -> list[int]:
    """Returns the pids of the attempts that a stack executes now."""
    found = []
    for process in psutil.process_iter():
        try:
            is_attempt = _ATTEMPT_MODULE in process.cmdline()
            if is_attempt and process.environ().get(STACK_VARIABLE) == stack_id:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def _is_ready(record: ProcessRecord) -> bool:
    return record.state is State.READY


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
