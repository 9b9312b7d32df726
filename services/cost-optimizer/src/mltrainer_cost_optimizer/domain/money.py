"""Turns reserved amounts, time and prices into whole millionths of a USD, exactly."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_HOUR_US = 3_600_000_000
_MICROSECOND = timedelta(microseconds=1)


class Resource(StrEnum):
    """What can be reserved."""

    CPU = "CPU"
    MEMORY = "MEMORY"
    GPU = "GPU"


_PRICED_AMOUNT = {Resource.CPU: 1_000, Resource.MEMORY: 1 << 30, Resource.GPU: 1_000}
"""How much of an amount (thousandths of a core or GPU, bytes) one unit of the price is."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A reserved amount of one resource with the prices that apply to it for good.

    Attributes:
        amount: Thousandths of a core or of a GPU, or bytes.
        unit_price_micros: Billed for one unit and hour.
        list_unit_price_micros: On-demand price of one unit and hour.
        price_file: Name and date of the price file that both come from.
    """

    sku_id: str
    resource: Resource
    amount: int
    unit_price_micros: int
    list_unit_price_micros: int
    price_file: str

    def billed_micros(self, elapsed_us: int) -> int:
        """Returns what is billed from the start up to a moment."""
        return self._cost(self.unit_price_micros, elapsed_us)

    def list_micros(self, elapsed_us: int) -> int:
        """Returns what on-demand would have cost up to a moment."""
        return self._cost(self.list_unit_price_micros, elapsed_us)

    def quantity(self, elapsed_us: int) -> float:
        """Returns the amount in units of the price: cpu-hours, GiB-hours, gpu-hours."""
        return self.amount * elapsed_us / (_PRICED_AMOUNT[self.resource] * _HOUR_US)

    def _cost(self, price_micros: int, elapsed_us: int) -> int:
        return divide(self.amount * elapsed_us * price_micros, _PRICED_AMOUNT[self.resource] * _HOUR_US)


def divide(numerator: int, denominator: int) -> int:
    """Divides whole numbers; a half goes to the even neighbour, so that no sign of error prevails."""
    quotient, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient % 2):
        return quotient + 1
    return quotient


def unused_micros(cost_micros: int, used: int, reserved: int) -> int:
    """Returns the part of a cost that the unused share of a reservation makes up; never below zero."""
    if reserved <= 0:
        return 0
    return cost_micros - divide(cost_micros * min(used, reserved), reserved)


def elapsed_us(start: datetime, end: datetime) -> int:
    """Returns the whole microseconds between two times; zero where the end comes first."""
    return max(0, (end - start) // _MICROSECOND)
