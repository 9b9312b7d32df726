"""Writes resources."""

from mltrainer.monitor.v1 import resources_pb2 as pb

from mltrainer_monitor.application.browse import ObjectiveStatus
from mltrainer_monitor.domain.drift import DriftConclusion, DriftReport
from mltrainer_monitor.domain.scores import ModelScore


def from_report(report: DriftReport) -> pb.DriftReport:
    """Writes a drift report."""
    comparison = report.comparison
    message = pb.DriftReport(
        model=report.model,
        features=[
            pb.FeatureDrift(
                feature=one.feature,
                psi=one.psi,
                ks_statistic=one.ks_statistic,
                p_value=one.p_value,
                drifted=one.drifted,
            )
            for one in comparison.features
        ],
        reference_count=comparison.reference_count,
        window_count=comparison.window_count,
        drifted=comparison.conclusion is DriftConclusion.DRIFTED,
        conclusion=comparison.conclusion.value,
    )
    message.compute_time.FromDatetime(report.compute_time)
    return message


def from_score(score: ModelScore) -> pb.ModelScore:
    """Writes a score."""
    message = pb.ModelScore(
        version=score.version,
        prediction_count=score.prediction_count,
        labelled_count=score.labelled_count,
        label_coverage=score.label_coverage,
        r2=score.r2,
        rmse=score.rmse,
        mean_error=score.mean_error,
    )
    message.compute_time.FromDatetime(score.compute_time)
    return message


def from_status(status: ObjectiveStatus) -> pb.ServiceLevelObjective:
    """Writes an objective."""
    objective = status.objective
    return pb.ServiceLevelObjective(
        name=objective.name,
        service=objective.service,
        indicator=objective.indicator.value,
        objective=objective.objective,
        threshold_ms=objective.threshold_ms,
        good_count=status.counts.good,
        total_count=status.counts.total,
        budget_left=status.budget_left,
        burn_rate_5m=status.burn_rate_5m,
        burn_rate_1h=status.burn_rate_1h,
        window_s=objective.window_s,
    )
