"""Finds processes in the supervisor's record, signals them, and sets guardians over them."""

import asyncio
import json
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mltrainer_chaos.adapters import guardian_process
from mltrainer_chaos.domain.run import TargetProcess

_GUARDIAN_END_S = 2.0


@dataclass(frozen=True, slots=True)
class RecordedProcesses:
    """Knows what `supervisor.json` names; a name stands for another process after each restart."""

    record_file: Path

    def find(self, name: str) -> TargetProcess | None:
        """Returns the living process of this name; None as well where there is no record that can be read."""
        try:
            listed = json.loads(self.record_file.read_text())["processes"]
            entry = next(item for item in listed if item["name"] == name)
            process = TargetProcess(name, int(entry["pid"]), str(entry["start_mark"]))
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return None
        return process if self.is_alive(process) else None

    def is_alive(self, process: TargetProcess) -> bool:
        """Tells whether it still runs."""
        return guardian_process.start_mark(process.pid) == process.start_mark

    def kill(self, process: TargetProcess) -> bool:
        """Sends SIGKILL."""
        return guardian_process.send(process.pid, process.start_mark, signal.SIGKILL)

    def suspend(self, process: TargetProcess) -> bool:
        """Sends SIGSTOP."""
        return guardian_process.send(process.pid, process.start_mark, signal.SIGSTOP)

    def resume(self, process: TargetProcess) -> bool:
        """Sends SIGCONT."""
        return guardian_process.send(process.pid, process.start_mark, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class ProcessGuardian:
    """A guardian that has started."""

    process: asyncio.subprocess.Process

    def begin(self) -> None:
        """Begins the lease."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"begin\n")

    async def dismiss(self) -> None:
        """Ends it; it resumes its process once more, which harms nothing."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(_GUARDIAN_END_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclass(frozen=True, slots=True)
class ProcessGuardians:
    """Starts guardians in sessions of their own, so that what kills this process spares them."""

    async def start(self, process: TargetProcess, lease_s: float) -> ProcessGuardian:
        """Returns once the guardian has started."""
        guardian = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            guardian_process.__file__,
            str(process.pid),
            process.start_mark,
            repr(lease_s),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert guardian.stdout is not None
        await guardian.stdout.readline()
        return ProcessGuardian(guardian)
