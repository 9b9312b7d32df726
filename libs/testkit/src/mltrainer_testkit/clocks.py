"""A clock that moves only when a test moves it."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Tells the time it was last given; also a monotonic clock when called."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)) -> None:
        self._start = start
        self._now = start

    def now(self) -> datetime:
        """Returns the current time."""
        return self._now

    def __call__(self) -> float:
        """Returns the seconds since the start."""
        return (self._now - self._start).total_seconds()

    def advance(self, seconds: float) -> None:
        """Moves the time forward."""
        self._now += timedelta(seconds=seconds)

    def set(self, now: datetime) -> None:
        """Moves the time to a moment."""
        self._now = now
