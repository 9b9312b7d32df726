"""Encodes experiments and results as the resources of the contract, and definitions back."""

from mltrainer.experiment.v1 import experiment_service_pb2 as api
from mltrainer.experiment.v1 import resources_pb2 as resources

from mltrainer_experiment.domain.analysis import Result
from mltrainer_experiment.domain.experiment import (
    Arm,
    Definition,
    Experiment,
    ExperimentState,
    Variant,
    experiment_name,
)
from mltrainer_experiment.wire.times import to_timestamp

_STATES = {
    ExperimentState.DRAFT: resources.Experiment.STATE_DRAFT,
    ExperimentState.ACTIVE: resources.Experiment.STATE_ACTIVE,
    ExperimentState.DECIDED: resources.Experiment.STATE_DECIDED,
    ExperimentState.STOPPED: resources.Experiment.STATE_STOPPED,
}
_DEFAULT_TRAFFIC = 1.0
_DEFAULT_ALPHA = 0.05


def to_definition(experiment: resources.Experiment) -> Definition:
    """Decodes what a user decides; everything else in the resource is the server's."""
    return Definition(
        model=experiment.model,
        variants=tuple(Variant(arm.variant, arm.alias, arm.weight) for arm in experiment.variants),
        metric=experiment.metric,
        traffic=experiment.traffic or _DEFAULT_TRAFFIC,
        alpha=experiment.alpha or _DEFAULT_ALPHA,
        max_loss=experiment.max_loss,
    )


def encode_experiment(experiment: Experiment) -> resources.Experiment:
    """Encodes an experiment."""
    definition = experiment.definition
    return resources.Experiment(
        name=experiment.name,
        model=definition.model,
        variants=[
            resources.Variant(variant=arm.variant, alias=arm.alias, weight=arm.weight)
            for arm in definition.variants
        ],
        traffic=definition.traffic,
        salt=experiment.salt,
        state=_STATES[experiment.state],
        metric=definition.metric,
        alpha=definition.alpha,
        max_loss=definition.max_loss,
        start_time=to_timestamp(experiment.start_time) if experiment.start_time else None,
        end_time=to_timestamp(experiment.end_time) if experiment.end_time else None,
        decision=experiment.decision,
        revision=experiment.revision,
        etag=f"r{experiment.revision}",
    )


def encode_result(result: Result) -> resources.ExperimentResult:
    """Encodes a result."""
    return resources.ExperimentResult(
        experiment=experiment_name(result.experiment_id),
        variants=[
            resources.VariantResult(
                variant=one.variant,
                exposed_units=one.exposed_units,
                outcome_count=one.outcome_count,
                mean=one.mean,
                standard_error=one.standard_error,
            )
            for one in result.variants
        ],
        effect=result.effect,
        effect_lower=result.lower,
        effect_upper=result.upper,
        p_value=result.p_value,
        srm_p_value=result.srm_p_value,
        conclusion=result.conclusion,
        explanation=result.explanation,
        compute_time=to_timestamp(result.compute_time),
    )


def encode_arm(arm: Arm) -> api.AssignUnitResponse:
    """Encodes the arm of a unit."""
    return api.AssignUnitResponse(
        variant=arm.variant, alias=arm.alias, exposed=arm.exposed, revision=arm.revision
    )
