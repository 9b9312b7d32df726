"""Tells wall, monotonic and market time; nothing else in the platform reads a clock."""

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


class Monotonic(Protocol):
    """Tells seconds that never jump; for leases held in memory, timeouts and durations."""

    def __call__(self) -> float:
        """Returns seconds since an arbitrary start."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """Tells the wall time."""

    def now(self) -> datetime:
        """Returns the current UTC time."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class MonotonicClock:
    """Tells the monotonic time of this process."""

    def __call__(self) -> float:
        """Returns seconds since an arbitrary start."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """Tells market time as `market_start + speed * (wall now - wall_anchor)`.

    Every process with the same specification agrees, whenever it starts.
    """

    market_start_time: datetime
    wall_anchor_time: datetime
    speed: float
    wall: Clock = field(default_factory=SystemClock)

    def now(self) -> datetime:
        """Returns the current market time."""
        return self.market_start_time + self.speed * (self.wall.now() - self.wall_anchor_time)


_REPLAY = re.compile(r"replay:(?P<start>[^@]+)@(?P<anchor>[^@x]+)x(?P<speed>[0-9.]+)")


def parse_market_clock(specification: str, wall: Clock | None = None) -> Clock:
    """Builds the market clock that `MLTRAINER_MARKET_CLOCK` describes.

    Raises:
        ValueError: The specification is neither `wall` nor a well-formed replay.
    """
    wall = wall or SystemClock()
    if specification == "wall":
        return wall
    match = _REPLAY.fullmatch(specification)
    if match is None:
        raise ValueError(
            f"market clock {specification!r} is neither 'wall' nor 'replay:<start ISO>@<anchor ISO>x<speed>'"
        )
    speed = float(match["speed"])
    if speed <= 0:
        raise ValueError(f"market clock {specification!r} must run forward: the speed must be above 0")
    return ReplayClock(_utc(match["start"]), _utc(match["anchor"]), speed, wall)


def _utc(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
