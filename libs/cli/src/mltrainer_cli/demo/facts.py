"""What the demonstration found; the same facts as tables and as JSON."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class LeaderboardRow:
    """One model on the same purged folds."""

    model: str
    r2: float
    qlike: float
    fold_r2: list[float]
    chosen: bool


@dataclass(slots=True)
class VolatilityFacts:
    """The training that finds a signal."""

    model: str
    r2: float
    qlike: float
    har_r2: float
    persistence_r2: float
    verdict: str
    reason: str
    leaderboard: list[LeaderboardRow]
    trials: int
    cpu_seconds: float


@dataclass(slots=True)
class ReturnsFacts:
    """The training that finds none."""

    verdict: str
    reason: str
    model: str
    trials: int


@dataclass(slots=True)
class VersionFacts:
    """What was registered."""

    name: str
    number: int
    digest: str
    lineage: dict[str, Any]
    gate: list[dict[str, Any]]


@dataclass(slots=True)
class PredictFacts:
    """How predictions were answered."""

    calls: int
    failed: int
    p50_ms: float
    p99_ms: float
    version: int


@dataclass(slots=True)
class Facts:
    """Everything; sections are absent until their step is done."""

    elapsed_s: float = 0.0
    market: dict[str, Any] = field(default_factory=dict)
    volatility: VolatilityFacts | None = None
    returns: ReturnsFacts | None = None
    version: VersionFacts | None = None
    predict: PredictFacts | None = None
    experiment: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None
    slos: list[dict[str, Any]] | None = None
    bill: dict[str, Any] | None = None
    chaos: dict[str, Any] | None = None
    trace_id: str = ""
    trace: dict[str, int] = field(default_factory=dict)
    data_directory: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; a number that is not finite is absent, as JSON has none."""
        content: dict[str, Any] = _finite(asdict(self))
        return content


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
