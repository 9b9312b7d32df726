"""What capacity costs, for previews; bills are the cost-optimizer's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mltrainer_scheduler.domain.cluster import Capacity

_GIB = 1 << 30
_PERMILLE = 1_000
OTHER_GPU = "other"


@dataclass(frozen=True, slots=True)
class Price:
    """USD for one unit and hour."""

    on_demand: float
    spot: float


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices of CPUs, GiB of memory and GPUs by type."""

    cpu: Price
    memory_gib: Price
    gpus: Mapping[str, Price] = field(default_factory=dict)

    def usd_per_hour(self, worker: Capacity, workers: int, gpu_type: str, *, spot: bool) -> float | None:
        """Returns the price of workers on one node; None where its GPUs have none."""
        gpu = self.gpus.get(gpu_type) or self.gpus.get(OTHER_GPU)
        if worker.gpu_millis and gpu is None:
            return None
        units = [
            (self.cpu, worker.cpu_millis / _PERMILLE),
            (self.memory_gib, worker.memory_bytes / _GIB),
            (gpu or self.cpu, worker.gpu_millis / _PERMILLE),
        ]
        return workers * sum((price.spot if spot else price.on_demand) * count for price, count in units)
