"""Reads the CPU time of the processes that evaluate trials."""

import resource

import psutil


class WorkerAccount:
    """Reads the CPU time of the workers, living and ended; asked by other threads, too.

    `charged_cpu_seconds` leaves out what trials have used that still go on, as the search counts that by
    what they may take.
    """

    def __init__(self) -> None:
        self.charged_cpu_seconds = 0.0
        self._living: dict[int, float] = {}

    def charge(self, pid: int, used_s: float) -> None:
        """Charges what a worker has used since it was charged last."""
        self.charged_cpu_seconds += used_s - self._living.get(pid, 0.0)
        self._living[pid] = used_s

    def close(self, pid: int, used_s: float) -> None:
        """Charges a worker for the last time; from now on the kernel counts it."""
        self.charge(pid, used_s)
        del self._living[pid]

    def cpu_seconds(self) -> float:
        """Returns what all of them have used."""
        return ended_cpu_seconds() + sum(map(process_cpu_seconds, tuple(self._living)))


def ended_cpu_seconds() -> float:
    """Returns the CPU time of the children that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process_cpu_seconds(pid: int) -> float:
    """Returns the CPU time of a process; none where it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
