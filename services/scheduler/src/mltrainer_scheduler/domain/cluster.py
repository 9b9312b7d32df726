"""Amounts, demands and nodes, in whole thousandths and bytes, so that sums are exact."""

import math
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor

from mltrainer_scheduling.quotas import Amounts

from mltrainer_scheduler.domain.specification import Resources

AWAITING_PLACEMENT = "AWAITING_PLACEMENT"

_PERMILLE = 1_000
# Undoes the representation error of decimal fractions before rounding to thousandths.
_DECIMALS = 6
# No machine has more; a report beyond it is taken for nothing.
_MOST = 1e9
_MOST_BYTES = 1 << 60


@dataclass(frozen=True, slots=True)
class Capacity:
    """Amounts in whole thousandths and bytes."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpu_millis: int = 0

    def __add__(self, other: "Capacity") -> "Capacity":
        """Adds component by component."""
        return Capacity(
            self.cpu_millis + other.cpu_millis,
            self.memory_bytes + other.memory_bytes,
            self.gpu_millis + other.gpu_millis,
        )

    def less(self, other: "Capacity", times: int = 1) -> "Capacity":
        """Takes an amount away several times; nothing falls below zero."""
        return Capacity(
            max(self.cpu_millis - times * other.cpu_millis, 0),
            max(self.memory_bytes - times * other.memory_bytes, 0),
            max(self.gpu_millis - times * other.gpu_millis, 0),
        )

    @property
    def amounts(self) -> Amounts:
        """Returns the same as a triple."""
        return (self.cpu_millis, self.memory_bytes, self.gpu_millis)


def offered(cpus: float, memory_bytes: int, gpus: float) -> Capacity:
    """Rounds what a node offers down; what is no amount of a machine counts nothing."""
    return Capacity(_millis(cpus), memory_bytes if 0 <= memory_bytes <= _MOST_BYTES else 0, _millis(gpus))


def _millis(amount: float) -> int:
    if not math.isfinite(amount) or not 0.0 <= amount <= _MOST:
        return 0
    return floor(round(amount * _PERMILLE, _DECIMALS))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a training needs: equal workers that start together or not at all."""

    training: str
    worker: Capacity
    workers: int = 1
    gpu_type: str = ""
    allows_spot: bool = True


def demand_of(training: str, resources: Resources) -> Demand:
    """Rounds what a training asks for up."""
    worker = Capacity(
        ceil(round(resources.cpus * _PERMILLE, _DECIMALS)),
        resources.memory_bytes,
        ceil(round(resources.gpus * _PERMILLE, _DECIMALS)),
    )
    return Demand(
        training, worker, resources.gang_workers or 1, resources.gpu_type, resources.spot_policy != "NEVER"
    )


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node as it last described itself; `seen_time` is when that was true at the latest."""

    name: str
    total: Capacity
    gpu_type: str
    schedulable: bool
    spot: bool
    zone: str
    revision: int
    seen_time: datetime
