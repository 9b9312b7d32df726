"""Spells what a training computes as key inputs, so that whoever plans it and whoever executes it agree."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mltrainer_models.canonical import canonical_digest
from mltrainer_models.computation_key import ComputationInputs, EvaluationInputs, SearchInputs, ViewInputs


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model of a catalogue, as far as selecting it is concerned.

    Attributes:
        target_kinds: Names of the contract without their prefix, such as `LOG_REALIZED_VARIANCE`.
        is_available: Whether it can be fitted where the training would execute.
    """

    id: str
    family: str
    digest: str
    target_kinds: frozenset[str]
    is_available: bool = True


@dataclass(frozen=True, slots=True)
class ViewRead:
    """One feature view as it is read."""

    feature_view: str
    version: int
    definition_digest: str
    data_revision: int


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """What a training asks for, after defaults.

    Attributes:
        as_of: Knowledge time, floored to a closed bar.
        cpu_seconds: Budget; other limits end a training without changing what it computes.
    """

    target_kind: str
    horizon_bars: int
    symbols: Sequence[str]
    as_of: datetime
    first_test_time: datetime
    refit_interval_bars: int
    embargo_bars: int
    max_trials: int
    seed: int
    cpu_seconds: float
    combinatorial_groups: int = 0
    combinatorial_test_groups: int = 0


def selected_models(
    names: Iterable[str], target_kind: str, catalogue: Iterable[CatalogueModel]
) -> tuple[CatalogueModel, ...]:
    """Returns the available models that ids or families name and that predict the target, by id."""
    wanted = frozenset(names)
    chosen = [
        model
        for model in catalogue
        if wanted & {model.id, model.family} and model.is_available and target_kind in model.target_kinds
    ]
    return tuple(sorted(chosen, key=lambda model: model.id))


def catalogue_digest(digests_by_id: Mapping[str, str]) -> str:
    """Hashes the entries that a search selects."""
    return canonical_digest(digests_by_id)


def training_computation(
    training: TrainingInputs,
    *,
    code_digest: str,
    environment_digest: str,
    models: Iterable[CatalogueModel],
    views: Iterable[ViewRead],
) -> ComputationInputs:
    """Puts together what decides the result; give it to `computation_key`."""
    digests = {model.id: model.digest for model in models}
    return ComputationInputs(
        code_digest=code_digest,
        environment_digest=environment_digest,
        catalogue_digest=catalogue_digest(digests),
        views=tuple(
            ViewInputs(f"{view.feature_view}@{view.version}", view.definition_digest, str(view.data_revision))
            for view in views
        ),
        target_kind=training.target_kind,
        horizon_bars=training.horizon_bars,
        symbols=tuple(training.symbols),
        as_of=training.as_of,
        evaluation=EvaluationInputs(
            training.first_test_time.astimezone(UTC).isoformat(),
            f"{training.refit_interval_bars} bars",
            training.embargo_bars,
            f"{training.combinatorial_test_groups} of {training.combinatorial_groups} groups"
            if training.combinatorial_groups
            else "",
        ),
        search=SearchInputs(tuple(digests), training.max_trials, training.seed),
        budget={"cpu_seconds": training.cpu_seconds},
    )
