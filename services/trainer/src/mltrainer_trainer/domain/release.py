"""What a trainer announces: the code it executes and the capacity of its node."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ReleasedModel:
    """One model of the catalogue; `target_kinds` are names such as `LOG_REALIZED_VARIANCE`, as is `task`."""

    id: str
    family: str
    target_kinds: tuple[str, ...]
    digest: str
    unavailable_reason: str = ""
    task: str = "REGRESSION"
    serves_row_by_row: bool = True
    extra: str = ""
    min_rows: int = 0


@dataclass(frozen=True, slots=True)
class CodeIdentity:
    """The part of a computation key that is code."""

    code_digest: str
    environment_digest: str


@dataclass(frozen=True, slots=True)
class Release:
    """What this kind of trainer executes."""

    trainer: str
    code: CodeIdentity
    models: tuple[ReleasedModel, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node offers."""

    node: str
    cpus: float
    memory_bytes: int
    schedulable: bool
    revision: int
    report_time: datetime
    gpus: float = 0.0
    gpu_type: str = ""
    zone: str = ""
    spot: bool = False
