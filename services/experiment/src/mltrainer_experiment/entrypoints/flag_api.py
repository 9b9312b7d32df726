"""Answers the calls of `flagd.evaluation`, versions 1 and 2, so that any OpenFeature SDK gets its arm."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from flagd.evaluation.v1 import evaluation_pb2 as v1
from flagd.evaluation.v1.evaluation_pb2_grpc import ServiceServicer as ServicerV1
from flagd.evaluation.v2 import evaluation_pb2 as v2
from flagd.evaluation.v2.evaluation_pb2_grpc import ServiceServicer as ServicerV2

from mltrainer_experiment.application.assign_unit import (
    Flag,
    FlagType,
    FollowFlagsHandler,
    ResolveAllFlagsHandler,
    ResolveFlagHandler,
)
from mltrainer_experiment.wire.flags import stream_event, targeting_key


@dataclass(frozen=True, slots=True)
class FlagUseCases:
    """Everything both versions call."""

    resolve: ResolveFlagHandler
    resolve_all: ResolveAllFlagsHandler
    follow: FollowFlagsHandler

    async def flag(self, request: Any, asked_type: FlagType) -> Flag:
        """Resolves the flag of a request of either version."""
        return await self.resolve(request.flag_key, asked_type, targeting_key(request.context))


class FlagApiV1(ServicerV1):
    """Version 1."""

    def __init__(self, use_cases: FlagUseCases) -> None:
        self._use = use_cases

    async def ResolveAll(self, request: v1.ResolveAllRequest, context: Any) -> v1.ResolveAllResponse:
        """Resolves all flags for a unit without logging exposures."""
        flags = await self._use.resolve_all(targeting_key(request.context))
        return v1.ResolveAllResponse(
            flags={
                flag.flag_key: v1.AnyFlag(reason=flag.reason, variant=flag.variant, string_value=flag.value)
                for flag in flags
            }
        )

    async def ResolveString(self, request: v1.ResolveStringRequest, context: Any) -> v1.ResolveStringResponse:
        """Resolves the alias of a unit's arm."""
        flag = await self._use.flag(request, FlagType.STRING)
        return v1.ResolveStringResponse(value=flag.value, reason=flag.reason, variant=flag.variant)

    async def ResolveBoolean(
        self, request: v1.ResolveBooleanRequest, context: Any
    ) -> v1.ResolveBooleanResponse:
        """Refuses: no flag is a boolean."""
        flag = await self._use.flag(request, FlagType.BOOLEAN)
        return v1.ResolveBooleanResponse(reason=flag.reason, variant=flag.variant)

    async def ResolveInt(self, request: v1.ResolveIntRequest, context: Any) -> v1.ResolveIntResponse:
        """Refuses: no flag is a whole number."""
        flag = await self._use.flag(request, FlagType.INT)
        return v1.ResolveIntResponse(reason=flag.reason, variant=flag.variant)

    async def ResolveFloat(self, request: v1.ResolveFloatRequest, context: Any) -> v1.ResolveFloatResponse:
        """Refuses: no flag is a number."""
        flag = await self._use.flag(request, FlagType.FLOAT)
        return v1.ResolveFloatResponse(reason=flag.reason, variant=flag.variant)

    async def ResolveObject(self, request: v1.ResolveObjectRequest, context: Any) -> v1.ResolveObjectResponse:
        """Refuses: no flag is an object."""
        flag = await self._use.flag(request, FlagType.OBJECT)
        return v1.ResolveObjectResponse(reason=flag.reason, variant=flag.variant)

    async def EventStream(
        self, request: v1.EventStreamRequest, context: Any
    ) -> AsyncIterator[v1.EventStreamResponse]:
        """Says that flags can be resolved, then which ones change."""
        async with aclosing(self._use.follow()) as changes:
            async for keys in changes:
                kind, data = stream_event(keys)
                yield v1.EventStreamResponse(type=kind, data=data)


class FlagApiV2(ServicerV2):
    """Version 2."""

    def __init__(self, use_cases: FlagUseCases) -> None:
        self._use = use_cases

    async def ResolveString(self, request: v2.ResolveStringRequest, context: Any) -> v2.ResolveStringResponse:
        """Resolves the alias of a unit's arm."""
        flag = await self._use.flag(request, FlagType.STRING)
        return v2.ResolveStringResponse(value=flag.value, reason=flag.reason, variant=flag.variant)

    async def ResolveBoolean(
        self, request: v2.ResolveBooleanRequest, context: Any
    ) -> v2.ResolveBooleanResponse:
        """Refuses: no flag is a boolean."""
        flag = await self._use.flag(request, FlagType.BOOLEAN)
        return v2.ResolveBooleanResponse(reason=flag.reason, variant=flag.variant)

    async def ResolveInt(self, request: v2.ResolveIntRequest, context: Any) -> v2.ResolveIntResponse:
        """Refuses: no flag is a whole number."""
        flag = await self._use.flag(request, FlagType.INT)
        return v2.ResolveIntResponse(reason=flag.reason, variant=flag.variant)

    async def ResolveFloat(self, request: v2.ResolveFloatRequest, context: Any) -> v2.ResolveFloatResponse:
        """Refuses: no flag is a number."""
        flag = await self._use.flag(request, FlagType.FLOAT)
        return v2.ResolveFloatResponse(reason=flag.reason, variant=flag.variant)

    async def ResolveObject(self, request: v2.ResolveObjectRequest, context: Any) -> v2.ResolveObjectResponse:
        """Refuses: no flag is an object."""
        flag = await self._use.flag(request, FlagType.OBJECT)
        return v2.ResolveObjectResponse(reason=flag.reason, variant=flag.variant)

    async def EventStream(
        self, request: v2.EventStreamRequest, context: Any
    ) -> AsyncIterator[v2.EventStreamResponse]:
        """Says that flags can be resolved, then which ones change."""
        async with aclosing(self._use.follow()) as changes:
            async for keys in changes:
                kind, data = stream_event(keys)
                yield v2.EventStreamResponse(type=kind, data=data)
