"""Says who may call what."""

from mltrainer_common.authorization import READERS, Role, RoleTable

_SERVICE = "/mltrainer.registry.v1.RegistryService"

ROLES = RoleTable(
    {
        f"{_SERVICE}/GetModel": READERS,
        f"{_SERVICE}/ListModels": READERS,
        f"{_SERVICE}/GetModelVersion": READERS,
        f"{_SERVICE}/ListModelVersions": READERS,
        f"{_SERVICE}/GetAlias": READERS,
        f"{_SERVICE}/ListAliasMoves": READERS,
        f"{_SERVICE}/ListGateEvaluations": READERS,
        f"{_SERVICE}/GetModelCard": READERS,
        f"{_SERVICE}/GetLineage": READERS,
        f"{_SERVICE}/ListDescendants": READERS,
        f"{_SERVICE}/GetGatePolicy": READERS,
        f"{_SERVICE}/ListGatePolicies": READERS,
        f"{_SERVICE}/ListGatePolicyChanges": READERS,
        f"{_SERVICE}/GetPromotion": READERS,
        f"{_SERVICE}/ListPromotions": READERS,
        f"{_SERVICE}/WatchModels": READERS,
        f"{_SERVICE}/UpdateModel": {Role.OPERATOR, Role.PRODUCER, Role.SERVICE},
        f"{_SERVICE}/UpdateModelVersion": {Role.OPERATOR, Role.PRODUCER, Role.SERVICE},
        f"{_SERVICE}/RequestPromotion": {Role.OPERATOR, Role.PRODUCER, Role.SERVICE},
        f"{_SERVICE}/ApprovePromotion": {Role.OPERATOR},
        f"{_SERVICE}/RejectPromotion": {Role.OPERATOR},
        f"{_SERVICE}/UpdateGatePolicy": {Role.OPERATOR},
        f"{_SERVICE}/MoveAlias": {Role.OPERATOR, Role.SERVICE},
        f"{_SERVICE}/RollBackAlias": {Role.OPERATOR, Role.SERVICE},
        f"{_SERVICE}/CreateModelVersion": {Role.OPERATOR, Role.SERVICE},
        f"{_SERVICE}/ArchiveModelVersion": {Role.OPERATOR},
        f"{_SERVICE}/UploadArtifact": {Role.SERVICE, Role.OPERATOR},
        f"{_SERVICE}/GetUpload": {Role.SERVICE, Role.OPERATOR},
        f"{_SERVICE}/DownloadArtifact": {Role.SERVICE, Role.OPERATOR},
        f"{_SERVICE}/CollectGarbage": {Role.OPERATOR},
    }
)
