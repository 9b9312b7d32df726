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
        f"{_SERVICE}/WatchModels": READERS,
        f"{_SERVICE}/MoveAlias": {Role.OPERATOR, Role.SERVICE},
        f"{_SERVICE}/RollBackAlias": {Role.OPERATOR, Role.SERVICE},
        f"{_SERVICE}/CreateModelVersion": {Role.OPERATOR, Role.SERVICE},
        f"{_SERVICE}/ArchiveModelVersion": {Role.OPERATOR},
        f"{_SERVICE}/UploadArtifact": {Role.SERVICE},
        f"{_SERVICE}/DownloadArtifact": {Role.SERVICE, Role.OPERATOR},
    }
)
