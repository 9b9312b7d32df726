"""What is remembered of a model, and when its drift becomes an event."""

from dataclasses import dataclass, replace
from datetime import datetime

from mltrainer_monitor.domain.drift import DriftConclusion, DriftReport


@dataclass(frozen=True, slots=True)
class WatchedModel:
    """A model and its newest drift report.

    Attributes:
        revision: Grows with everything learnt about the model.
        evaluated_revision: What the report has seen.
        version: Number of the version that the report is about; 0 before the first.
        is_alarmed: An event was sent and the model has not been stable since.
        drift_revision: Events sent.
    """

    name: str
    revision: int = 0
    evaluated_revision: int = 0
    version: int = 0
    report: DriftReport | None = None
    is_alarmed: bool = False
    drift_revision: int = 0


@dataclass(frozen=True, slots=True)
class DriftOnset:
    """A model began to see other data than its reference."""

    model: str
    features: tuple[str, ...]
    detect_time: datetime
    revision: int


def conclude(
    model: WatchedModel, version: int, report: DriftReport
) -> tuple[WatchedModel, DriftOnset | None]:
    """Takes a report in; an onset is told once, until the model is stable or another version answers."""
    conclusion = report.comparison.conclusion
    was_alarmed = model.is_alarmed and model.version == version
    is_drifted = conclusion is DriftConclusion.DRIFTED
    is_alarmed = is_drifted or (was_alarmed and conclusion is not DriftConclusion.STABLE)
    is_onset = is_drifted and not was_alarmed
    changed = replace(
        model,
        evaluated_revision=model.revision,
        version=version,
        report=report,
        is_alarmed=is_alarmed,
        drift_revision=model.drift_revision + is_onset,
    )
    if not is_onset:
        return changed, None
    drifted = tuple(one.feature for one in report.comparison.features if one.drifted)
    return changed, DriftOnset(model.name, drifted, report.compute_time, changed.drift_revision)
