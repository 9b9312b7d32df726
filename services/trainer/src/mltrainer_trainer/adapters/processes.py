"""Starts, recognises, reaps and ends processes that outlive the one that started them."""

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    start_mark: str

    def __str__(self) -> str:
        return f"{self.pid}.{self.start_mark}"

    @classmethod
    def parse(cls, text: str) -> "ProcessId":
        """Reads what `str` has written."""
        pid, _, start_mark = text.partition(".")
        return cls(int(pid), start_mark)


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a process ended; `code` is negative for a signal and None where another process was its parent."""

    code: int | None
    cpu_seconds: float | None = None


def start_mark(pid: int) -> str | None:
    """Returns what tells a process from a later one of the same number; None where none lives.

    Ticks since boot where the kernel tells them: a time of day moves when the clock is set.
    """
    stat = Path(f"/proc/{pid}/stat")
    if sys.platform != "linux":
        return _portable_mark(pid)
    try:
        # The second field is the command in brackets, which may hold anything.
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


def _portable_mark(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def is_alive(process: ProcessId) -> bool:
    """Tells whether this very process lives; a zombie does not."""
    return start_mark(process.pid) == process.start_mark


def spawn(arguments: Sequence[str], environment: Mapping[str, str], log_file: Path) -> int:
    """Starts a program in a session of its own, with its output in a file, and returns its number."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        arguments[0],
        list(arguments),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXCPU),
    )


class Children:
    """Keeps the exits of processes that this one has started; others can only be seen to be gone."""

    def __init__(self) -> None:
        self._living: set[int] = set()

    def add(self, pid: int) -> None:
        """Remembers a child."""
        self._living.add(pid)

    def ended(self, process: ProcessId) -> ProcessExit | None:
        """Reaps a child that has ended and tells how; None while the process lives."""
        if process.pid in self._living:
            return self._reap(process.pid)
        return None if is_alive(process) else ProcessExit(None)

    def _reap(self, pid: int) -> ProcessExit | None:
        try:
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            self._living.discard(pid)
            return ProcessExit(None)
        if reaped == 0:
            return None
        self._living.discard(pid)
        return ProcessExit(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)


def signal_group(process: ProcessId, number: signal.Signals) -> None:
    """Sends a signal to the process and all its children, unless it is gone."""
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def measure_tree(process: ProcessId) -> tuple[float, int] | None:
    """Returns CPU seconds and resident bytes of the process and its children; None where it is gone."""
    if not is_alive(process):
        return None
    import psutil

    try:
        root = psutil.Process(process.pid)
        members = [root, *root.children(recursive=True)]
        times = [member.cpu_times() for member in members]
        memory_bytes = sum(member.memory_info().rss for member in members)
    except psutil.Error:
        return None
    # What ended children used is in their parent's account.
    seconds = sum(it.user + it.system for it in times) + times[0].children_user + times[0].children_system
    return seconds, memory_bytes


def tree_cpu_seconds() -> float:
    """Returns CPU seconds of this process and all its children."""
    import psutil

    process = psutil.Process()
    seconds = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            seconds += sum(child.cpu_times()[:2])
    return seconds


def own_usage() -> tuple[float, int]:
    """Returns CPU seconds of this process and its ended children, and the bytes it holds."""
    import psutil

    process = psutil.Process()
    times = process.cpu_times()
    seconds = times.user + times.system + times.children_user + times.children_system
    return seconds, process.memory_info().rss
