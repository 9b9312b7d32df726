"""What a plan decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from mltrainer_scheduling.snapshot import Snapshot

from mltrainer_scheduler.domain.training import Share

NODE_SHRANK = "NODE_SHRANK"
LARGER_THAN_QUOTA = "LARGER_THAN_QUOTA"
FAIR_SHARE_REACHED = "FAIR_SHARE_REACHED"


@dataclass(frozen=True, slots=True)
class Begin:
    """A training gets its place."""

    training: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """A training loses its place, for a reason and usually for another training."""

    training: str
    reason: str
    beneficiary: str = ""


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a training waits, and which trainings hold or get what it needs."""

    reason: str
    blockers: tuple[str, ...] = ()
    is_lasting: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """How a policy ranked: names in order, their urgencies, and who can start on no event at all."""

    order: tuple[str, ...]
    urgency_s: tuple[float, ...]
    hopeless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decisions:
    """What one plan decides; stops come first."""

    stops: tuple[Stop, ...] = ()
    begins: tuple[Begin, ...] = ()
    waits: Mapping[str, Hindrance] = field(default_factory=dict)
    review_s: float = inf
    snapshot: Snapshot | None = None
    ranking: Ranking | None = None
    left_out: int = 0
