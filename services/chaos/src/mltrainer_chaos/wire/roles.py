"""Says who may call what; a method that is not listed is denied."""

from mltrainer_common.authorization import READERS, Role, RoleTable

_SERVICE = "/mltrainer.chaos.v1.ChaosService"
_OPERATORS = frozenset({Role.OPERATOR})

ROLES = RoleTable(
    {
        f"{_SERVICE}/CreateChaosRun": _OPERATORS,
        f"{_SERVICE}/GetChaosRun": READERS,
        f"{_SERVICE}/ListChaosRuns": READERS,
        f"{_SERVICE}/StopAllChaosRuns": _OPERATORS,
        f"{_SERVICE}/ReleaseKillSwitch": _OPERATORS,
    }
)
