"""Has the kernel hold an attempt to its limits, so that a bad model hurts nobody else."""

import resource

# From the signal that the budget is used up to the kernel's kill: time to report it.
_CPU_MARGIN_S = 30
# The interpreter and its libraries take this much before any model does.
LEAST_DATA_BYTES = 512 << 20


def limit_process(*, cpu_seconds: float, memory_bytes: int, file_bytes: int) -> None:
    """Limits this process and its children; zero leaves CPU time or memory unlimited.

    Memory beyond the limit is a MemoryError of whoever asks for it, so a model that wants too much fails, and
    not the study. A file beyond its limit is an OSError (EFBIG). No core is dumped.
    """
    if cpu_seconds > 0:
        soft = max(1, int(cpu_seconds + 0.999))
        _lower(resource.RLIMIT_CPU, soft, soft + _CPU_MARGIN_S)
    limit_memory(memory_bytes)
    _lower(resource.RLIMIT_FSIZE, file_bytes, file_bytes)
    _lower(resource.RLIMIT_CORE, 0, 0)


def limit_memory(memory_bytes: int) -> None:
    """Limits what this process may hold; zero leaves it unlimited."""
    if memory_bytes > 0:
        data_bytes = max(memory_bytes, LEAST_DATA_BYTES)
        _lower(resource.RLIMIT_DATA, data_bytes, data_bytes)


def _lower(kind: int, soft: int, hard: int) -> None:
    """Sets a limit; one that is lower already stays."""
    held = resource.getrlimit(kind)[1]
    if held != resource.RLIM_INFINITY:
        soft, hard = min(soft, held), min(hard, held)
    resource.setrlimit(kind, (soft, hard))
