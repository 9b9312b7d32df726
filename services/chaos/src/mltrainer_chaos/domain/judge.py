"""Judges the steady state around faults: how soon it came back, and whether that was soon enough."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class SteadyStateJudge:
    """Hears of faults and of samples, in seconds that never jump.

    A sample that fails within the tolerance after a fault is what the experiment is about; any other one is a
    deviation. The time of recovery runs from the injection to the end of the first sample that was taken
    wholly after it and was good; of several faults, the slowest counts.

    Attributes:
        deviation: Why the hypothesis is disproved; None while it holds.
    """

    recovery_tolerance_s: float
    recovery_s: float | None = None
    deviation: str | None = None
    _injected_s: float | None = None
    _effective_s: float | None = field(default=None, init=False)

    @property
    def awaits_recovery(self) -> bool:
        """Tells whether no good sample has followed the latest fault yet."""
        return self._effective_s is not None

    def remaining_s(self, now_s: float) -> float:
        """Returns how much of the tolerance is left after the latest fault."""
        return max(0.0, (self._injected_s or 0.0) + self.recovery_tolerance_s - now_s)

    def fault_begins(self, begun_s: float) -> None:
        """Notes a fault about to be injected: a sample may see its effect before the injector returns."""
        self._injected_s = begun_s

    def fault_injected(self, injected_s: float, effective_s: float) -> None:
        """Notes a fault: when it was begun, and when its effect was certain."""
        self._injected_s, self._effective_s = injected_s, effective_s

    def sampled(self, start_s: float, end_s: float, *, met: bool) -> bool:
        """Takes one sample of the whole hypothesis and tells whether it shows a recovery."""
        if not met:
            self._failed(end_s)
            return False
        if self._injected_s is None or self._effective_s is None or start_s < self._effective_s:
            return False
        recovery_s = end_s - self._injected_s
        self._effective_s = None
        self.recovery_s = max(recovery_s, self.recovery_s or 0.0)
        if recovery_s > self.recovery_tolerance_s:
            self._deviate(f"the steady state held again only {recovery_s:.2f} s after the fault")
        return True

    def _failed(self, end_s: float) -> None:
        if self._injected_s is None:
            self._deviate("the steady state did not hold although nothing had been injected")
        elif (since_s := end_s - self._injected_s) > self.recovery_tolerance_s:
            self._deviate(f"the steady state did not hold {since_s:.2f} s after the fault")

    def _deviate(self, why: str) -> None:
        if self.deviation is None:
            self.deviation = f"{why}; the tolerance is {self.recovery_tolerance_s:g} s"
