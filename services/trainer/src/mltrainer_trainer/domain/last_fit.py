"""Fits what was chosen on every row, as serving will load it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from mltrainer_models import BlendModel, LibraryModel, ModelDescription, ModelTarget

from mltrainer_trainer.domain.catalogue import Parameters
from mltrainer_trainer.domain.learners import FittedModel
from mltrainer_trainer.domain.objectives import OBJECTIVES
from mltrainer_trainer.domain.panel_fits import PanelFit
from mltrainer_trainer.domain.search import Trial
from mltrainer_trainer.domain.selection import Selection, name_of
from mltrainer_trainer.domain.study import Study
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, eq=False, slots=True)
class LastFit:
    """A model with the columns it reads and what it predicts for the rows it was fitted on."""

    model: FittedModel | BlendModel
    matrix: Floats
    predictions: Floats


@dataclass(frozen=True, eq=False, slots=True)
class _Written:
    fit: PanelFit
    model: FittedModel
    matrix: Floats


def fit_last(study: Study, selection: Selection, feature_views: Mapping[str, str]) -> LastFit:
    """Fits every member and combines them where there is something to combine.

    Raises:
        TrialFailedError: a member cannot be fitted.
        TypeError: a member is served in batch only and cannot be combined.
    """
    if selection.ensemble is None:
        return _fit_alone(study, selection.trial, feature_views)
    fits = {name_of(it): _fit_one(study, it, feature_views).model for it in selection.members}
    ensemble, data = selection.ensemble, study.data
    centre = 0.0 if OBJECTIVES[data.target].centre_is_zero else float(data.labels.mean())
    parts = [fits[name] for name in ensemble.weights]
    served = [part for part in parts if not isinstance(part, LibraryModel | BlendModel)]
    if len(served) < len(parts):
        raise TypeError("an ensemble is made of models that predict row by row")
    names = tuple(
        it for it in data.feature_names if any(it in part.description.feature_names for part in parts)
    )
    model = BlendModel(
        _description(study, selection.trial, names, selection.trial.parameters, feature_views),
        tuple(served),
        np.array([ensemble.slope * weight for weight in ensemble.weights.values()]),
        (1 - ensemble.slope) * centre + ensemble.level,
    )
    matrix = np.ascontiguousarray(data.matrix[:, data.columns(names)])
    return LastFit(model, matrix, model.evaluate(matrix))


def _fit_alone(study: Study, trial: Trial, feature_views: Mapping[str, str]) -> LastFit:
    one = _fit_one(study, trial, feature_views)
    return LastFit(one.model, one.matrix, one.fit.predict(study.data, np.arange(len(study.data))))


def _fit_one(study: Study, trial: Trial, feature_views: Mapping[str, str]) -> _Written:
    candidate, data = study.candidate(trial.catalogue_id), study.data
    fit = candidate.fit(data, np.arange(len(data)), trial.parameters, study.seed)
    names, matrix = fit.inputs(data)
    seed = {"seed": study.seed} if candidate.entry.is_seeded else {}
    parameters = {**candidate.entry.fixed, **trial.parameters, **seed}
    model = fit.to_model(_description(study, trial, names, parameters, feature_views))
    return _Written(fit, model, matrix)


def _description(
    study: Study,
    trial: Trial,
    names: tuple[str, ...],
    parameters: Parameters,
    feature_views: Mapping[str, str],
) -> ModelDescription:
    target = ModelTarget(study.data.target.value, study.data.horizon_bars)
    return ModelDescription(trial.catalogue_id, target, names, parameters, feature_views)
