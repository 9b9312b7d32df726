"""Prices what an allocation reserves."""

from collections.abc import Mapping
from dataclasses import dataclass

from mltrainer_cost_optimizer.domain.money import Rate, Resource

OTHER_GPU = "other"
"""Names the price of a GPU that the price file does not list."""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices of one unit and hour, in millionths of a USD."""

    on_demand_micros: int
    spot_micros: int


@dataclass(frozen=True, slots=True)
class PriceList:
    """What one unit of each resource costs for an hour.

    Attributes:
        label: Name and date of the price file.
        gpus: By GPU type; `OTHER_GPU` is there.
    """

    label: str
    cpu: Price
    memory: Price
    gpus: Mapping[str, Price]

    def rates(self, reserved: "Reserved", *, is_spot: bool) -> tuple[Rate, ...]:
        """Returns a rate for every resource that is reserved at all."""
        gpu_type = reserved.gpu_type or OTHER_GPU
        gpu = self.gpus.get(gpu_type, self.gpus[OTHER_GPU])
        lines = (
            ("cpu-hour", Resource.CPU, reserved.cpu_millis, self.cpu),
            ("memory-gib-hour", Resource.MEMORY, reserved.memory_bytes, self.memory),
            (f"gpu-hour/{gpu_type}", Resource.GPU, reserved.gpu_millis, gpu),
        )
        return tuple(
            Rate(
                sku_id,
                resource,
                amount,
                price.spot_micros if is_spot else price.on_demand_micros,
                price.on_demand_micros,
                self.label,
            )
            for sku_id, resource, amount, price in lines
            if amount > 0
        )


@dataclass(frozen=True, slots=True)
class Reserved:
    """What all workers of an allocation hold together; GPU type empty where any would do."""

    cpu_millis: int
    memory_bytes: int
    gpu_millis: int
    gpu_type: str
