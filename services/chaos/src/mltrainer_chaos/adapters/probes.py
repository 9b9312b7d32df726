"""Makes the calls of probes, straight to the known addresses, so that no breaker hides a recovery."""

import asyncio
import http.client
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from inference.open_inference_pb2 import ModelReadyRequest
from inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from mltrainer.registry.v1.registry_service_pb2 import GetAliasRequest
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer_common.discovery import EndpointResolver
from mltrainer_common.tokens import TokenIssuer

from mltrainer_chaos.application.ports import ProbeFailedError
from mltrainer_chaos.domain.catalogue import Function
from mltrainer_chaos.domain.experiment import FunctionCall, HttpCall, Provider

_REGISTRY, _SERVING = "registry", "serving"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_LARGEST_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class PlatformProbe:
    """Asks services by gRPC and HTTP."""

    resolver: EndpointResolver
    issuer: TokenIssuer

    async def __call__(self, provider: Provider) -> Any:
        """Returns what the service answers."""
        if isinstance(provider, HttpCall):
            return await self._http(provider)
        arguments = provider.arguments
        try:
            async with asyncio.timeout(arguments["timeout_s"]):
                return await self._function(provider)
        except TimeoutError:
            raise ProbeFailedError(f"no answer within {arguments['timeout_s']:g} s") from None

    async def _function(self, call: FunctionCall) -> bool:
        match call.function:
            case Function.SERVICE_IS_SERVING:
                return await self._is_serving(call.arguments["service"], call.arguments["min_instances"])
            case Function.MODEL_IS_READY:
                return await self._model_is_ready(call.arguments["model"], call.arguments["version"])
            case Function.ALIAS_RESOLVES:
                return await self._alias_resolves(call.arguments["model"], call.arguments["alias"])
        raise ProbeFailedError(f"{call.function} is no probe")

    async def _is_serving(self, service: str, min_instances: int) -> bool:
        async def serves(channel: grpc.aio.Channel) -> bool:
            check = channel.unary_unary(
                _HEALTH_CHECK,
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            return bool((await check(HealthCheckRequest())).status == HealthCheckResponse.SERVING)

        return sum(await self._each(service, serves)) >= min_instances

    async def _model_is_ready(self, model: str, version: str) -> bool:
        request = ModelReadyRequest(name=model, version=version)

        async def ready(channel: grpc.aio.Channel) -> bool:
            stub = GRPCInferenceServiceStub(channel)
            return bool((await stub.ModelReady(request, metadata=self._token(_SERVING))).ready)

        return any(await self._each(_SERVING, ready))

    async def _alias_resolves(self, model: str, alias: str) -> bool:
        request = GetAliasRequest(name=f"models/{model.removeprefix('models/')}/aliases/{alias}")

        async def resolves(channel: grpc.aio.Channel) -> bool:
            stub = RegistryServiceStub(channel)
            return bool((await stub.GetAlias(request, metadata=self._token(_REGISTRY))).version)

        return any(await self._each(_REGISTRY, resolves))

    def _token(self, audience: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.issuer.token(audience)}"),)

    async def _each(self, service: str, ask: Callable[[grpc.aio.Channel], Awaitable[bool]]) -> list[bool]:
        addresses = self.resolver.resolve(service)
        return list(await asyncio.gather(*(_ask(address, ask) for address in addresses)))

    async def _http(self, call: HttpCall) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(_request, call)
        except (OSError, http.client.HTTPException) as error:
            raise ProbeFailedError(f"{call.url}: {error}") from None


async def _ask(address: str, ask: Callable[[grpc.aio.Channel], Awaitable[bool]]) -> bool:
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            return await ask(channel)
    except grpc.aio.AioRpcError:
        return False


def _request(call: HttpCall) -> dict[str, Any]:
    parts = urlsplit(call.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=call.timeout_s)
    try:
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.request(call.method, path, headers=dict(call.headers))
        response = connection.getresponse()
        body = response.read(_LARGEST_BODY_BYTES).decode(errors="replace")
        return {"status": response.status, "headers": dict(response.getheaders()), "body": body}
    finally:
        connection.close()
