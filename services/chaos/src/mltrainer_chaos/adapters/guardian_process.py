"""Resumes one process when its lease ends; a process of its own, so that it outlives the chaos service.

`python guardian_process.py PID START_MARK LEASE_S` writes one line when it has started; the lease begins with
the first line that it is sent. SIGTERM ends it early: it resumes the process first. It knows the standard
library only, to start fast.
"""

import os
import signal
import sys
import threading
from pathlib import Path


def start_mark(pid: int) -> str | None:
    """Tells a process from a later one with the same number; None once it has ended."""
    if sys.platform != "linux":
        return _portable_start_mark(pid)
    # Ticks since boot, and which boot: no correction of the clock changes them.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _portable_start_mark(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


def send(pid: int, mark: str, number: signal.Signals) -> bool:
    """Signals exactly the process that has this mark; False where it has ended."""
    try:
        return _send_through_handle(pid, mark, number)
    except ProcessLookupError:
        return False


def _send_through_handle(pid: int, mark: str, number: signal.Signals) -> bool:
    if sys.platform != "linux":
        alive = start_mark(pid) == mark
        if alive:
            os.kill(pid, number)
        return alive
    # The handle keeps meaning the same process, even if it ends and its number is given away right here.
    handle = os.pidfd_open(pid)
    try:
        alive = start_mark(pid) == mark
        if alive:
            signal.pidfd_send_signal(handle, number)
        return alive
    finally:
        os.close(handle)


def main(arguments: list[str]) -> int:
    """Waits for the end of the lease or SIGTERM, whichever comes first; ends where there is no lease."""
    pid, mark, lease_s = int(arguments[0]), arguments[1], float(arguments[2])
    ended_early = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended_early.set())
    sys.stdout.write("started\n")
    sys.stdout.flush()
    if sys.stdin.readline():
        ended_early.wait(lease_s)
    send(pid, mark, signal.SIGCONT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
