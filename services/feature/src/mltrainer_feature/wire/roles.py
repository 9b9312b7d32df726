"""Says who may call what."""

from mltrainer_common.authorization import READERS, Role, RoleTable

_WRITERS = {Role.OPERATOR, Role.SERVICE}
_SERVICE = "/mltrainer.feature.v1.FeatureService"
_ONLINE = "/mltrainer.feature.v1.OnlineFeatureService"
_FEAST = "/feast.serving.ServingService"
_FEAST_LISTEN = "/GrpcFeatureServer"

ROLES = RoleTable(
    {
        f"{_SERVICE}/CreateDataset": _WRITERS,
        f"{_SERVICE}/GetDataset": READERS,
        f"{_SERVICE}/ListDatasets": READERS,
        f"{_SERVICE}/CancelDataset": _WRITERS,
        f"{_SERVICE}/CollectDatasets": _WRITERS,
        f"{_SERVICE}/GetFeatureView": READERS,
        f"{_SERVICE}/ListFeatureViews": READERS,
        f"{_SERVICE}/ListOnDemandFeatureViews": READERS,
        f"{_SERVICE}/ListFeatureServices": READERS,
        f"{_SERVICE}/ApplyFeatureDefinitions": _WRITERS,
        f"{_SERVICE}/ListFeatureRows": READERS,
        f"{_SERVICE}/ImportBars": _WRITERS,
        f"{_SERVICE}/GetBarImport": READERS,
        f"{_SERVICE}/ListRefusedBars": READERS,
        f"{_SERVICE}/ReplayRefusedBars": _WRITERS,
        f"{_SERVICE}/CompareServedVectors": READERS,
        f"{_ONLINE}/ReadFeatures": READERS,
        f"{_ONLINE}/StreamFeatures": READERS,
        f"{_FEAST}/GetFeastServingInfo": READERS,
        f"{_FEAST}/GetOnlineFeatures": READERS,
        f"{_FEAST_LISTEN}/GetOnlineFeatures": READERS,
    }
)
