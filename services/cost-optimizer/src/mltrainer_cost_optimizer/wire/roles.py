"""Says who may call what."""

from mltrainer_common.authorization import READERS, RoleTable

_SERVICE = "/mltrainer.cost_optimizer.v1.CostOptimizerService"

ROLES = RoleTable(
    {f"{_SERVICE}/{method}": READERS for method in ("GetBill", "ListCharges", "ListWasteFindings")}
)
