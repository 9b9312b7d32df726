"""What is finished of a training, so that an attempt which begins again does not repeat it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A piece of work that is finished.

    Attributes:
        key: Digest that names what was computed, and from what.
        content: What it arrived at, in the words of whoever computed it.
        content_sha256: Where the content lies in the artifact store, if it is not here.
        cpu_seconds: What it took.
    """

    key: str
    content: bytes = b""
    content_sha256: str = ""
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StepScope:
    """For whom a step is finished: attempts of the same training that compute the same."""

    training: str
    computation_key: str


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search is; the smallest objective so far is None before the first trial."""

    trials_done: int
    trials_total: int
    best_objective: float | None = None


@dataclass(slots=True)
class CheckpointTimer:
    """Says when what was finished must be made safe, so that at most an interval of work is lost.

    A step cannot be interrupted: the next one is expected to take as long as the last. An interval of 0 means
    that only trials are kept.
    """

    interval_s: float
    safe_s: float
    last_s: float

    def is_due(self, now_s: float) -> bool:
        """Tells whether to make a checkpoint after a step that ends now."""
        step_s, self.last_s = now_s - self.last_s, now_s
        return self.interval_s > 0.0 and now_s - self.safe_s + step_s > self.interval_s

    def made(self, now_s: float) -> None:
        """Notes that everything up to now is safe."""
        self.safe_s = now_s
