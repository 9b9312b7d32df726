"""Keeps the processes of a stack running: starts them in order, restarts what dies, leaves nothing behind."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import structlog

from mltrainer_cli.processes import ProcessIdentity, adopt_orphans, descendants, end, reap_orphans
from mltrainer_cli.record import ProcessRecord, State, SupervisorRecord, write_record
from mltrainer_cli.shim import shimmed

_READINESS_INTERVAL_S = 0.1
_REAP_INTERVAL_S = 1.0
_LARGEST_LOG_BYTES = 16 * 1024 * 1024
_ORPHAN_GRACE_S = 3.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProcessDefinition:
    """One process to keep running.

    Attributes:
        is_ready: Asked again and again with the pid of the latest start until it says yes.
        after: Names of processes that must have been ready before the first start of this one.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ready: Callable[[int], Awaitable[bool]]
    after: tuple[str, ...] = ()
    stop_grace_s: float = 10.0


@dataclass(slots=True)
class Backoff:
    """Doubles the wait before each restart, and forgets once a process has stayed up."""

    first_s: float = 0.1
    largest_s: float = 5.0
    reset_after_s: float = 10.0
    _next_s: float = 0.1

    def wait_s(self, uptime_s: float) -> float:
        """Returns how long to wait after a process that was up that long."""
        if uptime_s >= self.reset_after_s:
            self._next_s = self.first_s
        wait, self._next_s = self._next_s, min(2 * self._next_s, self.largest_s)
        return wait


class Supervisor:
    """Runs process definitions until told to stop. Use it from the main thread of its process."""

    def __init__(
        self,
        definitions: tuple[ProcessDefinition, ...],
        *,
        logs: Path,
        record_file: Path,
        kafka_bootstrap_servers: str = "",
    ) -> None:
        self._definitions = definitions
        self._logs = logs
        self._record_file = record_file
        self._kafka = kafka_bootstrap_servers
        self._records = {
            one.name: ProcessRecord(one.name, State.WAITING, str(logs / f"{one.name}.log"))
            for one in definitions
        }
        self._been_ready = {one.name: asyncio.Event() for one in definitions}
        self._stopping = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._spawning = 0
        self._foreign: frozenset[ProcessIdentity] = frozenset()

    def stop(self) -> None:
        """Begins the end; `run` returns when nothing is left."""
        self._stopping.set()

    async def run(self) -> None:
        """Starts everything and returns after `stop`, when no process of the stack is left."""
        adopt_orphans()
        self._foreign = frozenset(descendants())
        self._logs.mkdir(parents=True, exist_ok=True)
        self._publish()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reap())
                for definition in self._definitions:
                    group.create_task(self._keep(definition))
        finally:
            await asyncio.to_thread(self._end_descendants)
            self._publish()

    async def _keep(self, definition: ProcessDefinition) -> None:
        if not await self._has_been_ready(definition.after):
            self._change(definition.name, state=State.STOPPED)
            return
        backoff = Backoff()
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                code = await self._run_once(definition)
            except OSError as error:
                _log.error("process_not_started", process=definition.name, error=str(error))  # a full disk
                code = None
            if self._stopping.is_set():
                break
            restarts = self._records[definition.name].restarts + 1
            self._change(definition.name, state=State.RESTARTING, exit_code=code, restarts=restarts)
            _log.warning("process_ended", process=definition.name, exit_code=code, restarts=restarts)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff.wait_s(time.monotonic() - started))
        self._change(definition.name, state=State.STOPPED)

    async def _has_been_ready(self, names: tuple[str, ...]) -> bool:
        """Waits for each of those processes; False when the stop came first."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            for name in names:
                ready = asyncio.ensure_future(self._been_ready[name].wait())
                await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()
        finally:
            stopping.cancel()
        return not self._stopping.is_set()

    async def _run_once(self, definition: ProcessDefinition) -> int:
        process = await self._spawn(definition)
        readiness = asyncio.create_task(self._watch_readiness(definition, process.pid))
        ending = asyncio.create_task(self._end_when_stopping(definition, process))
        try:
            return await process.wait()
        finally:
            readiness.cancel()
            ending.cancel()
            del self._running[definition.name]
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    async def _spawn(self, definition: ProcessDefinition) -> asyncio.subprocess.Process:
        self._spawning += 1
        try:
            process, offset = await _start(definition, Path(self._records[definition.name].log_file))
        finally:
            self._spawning -= 1
        self._running[definition.name] = process
        identity = ProcessIdentity.of(process.pid)
        self._change(
            definition.name,
            state=State.STARTING,
            pid=process.pid,
            start_mark=identity.start_mark if identity else None,
            log_offset=offset,
            start_time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        return process

    async def _watch_readiness(self, definition: ProcessDefinition, pid: int) -> None:
        started = time.monotonic()
        while not await definition.is_ready(pid):  # noqa: ASYNC110  # another process decides
            await asyncio.sleep(_READINESS_INTERVAL_S)
        self._change(definition.name, state=State.READY)
        self._been_ready[definition.name].set()
        _log.info("process_ready", process=definition.name, elapsed_s=round(time.monotonic() - started, 3))

    async def _end_when_stopping(
        self, definition: ProcessDefinition, process: asyncio.subprocess.Process
    ) -> None:
        await self._stopping.wait()
        self._change(definition.name, state=State.STOPPING)
        await self._after_dependents(definition.name)
        with suppress(ProcessLookupError):
            process.terminate()
            await asyncio.sleep(definition.stop_grace_s)
            process.kill()

    async def _after_dependents(self, name: str) -> None:
        dependents = [one.name for one in self._definitions if name in one.after]
        while any(dependent in self._running for dependent in dependents):  # noqa: ASYNC110  # grace is seconds
            await asyncio.sleep(0.02)

    async def _reap(self) -> None:
        while not self._stopping.is_set():
            reap_orphans(self._has_a_waiter)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _REAP_INTERVAL_S)

    def _has_a_waiter(self, pid: int) -> bool:
        # A child that is just being started is nobody's yet and could be any of them.
        if self._spawning:
            return True
        return pid in {one.pid for one in self._running.values()} | {one.pid for one in self._foreign}

    def _end_descendants(self) -> None:
        # Ending a process may orphan its own children to this one, so look again until there are none.
        for _ in range(10):
            reap_orphans(self._has_a_waiter)
            remaining = set(descendants()) - self._foreign
            if not remaining:
                return
            end(remaining, grace_s=_ORPHAN_GRACE_S)

    def _change(self, name: str, **changes: object) -> None:
        self._records[name] = replace(self._records[name], **changes)  # type: ignore[arg-type]  # names are checked by replace
        self._publish()

    def _publish(self) -> None:
        identity = ProcessIdentity.of(os.getpid())
        assert identity is not None
        state = State.STOPPING if self._stopping.is_set() else State.READY
        record = SupervisorRecord(
            identity.pid, identity.start_mark, state, self._kafka, tuple(self._records.values())
        )
        try:
            write_record(self._record_file, record)
        except OSError as error:
            _log.error("record_not_written", error=str(error))


async def _start(definition: ProcessDefinition, log_file: Path) -> tuple[asyncio.subprocess.Process, int]:
    with _open_log(log_file) as log:
        offset = log.tell()
        process = await asyncio.create_subprocess_exec(
            *shimmed(definition.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(definition.environment),
            cwd=log_file.parent,
            start_new_session=True,
        )
        return process, offset


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > _LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
