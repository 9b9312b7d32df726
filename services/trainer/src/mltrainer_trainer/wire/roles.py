"""Says who may call what."""

from mltrainer_common.authorization import READERS, Role, RoleTable

_TRAINER = "/mltrainer.trainer.v1.TrainerService/"
_REPORTS = "/mltrainer.trainer.v1.AttemptReportService/"
_READS = (
    "GetStudy",
    "ListStudies",
    "ListTrials",
    "GetAttempt",
    "ListAttempts",
    "ListCatalogueEntries",
)
_WRITES = ("ReportProgress", "RecordTrials", "ListFinishedSteps", "ReportSuccess", "ReportFailure")

_RETRAININGS = "/mltrainer.trainer.v1.RetrainingService/"
_RETRAINING_READS = ("GetRetraining", "ListRetrainings", "ListRetrainingRuns")
_RETRAINING_WRITES = ("CreateRetraining", "UpdateRetraining", "DeleteRetraining", "StartRetraining")

ROLES = RoleTable(
    {_TRAINER + method: READERS for method in _READS}
    | {_REPORTS + method: {Role.SERVICE} for method in _WRITES}
    | {_RETRAININGS + method: READERS for method in _RETRAINING_READS}
    | {_RETRAININGS + method: {Role.OPERATOR, Role.PRODUCER} for method in _RETRAINING_WRITES}
)
