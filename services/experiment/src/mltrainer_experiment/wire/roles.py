"""Says who may call what."""

from mltrainer_common.authorization import READERS, Role, RoleTable

_SERVICE = "/mltrainer.experiment.v1.ExperimentService"
_FLAGS = ("/flagd.evaluation.v1.Service", "/flagd.evaluation.v2.Service")
_RESOLVERS = ("ResolveBoolean", "ResolveString", "ResolveFloat", "ResolveInt", "ResolveObject", "EventStream")
_WRITERS = frozenset({Role.OPERATOR, Role.SERVICE})
# OpenFeature SDKs send no token of ours. All they can do is meet an arm; the mesh decides who reaches us.
_ANYONE = frozenset({Role.ANYONE})

ROLES = RoleTable(
    {
        f"{_SERVICE}/CreateExperiment": _WRITERS,
        f"{_SERVICE}/GetExperiment": READERS,
        f"{_SERVICE}/ListExperiments": READERS,
        f"{_SERVICE}/StartExperiment": _WRITERS,
        f"{_SERVICE}/StopExperiment": _WRITERS,
        f"{_SERVICE}/AssignUnit": {Role.TRADER, Role.OPERATOR, Role.SERVICE},
        f"{_SERVICE}/GetExperimentResult": READERS,
        **{f"{contract}/{method}": _ANYONE for contract in _FLAGS for method in _RESOLVERS},
        "/flagd.evaluation.v1.Service/ResolveAll": _ANYONE,
    }
)
