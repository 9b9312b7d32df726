"""What can be seen of the execution of an attempt from outside, the same for every kind of machine."""

from dataclasses import dataclass
from enum import StrEnum


class EndReason(StrEnum):
    """How an execution ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DISK_EXCEEDED = "DISK_EXCEEDED"
    EVICTED = "EVICTED"
    NODE_LOST = "NODE_LOST"
    IMAGE_MISSING = "IMAGE_MISSING"
    UNSCHEDULABLE = "UNSCHEDULABLE"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no trace of an execution."""


@dataclass(frozen=True, slots=True)
class Starting:
    """It is accepted; not all of its workers execute yet.

    `execution_id` cannot be confused with that of another execution, on whatever machine.
    """

    execution_id: str


@dataclass(frozen=True, slots=True)
class Executing:
    """All of its workers execute."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over and cannot begin again.

    `exit_code` is negative for a signal, and None where nobody saw it; `message` is for people.
    """

    reason: EndReason
    exit_code: int | None = None
    cpu_seconds: float | None = None
    message: str = ""
    execution_id: str = ""


Observation = Absent | Starting | Executing | Ended
