"""A service small enough to see through: it echoes bytes, fails on request and streams."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from mltrainer_common.authorization import Role, RoleTable
from mltrainer_common.deadlines import remaining_s
from mltrainer_common.errors import FieldViolation, RpcError
from mltrainer_common.rpc_server import ServerLimits, current_call
from mltrainer_common.service import Loop, ServiceContext, ServiceParts
from mltrainer_common.settings import PlatformSettings
from mltrainer_common.traces import current_traceparent
from pydantic_settings import BaseSettings

SERVICE = "test.v1.EchoService"


class NoEchoError(Exception):
    def __init__(self, wall: str) -> None:
        super().__init__(wall)
        self.wall = wall


class Echo:
    def __init__(self, name: bytes = b"") -> None:
        self.name = name
        self.entered = 0
        self.release = asyncio.Event()
        self.downstream: Callable[[], Any] | None = None

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.entered += 1
        answer = self.answers.get(request)
        return await answer(context) if answer else self.name or request

    @property
    def answers(self) -> dict[bytes, Callable[[Any], Awaitable[bytes]]]:
        return {
            b"crash": self._crash,
            b"no-echo": self._no_echo,
            b"invalid": self._invalid,
            b"abort": lambda context: context.abort(grpc.StatusCode.OUT_OF_RANGE, "too far"),
            b"unavailable": lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "not today"),
            b"who": self._who,
            b"trace": self._trace,
            b"deadline": self._deadline,
            b"downstream": self._downstream,
            b"wait": self._wait,
            b"nap": self._nap,
        }

    async def _crash(self, _: Any) -> bytes:
        raise RuntimeError("the secret is 42")

    async def _no_echo(self, _: Any) -> bytes:
        raise NoEchoError("north")

    async def _invalid(self, _: Any) -> bytes:
        raise RpcError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "BAD_BAR",
            "bar 0 is bad",
            metadata={"bar": "0"},
            field_violations=[FieldViolation("bars[0].close", "must be above 0")],
            retry_after_s=1.5,
        )

    async def _who(self, _: Any) -> bytes:
        principal = current_call().principal
        return (principal.subject if principal else "nobody").encode()

    async def _trace(self, _: Any) -> bytes:
        return (current_traceparent() or "").encode()

    async def _deadline(self, _: Any) -> bytes:
        return str(remaining_s()).encode()

    async def _downstream(self, _: Any) -> bytes:
        assert self.downstream is not None
        return bytes(await self.downstream())

    async def _wait(self, _: Any) -> bytes:
        await self.release.wait()
        return self.name

    async def _nap(self, _: Any) -> bytes:
        await asyncio.sleep(0.05)
        return self.name

    async def count(
        self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()
        if request == b"3":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "three is enough")
        if request == b"4":
            raise NoEchoError("four")
        while request == b"5":
            await asyncio.sleep(0.01)
            yield b"more"

    async def total(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        return str(sum([int(item) async for item in requests])).encode()

    async def chat(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        async for item in requests:
            yield item.upper()


def add_echo(echo: Echo, server: grpc.aio.Server) -> None:
    """Adds its methods twice, as generated code does."""
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Unlisted": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Open": grpc.unary_unary_rpc_method_handler(echo.unary),
        "OperatorOnly": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Count": grpc.unary_stream_rpc_method_handler(echo.count),
        "Total": grpc.stream_unary_rpc_method_handler(echo.total),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


class EchoStub:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.unary: Any = channel.unary_unary(f"/{SERVICE}/Unary")
        self.unlisted: Any = channel.unary_unary(f"/{SERVICE}/Unlisted")
        self.open: Any = channel.unary_unary(f"/{SERVICE}/Open")
        self.operator_only: Any = channel.unary_unary(f"/{SERVICE}/OperatorOnly")
        self.count: Any = channel.unary_stream(f"/{SERVICE}/Count")
        self.total: Any = channel.stream_unary(f"/{SERVICE}/Total")
        self.chat: Any = channel.stream_stream(f"/{SERVICE}/Chat")


ROLES = RoleTable(
    {
        f"/{SERVICE}/Unary": {Role.SERVICE, Role.VIEWER},
        f"/{SERVICE}/Open": {Role.ANYONE},
        f"/{SERVICE}/OperatorOnly": {Role.OPERATOR},
        f"/{SERVICE}/Count": {Role.SERVICE},
        f"/{SERVICE}/Total": {Role.SERVICE},
        f"/{SERVICE}/Chat": {Role.SERVICE},
    }
)


def map_error(error: Exception) -> RpcError | None:
    if isinstance(error, NoEchoError):
        message = f"no echo from {error.wall}"
        return RpcError(grpc.StatusCode.NOT_FOUND, "NO_ECHO", message, metadata={"wall": error.wall})
    return None


class EchoSettings(BaseSettings):
    greeting: str = "hello"


class EchoKit:
    """Everything a test needs to run and call the echo service."""

    service = SERVICE
    settings = EchoSettings()
    settings_class = EchoSettings
    stub = EchoStub
    echo = Echo
    roles = ROLES
    map_error = staticmethod(map_error)

    def __init__(self, data_directory: Path) -> None:
        self.data_directory = data_directory

    def platform(self, **overrides: Any) -> PlatformSettings:
        return PlatformSettings(data_directory=self.data_directory, **overrides)

    @staticmethod
    def assemble(
        echo: Echo,
        *,
        background: Mapping[str, Loop] | None = None,
        limits: ServerLimits | None = None,
    ) -> Any:
        async def parts(_context: ServiceContext, _settings: EchoSettings) -> ServiceParts:
            return ServiceParts(
                servicers=[partial(add_echo, echo)],
                roles=ROLES,
                map_error=map_error,
                background=background or {},
                limits=limits or ServerLimits(drain_delay_s=0.2, grace_s=5.0),
            )

        return parts


@pytest.fixture
def kit(tmp_path: Path) -> EchoKit:
    return EchoKit(tmp_path)
