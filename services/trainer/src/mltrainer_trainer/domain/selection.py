"""Chooses what a training tests and fits last: a baseline, a model, or an ensemble of the best ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mltrainer_models import canonical_digest

from mltrainer_trainer.domain.catalogue import Parameter
from mltrainer_trainer.domain.cpu_budget import SearchBudget
from mltrainer_trainer.domain.ensembles import MAXIMUM_MEMBERS, Ensemble, OutOfFold, build_ensemble
from mltrainer_trainer.domain.losses_by_month import monthly_losses
from mltrainer_trainer.domain.metrics import OutOfSample, joined
from mltrainer_trainer.domain.objectives import OBJECTIVES, Blending, score
from mltrainer_trainer.domain.search import TRAINING_BARS, Trial, TrialState
from mltrainer_trainer.domain.study import Study
from mltrainer_trainer.domain.training_data import DataProblemError, Floats, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold

ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen.

    Attributes:
        trial: The chosen configuration; of an ensemble, its weights, slope and level.
        members: The trials it is made of; of a single model, that one.
        ensemble: How to combine the members by their `name_of`; None where the only one is taken as it is.
    """

    trial: Trial
    members: tuple[Trial, ...]
    ensemble: Ensemble | None = None


def name_of(trial: Trial) -> str:
    """Names a member of an ensemble; a model may have two, one of them fitted on the latest dates only."""
    bars = trial.parameters.get(TRAINING_BARS)
    return f"{trial.catalogue_id}@{bars}" if bars else trial.catalogue_id


def select(study: Study, budget: SearchBudget) -> Selection:
    """Chooses by validation rows alone.

    A baseline is chosen where no other model does better, or where nothing the others say of returns differs
    from chance. Models that are not served row by row are not combined; one of them is chosen where it does
    better alone.

    Raises:
        DataProblemError: no trial was completed.
    """
    alone = _alone(study)
    models = _affordable(study, budget)
    if not models and not alone:
        details = "; ".join(f"{it.catalogue_id}: {it.detail}" for it in study.trials)
        raise DataProblemError(f"no model could be fitted: {details}", "MODEL_DIVERGED")
    if not models:
        return Selection(alone[0], (alone[0],))
    rows = _out_of_fold(study, models)
    names = [name_of(it) for it in models]
    ensemble = build_ensemble(names, rows, study.data.target, study.data.horizon_bars)
    if alone and (ensemble.slope == 0.0 or alone[0].objective <= ensemble.objective):
        return Selection(alone[0], (alone[0],))
    members = tuple(it for it in models if name_of(it) in ensemble.weights)
    if ensemble.is_plain:
        return Selection(members[0], members)
    trial = _trial(study, members, ensemble, rows, dict(zip(names, rows.predictions.T, strict=True)))
    study.add(trial)
    return Selection(trial, members, ensemble)


def centre_of(data: TrainingData, fold: Fold) -> float:
    """Says what predictions of a fold are shrunk towards: zero for excess returns, else the training mean."""
    if OBJECTIVES[data.target].centre_is_zero:
        return 0.0
    return float(data.labels[fold.train].mean())


def _alone(study: Study) -> list[Trial]:
    """Ranks what is taken as it is: baselines, and models that cannot be combined."""
    others = [it for it in study.ranking(baselines=False) if not _is_combined(study, it)]
    return sorted([*study.ranking(baselines=True), *others], key=lambda it: it.objective)


def _affordable(study: Study, budget: SearchBudget) -> list[Trial]:
    """Takes the best model, and further ones to combine with it, within what is left of the budget."""
    ranked = [it for it in study.ranking(baselines=False) if _is_combined(study, it)]
    if not ranked:
        return []
    others = [it for one in ranked for it in study.champions(one.catalogue_id)]
    chosen = ranked[:1]
    spent_s = study.spent_cpu_seconds() + study.reserved_cpu_seconds(budget, chosen)
    left = budget.cpu_seconds - spent_s
    for trial in others:
        cost = budget.choosing_s(study.fit_cpu_seconds(trial))
        if trial is not ranked[0] and cost <= left and len(chosen) < MAXIMUM_MEMBERS:
            chosen.append(trial)
            left -= cost
    return chosen


def _is_combined(study: Study, trial: Trial) -> bool:
    blends = OBJECTIVES[study.data.target].blending is not Blending.NONE
    return blends and study.candidate(trial.catalogue_id).entry.serves_row_by_row


def _out_of_fold(study: Study, models: Sequence[Trial]) -> OutOfFold:
    parts = [_results(study, it) for it in models]
    first = joined(parts[0])
    sizes = [len(fold.test) for fold in study.folds]
    centres = [centre_of(study.data, fold) for fold in study.folds]
    return OutOfFold(
        date=first.date,
        fold=np.repeat(np.arange(len(sizes)), sizes),
        labels=first.labels,
        centre=np.repeat(centres, sizes),
        predictions=np.stack([joined(it).predictions for it in parts], axis=1),
    )


def _results(study: Study, trial: Trial) -> list[OutOfSample]:
    known = study.results.get(trial.configuration_digest)
    if known is not None:
        return known
    candidate = study.candidate(trial.catalogue_id)
    return [candidate.test(study.data, fold, trial.parameters, study.seed) for fold in study.folds]


def _trial(
    study: Study,
    members: Sequence[Trial],
    ensemble: Ensemble,
    rows: OutOfFold,
    predictions: Mapping[str, Floats],
) -> Trial:
    combined = ensemble.combine(predictions, rows.centre)
    result = OutOfSample(rows.date, rows.labels, combined, rows.centre)
    parameters: dict[str, Parameter] = {f"weight.{name}": weight for name, weight in ensemble.weights.items()}
    parameters |= {"slope": ensemble.slope, "level": ensemble.level}
    digests = [it.configuration_digest for it in members]
    return Trial(
        number=len(study.trials) + 1,
        catalogue_id=ENSEMBLE,
        parameters=parameters,
        seed=study.seed,
        objective=ensemble.objective,
        metrics=score(result, study.data.target, study.data.horizon_bars),
        cpu_seconds=0.0,
        configuration_digest=canonical_digest({"members": digests, "parameters": parameters}),
        state=TrialState.COMPLETE,
        monthly_losses=monthly_losses(study.months(), result),
    )
