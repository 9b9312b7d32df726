"""Scores versions once labels are known."""

import math
from dataclasses import dataclass
from datetime import datetime

MINIMUM_LABELS_FOR_R2 = 10


@dataclass(frozen=True, slots=True)
class ScoreSums:
    """What a score is made of; a prediction is due once a label of its event time or a later one is known."""

    prediction_count: int = 0
    due_count: int = 0
    labelled_count: int = 0
    squared_error_sum: float = 0.0
    label_deviation_sum: float = 0.0
    error_sum: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelScore:
    """How a version did; NaN where the labels do not suffice."""

    version: str
    prediction_count: int
    labelled_count: int
    label_coverage: float
    r2: float
    rmse: float
    mean_error: float
    compute_time: datetime


def score(version: str, sums: ScoreSums, now: datetime) -> ModelScore:
    """Turns sums into a score."""
    labelled = sums.labelled_count
    has_r2 = labelled >= MINIMUM_LABELS_FOR_R2 and sums.label_deviation_sum > 0
    return ModelScore(
        version=version,
        prediction_count=sums.prediction_count,
        labelled_count=labelled,
        label_coverage=labelled / sums.due_count if sums.due_count else math.nan,
        r2=1 - sums.squared_error_sum / sums.label_deviation_sum if has_r2 else math.nan,
        rmse=math.sqrt(sums.squared_error_sum / labelled) if labelled else math.nan,
        mean_error=sums.error_sum / labelled if labelled else math.nan,
        compute_time=now,
    )
