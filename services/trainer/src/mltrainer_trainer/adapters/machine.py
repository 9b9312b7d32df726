"""Measures the machine this trainer executes on."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from mltrainer_trainer.domain.release import NodeReport

# What the operating system and the services themselves keep of the memory.
_OWN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class MachineProbe:
    """Reports the capacity of this machine; `cpus` and `memory_bytes` of zero are measured."""

    node: str
    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: float = 0.0
    gpu_type: str = ""
    zone: str = ""
    spot: bool = False

    async def reports(self) -> Sequence[NodeReport]:
        """Says what the node offers now."""
        return [self._report(datetime.now(UTC))]

    def _report(self, now: datetime) -> NodeReport:
        return NodeReport(
            node=self.node,
            cpus=self.cpus or float(_usable_cpus()),
            memory_bytes=self.memory_bytes or int(psutil.virtual_memory().total * (1 - _OWN_SHARE)),
            schedulable=True,
            # Grows over restarts without being stored.
            revision=int(now.timestamp() * 1000),
            report_time=now,
            gpus=self.gpus,
            gpu_type=self.gpu_type,
            zone=self.zone,
            spot=self.spot,
        )


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
