"""Answers the calls of `mltrainer.cost_optimizer.v1.CostOptimizerService`."""

from dataclasses import dataclass
from typing import Any

from mltrainer.cost_optimizer.v1 import cost_optimizer_service_pb2 as api
from mltrainer.cost_optimizer.v1 import resources_pb2 as resources
from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2_grpc import CostOptimizerServiceServicer

from mltrainer_cost_optimizer.application.answer import GetBillHandler, ListChargesHandler, ListWasteHandler
from mltrainer_cost_optimizer.application.ports import Position
from mltrainer_cost_optimizer.wire import pages
from mltrainer_cost_optimizer.wire.resources import from_bill, from_charge, from_finding
from mltrainer_cost_optimizer.wire.times import optional_time


@dataclass(frozen=True, slots=True)
class CostUseCases:
    """Everything the API calls."""

    get_bill: GetBillHandler
    list_charges: ListChargesHandler
    list_waste: ListWasteHandler


class CostApi(CostOptimizerServiceServicer):
    """Decodes, calls one use case, encodes."""

    def __init__(self, use_cases: CostUseCases) -> None:
        self._use = use_cases

    async def GetBill(self, request: api.GetBillRequest, context: Any) -> resources.Bill:
        """Sums the charges of a period."""
        start, end = optional_time(request, "start_time"), optional_time(request, "end_time")
        return from_bill(await self._use.get_bill(start, end, request.study))

    async def ListCharges(self, request: api.ListChargesRequest, context: Any) -> api.ListChargesResponse:
        """Lists charges, newest first."""
        size = pages.page_size(request)
        found = await self._use.list_charges(pages.position(request), size + 1)
        token = ""
        if shown := found[:size]:
            last = shown[-1]
            end = Position(last.charge.charge_period.start_time, last.charge_id)
            token = pages.next_token(found, size, end)
        return api.ListChargesResponse(charges=map(from_charge, shown), next_page_token=token)

    async def ListWasteFindings(
        self, request: api.ListWasteFindingsRequest, context: Any
    ) -> api.ListWasteFindingsResponse:
        """Lists waste, newest first."""
        size = pages.page_size(request)
        found = await self._use.list_waste(pages.position(request), size + 1)
        token = ""
        if shown := found[:size]:
            end = Position(shown[-1].create_time, shown[-1].finding_id)
            token = pages.next_token(found, size, end)
        return api.ListWasteFindingsResponse(waste_findings=map(from_finding, shown), next_page_token=token)
