"""Answers the calls about policies, promotions and details."""

from dataclasses import dataclass
from typing import Any

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceServicer

from mltrainer_registry.application.gate_ports import GovernanceReader
from mltrainer_registry.application.promote_version import (
    DecidePromotionHandler,
    RequestPromotionHandler,
)
from mltrainer_registry.application.set_policy import SetPolicyHandler
from mltrainer_registry.application.update_details import UpdateModelHandler, UpdateVersionHandler
from mltrainer_registry.domain.errors import PolicyNotFoundError, PromotionNotFoundError
from mltrainer_registry.domain.names import parse_models, parse_policy, parse_promotion
from mltrainer_registry.entrypoints.actors import actor
from mltrainer_registry.entrypoints.reads import at_revision
from mltrainer_registry.wire import governance as wire
from mltrainer_registry.wire.requests import page_limit, to_cursor, to_page_token
from mltrainer_registry.wire.resources import encode_model, encode_version


@dataclass(frozen=True, slots=True)
class GovernanceUseCases:
    """Everything that is called about policies, promotions and details."""

    reader: GovernanceReader
    set_policy: SetPolicyHandler
    request_promotion: RequestPromotionHandler
    decide_promotion: DecidePromotionHandler
    update_model: UpdateModelHandler
    update_version: UpdateVersionHandler


class GovernanceMethods(RegistryServiceServicer):
    """Decodes, calls one use case, encodes."""

    _governance: GovernanceUseCases

    async def UpdateModel(self, request: api.UpdateModelRequest, context: Any) -> resources.Model:
        """Changes description and tags of a model."""
        return encode_model(await self._governance.update_model(wire.to_update_model(request)))

    async def UpdateModelVersion(
        self, request: api.UpdateModelVersionRequest, context: Any
    ) -> resources.ModelVersion:
        """Changes description and tags of a version."""
        return encode_version(await self._governance.update_version(wire.to_update_version(request)))

    @at_revision
    async def GetGatePolicy(self, request: api.GetGatePolicyRequest, context: Any) -> resources.GatePolicy:
        """Returns the policy that holds for an alias."""
        name = parse_policy(request.name)
        found = await self._governance.reader.policy(name)
        if found is None:
            raise PolicyNotFoundError(str(name))
        return wire.encode_policy(found)

    @at_revision
    async def ListGatePolicies(
        self, request: api.ListGatePoliciesRequest, context: Any
    ) -> api.ListGatePoliciesResponse:
        """Lists the policies that hold, by name."""
        limit, cursor = page_limit(request.page_size), to_cursor(request.page_token)
        page = await self._governance.reader.policies(limit, cursor)
        return api.ListGatePoliciesResponse(
            gate_policies=map(wire.encode_policy, page.items),
            next_page_token=to_page_token(page.next_cursor),
        )

    @at_revision
    async def ListGatePolicyChanges(
        self, request: api.ListGatePolicyChangesRequest, context: Any
    ) -> api.ListGatePolicyChangesResponse:
        """Lists every policy that was ever set under a name, newest first."""
        limit, cursor = page_limit(request.page_size), to_cursor(request.page_token)
        name = parse_policy(request.parent, "parent")
        page = await self._governance.reader.policy_changes(name, limit, cursor)
        return api.ListGatePolicyChangesResponse(
            gate_policies=map(wire.encode_policy, page.items),
            next_page_token=to_page_token(page.next_cursor),
        )

    async def UpdateGatePolicy(
        self, request: api.UpdateGatePolicyRequest, context: Any
    ) -> resources.GatePolicy:
        """Sets the conditions of an alias."""
        return wire.encode_policy(await self._governance.set_policy(wire.to_set_policy(request, actor())))

    async def RequestPromotion(
        self, request: api.RequestPromotionRequest, context: Any
    ) -> resources.Promotion:
        """Asks to point an alias to a version."""
        command = wire.to_request_promotion(request, actor())
        return wire.encode_promotion(await self._governance.request_promotion(command))

    @at_revision
    async def GetPromotion(self, request: api.GetPromotionRequest, context: Any) -> resources.Promotion:
        """Returns a promotion."""
        name = parse_promotion(request.name)
        found = await self._governance.reader.promotion(name)
        if found is None:
            raise PromotionNotFoundError(str(name))
        return wire.encode_promotion(found)

    @at_revision
    async def ListPromotions(
        self, request: api.ListPromotionsRequest, context: Any
    ) -> api.ListPromotionsResponse:
        """Lists the promotions of a model, newest first."""
        limit, cursor = page_limit(request.page_size), to_cursor(request.page_token)
        model, state = parse_models(request.parent), wire.to_promotion_state(request.state)
        page = await self._governance.reader.promotions(model, state, limit, cursor)
        return api.ListPromotionsResponse(
            promotions=map(wire.encode_promotion, page.items),
            next_page_token=to_page_token(page.next_cursor),
        )

    async def ApprovePromotion(
        self, request: api.ApprovePromotionRequest, context: Any
    ) -> resources.Promotion:
        """Approves a promotion and moves the alias."""
        command = wire.to_decide_promotion(request, actor(), approve=True)
        return wire.encode_promotion(await self._governance.decide_promotion(command))

    async def RejectPromotion(self, request: api.RejectPromotionRequest, context: Any) -> resources.Promotion:
        """Rejects a promotion, for good."""
        command = wire.to_decide_promotion(request, actor(), approve=False)
        return wire.encode_promotion(await self._governance.decide_promotion(command))
