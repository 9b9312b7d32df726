"""Computes the key under which the result of a training can be reused."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mltrainer_models.canonical import encode_canonical
from mltrainer_models.computation_key import computation_document, computation_key, floor_to_closed_bar
from mltrainer_models.training_key import CatalogueModel, TrainingInputs, ViewRead, training_computation

from mltrainer_scheduler.domain.catalogue import CatalogueEntry, Selection, ViewVersion
from mltrainer_scheduler.domain.specification import TrainingSpec


@dataclass(frozen=True, slots=True)
class BarCalendar:
    """When bars close: every interval from an offset after midnight UTC."""

    interval_s: float = 86_400.0
    close_offset_s: float = 75_600.0

    def closed(self, as_of: datetime) -> datetime:
        """Moves a knowledge time back to the last close."""
        return floor_to_closed_bar(
            as_of, timedelta(seconds=self.interval_s), timedelta(seconds=self.close_offset_s)
        )


def closed_as_of(spec: TrainingSpec, calendar: BarCalendar) -> datetime:
    """Returns the knowledge time that an attempt of a valid specification reads at."""
    assert spec.as_of is not None
    return calendar.closed(spec.as_of)


@dataclass(frozen=True, slots=True)
class KeyedInputs:
    """A key and the canonical document that it hashes."""

    key: str
    document: bytes


def key_of(spec: TrainingSpec, selection: Selection, calendar: BarCalendar) -> str:
    """Returns the key of a valid specification after defaults; equal keys mean equal results."""
    return keyed_inputs(spec, selection, calendar).key


def keyed_inputs(spec: TrainingSpec, selection: Selection, calendar: BarCalendar) -> KeyedInputs:
    """Returns the key of a valid specification after defaults with all that decides it."""
    inputs = training_computation(
        _inputs(spec, calendar),
        code_digest=selection.release.code_digest,
        environment_digest=selection.release.environment_digest,
        models=[_model(entry) for entry in selection.entries],
        views=[_view(view) for view in selection.views],
    )
    return KeyedInputs(computation_key(inputs), encode_canonical(computation_document(inputs)))


def _inputs(spec: TrainingSpec, calendar: BarCalendar) -> TrainingInputs:
    assert spec.target is not None
    assert spec.evaluation is not None
    assert spec.evaluation.first_test_time is not None
    assert spec.search is not None
    assert spec.budget is not None
    return TrainingInputs(
        target_kind=spec.target.kind,
        horizon_bars=spec.target.horizon_bars,
        symbols=spec.symbols,
        as_of=closed_as_of(spec, calendar),
        first_test_time=spec.evaluation.first_test_time,
        refit_interval_bars=spec.evaluation.refit_interval_bars,
        embargo_bars=spec.evaluation.embargo_bars,
        combinatorial_groups=spec.evaluation.combinatorial_groups,
        combinatorial_test_groups=spec.evaluation.combinatorial_test_groups,
        max_trials=spec.search.max_trials,
        seed=spec.search.seed,
        cpu_seconds=spec.budget.cpu_seconds,
    )


def _model(entry: CatalogueEntry) -> CatalogueModel:
    return CatalogueModel(entry.id, entry.family, entry.digest, frozenset(entry.target_kinds))


def _view(view: ViewVersion) -> ViewRead:
    return ViewRead(view.feature_view, view.version, view.definition_digest, view.data_revision)
