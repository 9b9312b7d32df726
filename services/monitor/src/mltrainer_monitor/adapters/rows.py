"""Turns rows into values and back."""

from datetime import datetime
from typing import Any

from mltrainer_monitor.domain.counters import CounterReading
from mltrainer_monitor.domain.drift import Comparison, DriftConclusion, DriftReport, FeatureDrift
from mltrainer_monitor.domain.objectives import Counts, Indicator
from mltrainer_monitor.domain.watched_model import WatchedModel


def to_model(row: Any) -> WatchedModel:
    """Reads a model."""
    return WatchedModel(
        name=row.name,
        revision=row.revision,
        evaluated_revision=row.evaluated_revision,
        version=row.version,
        report=_to_report(row.name, row.report) if row.report else None,
        is_alarmed=row.is_alarmed,
        drift_revision=row.drift_revision,
    )


def report_columns(model: WatchedModel) -> dict[str, Any]:
    """Writes what an evaluation changes."""
    return {
        "evaluated_revision": model.evaluated_revision,
        "version": model.version,
        "report": _from_report(model.report) if model.report else None,
        "is_alarmed": model.is_alarmed,
        "drift_revision": model.drift_revision,
    }


def _to_report(model: str, document: dict[str, Any]) -> DriftReport:
    features = tuple(FeatureDrift(*fields) for fields in document["features"])
    comparison = Comparison(
        DriftConclusion(document["conclusion"]),
        features,
        document["reference_count"],
        document["window_count"],
    )
    return DriftReport(model, comparison, datetime.fromisoformat(document["compute_time"]))


def _from_report(report: DriftReport) -> dict[str, Any]:
    comparison = report.comparison
    features = [
        [one.feature, one.psi, one.ks_statistic, one.p_value, one.drifted, one.effective_count]
        for one in comparison.features
    ]
    return {
        "conclusion": comparison.conclusion.value,
        "features": features,
        "reference_count": comparison.reference_count,
        "window_count": comparison.window_count,
        "compute_time": report.compute_time.isoformat(),
    }


def to_reading(row: Any) -> CounterReading:
    """Reads the counters of an instance."""
    counts = {Indicator(name): Counts(*pair) for name, pair in row.counts.items()}
    return CounterReading(row.process_start_s, counts)


def from_counts(reading: CounterReading) -> dict[str, list[int]]:
    """Writes the counters of an instance."""
    return {name.value: [counts.good, counts.total] for name, counts in reading.counts.items()}
