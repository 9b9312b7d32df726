"""Says who may call what."""

from mltrainer_common.authorization import READERS, Role, RoleTable

_SERVICE = "/mltrainer.scheduler.v1.SchedulerService/"

ROLES = RoleTable(
    {
        _SERVICE + "GetTraining": READERS,
        _SERVICE + "LookupTraining": READERS,
        _SERVICE + "ListTrainings": READERS,
        _SERVICE + "CancelTraining": {Role.OPERATOR, Role.PRODUCER, Role.SERVICE},
        _SERVICE + "ExplainTraining": READERS,
        _SERVICE + "ExplainMiss": READERS,
        _SERVICE + "RenewAllocations": {Role.SERVICE},
        _SERVICE + "ListAllocations": READERS,
        _SERVICE + "ListNodes": READERS,
        _SERVICE + "PreviewTraining": READERS,
        _SERVICE + "ListQueues": READERS,
        _SERVICE + "SetQueues": {Role.OPERATOR},
    }
)
