"""Says who may call what."""

from mltrainer_common.authorization import READERS, RoleTable

_SERVICE = "/mltrainer.monitor.v1.MonitorService/"

ROLES = RoleTable(
    {
        _SERVICE + "GetDriftReport": READERS,
        _SERVICE + "ListModelScores": READERS,
        _SERVICE + "ListServiceLevelObjectives": READERS,
    }
)
