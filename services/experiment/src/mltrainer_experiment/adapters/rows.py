"""Translates between rows and domain values."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mltrainer_experiment.domain.analysis import Conclusion, Result, VariantSummary
from mltrainer_experiment.domain.experiment import (
    Definition,
    Experiment,
    ExperimentState,
    Exposure,
    Outcome,
    Variant,
)

Row = Any
"""A row of SQLAlchemy; its columns are attributes."""


def experiment_row(experiment: Experiment) -> dict[str, Any]:
    """Writes an experiment."""
    definition = experiment.definition
    return {
        "experiment_id": experiment.experiment_id,
        "model": definition.model,
        "variants": json.dumps([asdict(arm) for arm in definition.variants]),
        "metric": definition.metric,
        "traffic": definition.traffic,
        "alpha": definition.alpha,
        "max_loss": definition.max_loss,
        "salt": experiment.salt,
        "request_id": experiment.request_id,
        "state": experiment.state,
        "start_time": experiment.start_time,
        "end_time": experiment.end_time,
        "decision": experiment.decision,
        "revision": experiment.revision,
    }


def read_experiment(row: Row) -> Experiment:
    """Reads an experiment."""
    variants = tuple(Variant(**arm) for arm in json.loads(row.variants))
    return Experiment(
        experiment_id=row.experiment_id,
        definition=Definition(row.model, variants, row.metric, row.traffic, row.alpha, row.max_loss),
        salt=row.salt,
        request_id=row.request_id,
        state=ExperimentState(row.state),
        start_time=row.start_time,
        end_time=row.end_time,
        decision=row.decision,
        revision=row.revision,
    )


def exposure_row(exposure: Exposure) -> dict[str, Any]:
    """Writes an exposure."""
    return asdict(exposure)


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """Writes an outcome under its market day."""
    return {
        "experiment_id": outcome.experiment_id,
        "outcome_id": outcome.outcome_id,
        "unit": outcome.unit,
        "event_day": outcome.event_time.astimezone(UTC).date(),
        "value": outcome.value,
    }


def result_json(result: Result) -> str:
    """Writes a result."""
    return json.dumps({**asdict(result), "compute_time": result.compute_time.isoformat()})


def read_result(text: str) -> Result:
    """Reads a result."""
    document = json.loads(text)
    document["variants"] = tuple(VariantSummary(**arm) for arm in document["variants"])
    document["conclusion"] = Conclusion(document["conclusion"])
    document["compute_time"] = datetime.fromisoformat(document["compute_time"])
    return Result(**document)
