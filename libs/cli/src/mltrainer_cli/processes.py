"""Tells processes apart for good and ends exactly those that were meant."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

STACK_VARIABLE = "MLTRAINER_STACK_ID"
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, told apart from a later one that got the same number by when it started."""

    pid: int
    start_mark: str

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """Returns the identity of the process that has that number now, if it runs."""
        mark = _start_mark(pid)
        return cls(pid, mark) if mark else None

    def is_alive(self) -> bool:
        return _start_mark(self.pid) == self.start_mark


def end(identities: Iterable[ProcessIdentity], *, grace_s: float) -> list[ProcessIdentity]:
    """Asks each to end, kills what has not ended within the grace, and returns what runs even then."""
    remaining = _signalled(identities, signal.SIGTERM)
    remaining = _wait(remaining, grace_s)
    return _wait(_signalled(remaining, signal.SIGKILL), 5.0)


def descendants() -> list[ProcessIdentity]:
    """Returns every process below this one, adopted orphans included."""
    return _identities(psutil.Process().children(recursive=True))


def members(stack_id: str) -> list[ProcessIdentity]:
    """Returns every process of a stack wherever it hangs, this one excepted."""
    own = os.getpid()
    return _identities(
        process
        for process in psutil.process_iter()
        if process.pid != own and _environment(process).get(STACK_VARIABLE) == stack_id
    )


def adopt_orphans() -> None:
    """Makes the kernel hand the orphans of this process's descendants to it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(is_known: Callable[[int], bool]) -> None:
    """Collects the exit status of adopted processes, leaving known children to those who wait for them."""
    for child in psutil.Process().children():
        if not is_known(child.pid) and _status(child) == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, os.WNOHANG)


def _identities(processes: Iterable[psutil.Process]) -> list[ProcessIdentity]:
    found = (ProcessIdentity.of(process.pid) for process in processes)
    return [identity for identity in found if identity is not None]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.Error:
        return ""


def _start_mark(pid: int) -> str | None:
    if sys.platform == "linux":
        return _kernel_start_mark(pid)
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


def _kernel_start_mark(pid: int) -> str | None:
    # Ticks since boot, and which boot: unlike psutil's create_time, no correction of the clock changes them.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _signalled(identities: Iterable[ProcessIdentity], number: signal.Signals) -> list[ProcessIdentity]:
    living = [identity for identity in identities if identity.is_alive()]
    for identity in living:
        try:
            os.kill(identity.pid, number)
        except ProcessLookupError:
            continue
    return living


def _wait(identities: list[ProcessIdentity], timeout_s: float) -> list[ProcessIdentity]:
    deadline = time.monotonic() + timeout_s
    while (living := [one for one in identities if one.is_alive()]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return living
