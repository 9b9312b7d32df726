"""Who may call what; a method that is not listed is denied."""

from mltrainer_common.authorization import READERS, Role, RoleTable

_PREDICTORS = frozenset({Role.TRADER, Role.OPERATOR, Role.SERVICE})
_INFERENCE = "/inference.GRPCInferenceService/"
_SERVING = "/mltrainer.serving.v1.ServingService/"

ROLES = RoleTable(
    {
        f"{_INFERENCE}ServerLive": frozenset({Role.ANYONE}),
        f"{_INFERENCE}ServerReady": frozenset({Role.ANYONE}),
        f"{_INFERENCE}ServerMetadata": READERS,
        f"{_INFERENCE}ModelReady": READERS,
        f"{_INFERENCE}ModelMetadata": READERS,
        f"{_INFERENCE}ModelInfer": _PREDICTORS,
        f"{_SERVING}GetDeployment": READERS,
        f"{_SERVING}ListDeployments": READERS,
    }
)
