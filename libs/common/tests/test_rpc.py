"""Calls between real servers and channels on loopback."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mltrainer_common.authorization import Role
from mltrainer_common.deadlines import deadline_scope
from mltrainer_common.discovery import Endpoint, StaticPublisher, read_endpoints
from mltrainer_common.errors import FieldViolation, RpcFailure, StartupError
from mltrainer_common.rpc_client import CallDefaults
from mltrainer_common.rpc_server import ServerLimits
from mltrainer_common.service import BackgroundEndedError, start_service
from mltrainer_common.tokens import TokenIssuer
from mltrainer_common.traces import current_traceparent, use_traceparent


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - the server under test has no event to wait for
        await asyncio.sleep(0.01)


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"


async def test_every_kind_of_call_reaches_its_handler(kit: Any) -> None:
    async def words(*items: bytes) -> Any:
        for item in items:
            yield item

    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        stub = kit.stub(service.context.channel("echo"))

        assert await stub.unary(b"hello") == b"hello"
        assert [item async for item in stub.count(b"2")] == [b"0", b"1"]
        assert await stub.total(words(b"1", b"2", b"3")) == b"6"
        assert [item async for item in stub.chat(words(b"a", b"b"))] == [b"A", b"B"]


async def test_generated_stubs_work_on_a_service_channel(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        stub = health_pb2_grpc.HealthStub(service.context.channel("echo"))
        answer = await stub.Check(health_pb2.HealthCheckRequest())

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_rich_error_arrives_with_all_its_facts(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        stub = kit.stub(service.context.channel("echo"))

        with pytest.raises(RpcFailure) as caught:
            await stub.unary(b"invalid")

    failure = caught.value
    assert (failure.code, failure.reason, failure.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "BAD_BAR",
        "mltrainer.echo",
    )
    assert failure.metadata == {"bar": "0"}
    assert failure.field_violations == (FieldViolation("bars[0].close", "must be above 0"),)
    assert failure.retry_after_s == 1.5


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        pytest.param(b"no-echo", grpc.StatusCode.NOT_FOUND, "NO_ECHO", id="mapped"),
        pytest.param(b"abort", grpc.StatusCode.OUT_OF_RANGE, "", id="aborted-by-handler"),
        pytest.param(b"crash", grpc.StatusCode.INTERNAL, "", id="unknown"),
    ],
)
async def test_errors_of_handlers_become_codes(
    kit: Any, request_: bytes, code: grpc.StatusCode, reason: str
) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        with pytest.raises(RpcFailure) as caught:
            await kit.stub(service.context.channel("echo")).unary(request_)

    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert "42" not in str(caught.value)


async def test_an_unknown_error_is_logged_once_with_its_traceback(
    kit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        with pytest.raises(RpcFailure):
            await kit.stub(service.context.channel("echo")).unary(b"crash")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    crashes = [line for line in lines if "the secret is 42" in line.get("exception", "")]
    assert [line["event"] for line in crashes] == ["rpc_crashed"]
    assert crashes[0]["service"] == "echo"
    assert len(crashes[0]["trace_id"]) == 32


async def test_a_stream_that_fails_halfway_tells_why(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        stream = kit.stub(service.context.channel("echo")).count(b"4")
        received = [await anext(stream) for _ in range(4)]
        with pytest.raises(RpcFailure) as caught:
            await anext(stream)

    assert (received, caught.value.reason) == ([b"0", b"1", b"2", b"3"], "NO_ECHO")


async def test_a_stream_can_be_left_early(kit: Any) -> None:
    async with (
        start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service,
        aclosing(kit.stub(service.context.channel("echo")).count(b"5")) as stream,
    ):
        first = await anext(stream)

    assert first == b"0"


async def test_who_calls_is_known_to_the_handler(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        answer = await kit.stub(service.context.channel("echo")).unary(b"who")

    assert answer == b"services/echo"


@pytest.mark.parametrize(
    ("method", "authorization", "code", "reason"),
    [
        pytest.param("unary", None, "UNAUTHENTICATED", "TOKEN_MISSING", id="no-token"),
        pytest.param("unary", "Basic abc", "UNAUTHENTICATED", "TOKEN_INVALID", id="no-bearer"),
        pytest.param("unary", "Bearer abc", "UNAUTHENTICATED", "TOKEN_INVALID", id="forged"),
        pytest.param("unary", "other", "UNAUTHENTICATED", "TOKEN_FOR_ANOTHER_SERVICE", id="audience"),
        pytest.param("operator_only", "viewer", "PERMISSION_DENIED", "ROLE_MISSING", id="role"),
        pytest.param("unlisted", "viewer", "PERMISSION_DENIED", "ROLE_MISSING", id="unlisted"),
    ],
)
async def test_who_may_not_call_is_refused(
    kit: Any, method: str, authorization: str | None, code: str, reason: str
) -> None:
    echo = kit.echo()
    async with (
        start_service("echo", kit.platform(), kit.settings, kit.assemble(echo)) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        issuer = TokenIssuer(service.context.key, "users/ann", [Role.VIEWER])
        tokens = {"viewer": issuer.token("echo"), "other": issuer.token("registry")}
        token = f"Bearer {tokens[authorization]}" if authorization in tokens else authorization
        metadata = (("authorization", token),) if token else ()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(kit.stub(channel), method)(b"x", metadata=metadata)

    assert caught.value.code().name == code
    assert reason.encode() in dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    assert echo.entered == 0


async def test_methods_for_anyone_and_health_need_no_token(kit: Any) -> None:
    async with (
        start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        answer = await kit.stub(channel).open(b"who")
        health = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=kit.service)
        )

    assert answer == b"nobody"
    assert health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(("environment", "listed"), [("development", True), ("production", False)])
async def test_reflection_is_for_development(kit: Any, environment: str, listed: bool) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async def question() -> Any:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    platform = kit.platform(environment=environment)
    async with (
        start_service("echo", platform, kit.settings, kit.assemble(kit.echo())) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(question())
        try:
            names = [item.name async for answer in call for item in answer.list_services_response.service]
        except grpc.aio.AioRpcError:
            names = []

    assert (kit.service in names) is listed


@pytest.mark.parametrize(
    "method",
    ["/test.v1.EchoService/Unknown", "/test.v1.UnknownService/Unary", "/grpc.health.v1.Health/Unknown", "/"],
)
async def test_methods_that_nobody_added_are_unimplemented(kit: Any, method: str) -> None:
    async with (
        start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        call: Any = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"x")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_server_waits_for_the_next_call_of_all_its_methods_at_once(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        await kit.stub(service.context.channel("echo")).unary(b"hello")
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]

    assert [name for name in names if "_request_" in name] == ["AioServer._request_call"]


async def test_the_trace_of_the_caller_goes_on_in_the_handler(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        with use_traceparent(TRACEPARENT):
            seen = await kit.stub(service.context.channel("echo")).unary(b"trace")

    assert seen.decode().split("-")[1] == TRACEPARENT.split("-")[1]
    assert current_traceparent() is None


async def test_a_call_takes_what_is_left_of_the_deadline_of_the_call_it_serves(kit: Any) -> None:
    echo = kit.echo()
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(echo)) as service:
        stub = kit.stub(service.context.channel("echo"))
        echo.downstream = lambda: stub.unary(b"deadline", timeout=60.0)

        seen_s = float(await stub.unary(b"downstream", timeout=20.0))

    assert 5.0 < seen_s < 20.0


async def test_without_time_left_no_call_is_made(kit: Any) -> None:
    echo = kit.echo()
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(echo)) as service:
        with deadline_scope(0.01), pytest.raises(RpcFailure) as caught:
            await kit.stub(service.context.channel("echo")).unary(b"x")

    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "NO_TIME_LEFT")
    assert echo.entered == 0


async def test_an_unknown_service_is_unavailable_at_once(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        channel = service.context.channel("nowhere", defaults=CallDefaults(endpoint_wait_s=0.05))
        started = time.monotonic()
        with pytest.raises(RpcFailure) as caught:
            await kit.stub(channel).unary(b"x")

    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_ENDPOINTS")
    assert time.monotonic() - started < 2.0


async def test_a_peer_that_cannot_be_reached_makes_the_handler_unavailable(kit: Any) -> None:
    echo = kit.echo()
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(echo)) as service:
        nowhere = service.context.channel("nowhere", defaults=CallDefaults(endpoint_wait_s=0.05))
        echo.downstream = lambda: kit.stub(nowhere).unary(b"x")
        with pytest.raises(RpcFailure) as caught:
            await kit.stub(service.context.channel("echo")).unary(b"downstream")

    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE")
    assert caught.value.metadata == {"peer": "nowhere", "peer_reason": "NO_ENDPOINTS"}


async def test_a_failing_peer_opens_the_breaker(kit: Any) -> None:
    echo = kit.echo()
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(echo)) as service:
        stub = kit.stub(service.context.channel("echo"))
        for _ in range(10):
            with pytest.raises(RpcFailure):
                await stub.unary(b"unavailable")
        with pytest.raises(RpcFailure) as caught:
            await stub.unary(b"hello")

    assert caught.value.reason == "BREAKER_OPEN"
    assert echo.entered == 10


async def test_failing_streams_open_the_breaker_too(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        stub = kit.stub(service.context.channel("echo"))
        reasons = []
        for _ in range(60):
            with pytest.raises(RpcFailure) as caught:
                _ = [item async for item in stub.count(b"3")]
            reasons.append(caught.value.reason)

    assert reasons[0] == ""
    assert reasons[-1] == "BREAKER_OPEN"


async def test_hanging_calls_open_the_breaker_because_the_deadline_is_inside(kit: Any) -> None:
    echo = kit.echo()
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(echo)) as service:
        stub = kit.stub(service.context.channel("echo"))
        hangs = [stub.unary(b"wait", timeout=0.15) for _ in range(20)]
        results = await asyncio.gather(*hangs, return_exceptions=True)
        with pytest.raises(RpcFailure) as caught:
            await stub.unary(b"hello")
        echo.release.set()

    assert {item.code for item in results} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert caught.value.reason == "BREAKER_OPEN"


async def test_refusals_never_open_the_breaker(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        stub = kit.stub(service.context.channel("echo"))
        for _ in range(30):
            with pytest.raises(RpcFailure):
                await stub.unary(b"no-echo")

        assert await stub.unary(b"hello") == b"hello"


async def test_only_idempotent_methods_are_retried(kit: Any) -> None:
    echo = kit.echo()
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(echo)) as service:
        channel = service.context.channel("echo", idempotent_methods=[f"/{kit.service}/Unary"])
        stub = kit.stub(channel)
        with pytest.raises(RpcFailure):
            await stub.unary(b"unavailable")
        retried = echo.entered
        with pytest.raises(RpcFailure):
            await stub.open(b"unavailable")

    assert (retried, echo.entered - retried) == (3, 1)


async def test_more_calls_than_allowed_are_shed_at_once(kit: Any) -> None:
    echo = kit.echo()
    limits = ServerLimits(maximum_concurrent_rpcs=5, drain_delay_s=0.0)
    async with start_service(
        "echo", kit.platform(), kit.settings, kit.assemble(echo, limits=limits)
    ) as service:
        stub = kit.stub(service.context.channel("echo"))
        calls = [asyncio.ensure_future(stub.unary(b"wait")) for _ in range(20)]
        await until(lambda: sum(call.done() for call in calls) >= 15)
        echo.release.set()
        results = await asyncio.gather(*calls, return_exceptions=True)

    shed = [item for item in results if isinstance(item, RpcFailure)]
    assert {item.code for item in shed} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert (len(shed), echo.entered) == (15, 5)


async def test_metrics_count_calls_by_method_and_code(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        stub = kit.stub(service.context.channel("echo"))
        await stub.unary(b"x")
        with pytest.raises(RpcFailure):
            await stub.unary(b"no-echo")
        address = service.context.telemetry.metrics_address
        page = await asyncio.to_thread(lambda: urlopen(f"http://{address}/metrics").read().decode())

    method = f'method="/{kit.service}/Unary"'
    assert f'mltrainer_rpc_server_calls_total{{code="OK",{method}}} 1.0' in page
    assert f'mltrainer_rpc_server_calls_total{{code="NOT_FOUND",{method}}} 1.0' in page
    assert f'mltrainer_rpc_server_seconds_count{{code="OK",{method}}} 1.0' in page
    assert f'mltrainer_rpc_client_calls_total{{code="OK",{method},peer="echo"}} 1.0' in page


async def test_a_stop_under_load_fails_no_call(kit: Any) -> None:
    failures: list[Exception] = []
    answered: dict[bytes, int] = {b"a": 0, b"b": 0}
    stop_load = asyncio.Event()

    async def load(stub: Any) -> None:
        while not stop_load.is_set():
            try:
                answered[await stub.unary(b"nap")] += 1
            except RpcFailure as failure:
                failures.append(failure)

    async with AsyncExitStack() as outer:
        start = partial(start_service, "echo", settings=kit.settings)
        caller = await outer.enter_async_context(
            start(platform=kit.platform(instance="1"), assemble=kit.assemble(kit.echo(b"b")))
        )
        stub = kit.stub(caller.context.channel("echo"))
        async with AsyncExitStack() as inner:
            await inner.enter_async_context(
                start(platform=kit.platform(instance="0"), assemble=kit.assemble(kit.echo(b"a")))
            )
            loads = [asyncio.ensure_future(load(stub)) for _ in range(20)]
            await until(lambda: min(answered.values()) >= 20)
        seen_by_a = answered[b"a"]
        await until(lambda: answered[b"b"] >= 2 * seen_by_a)
        stop_load.set()
        await asyncio.gather(*loads)

    assert failures == []
    assert answered[b"a"] - seen_by_a <= 20


async def test_a_changed_endpoint_cuts_no_call(kit: Any) -> None:
    old, new = kit.echo(b"old"), kit.echo(b"new")
    second_directory = kit.data_directory / "second"
    start = partial(start_service, "echo", settings=kit.settings)
    async with (
        start(platform=kit.platform(), assemble=kit.assemble(old)) as first,
        start(
            platform=kit.platform(token_key_file=kit.platform().key_file).model_copy(
                update={"data_directory": second_directory}
            ),
            assemble=kit.assemble(new),
        ) as second,
    ):
        stub = kit.stub(first.context.channel("echo"))
        under_way = asyncio.ensure_future(stub.unary(b"wait"))
        await until(lambda: old.entered > 0)
        publisher = StaticPublisher(kit.platform().endpoints_file, "echo", "0")
        publisher.publish(Endpoint(second.address, "127.0.0.1:1", os.getpid()))
        answers = [await stub.unary(b"nap") for _ in range(6)]
        old.release.set()

        assert answers[-1] == b"new"
        assert await under_way == b"old"


async def test_a_restart_gets_its_port_back_and_leaves_one_entry(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        first = service.address
    stopped = read_endpoints(kit.platform().endpoints_file)["echo"]["0"]
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        second = service.address
        entry = read_endpoints(kit.platform().endpoints_file)["echo"]

    assert first == second
    assert stopped.serving is False
    assert {name: item.serving for name, item in entry.items()} == {"0": True}


async def test_a_fixed_port_in_use_is_one_clear_error(kit: Any) -> None:
    async with start_service("echo", kit.platform(), kit.settings, kit.assemble(kit.echo())) as service:
        port = int(service.address.rpartition(":")[2])
        other = kit.platform(grpc_port=port, instance="1")
        with pytest.raises(StartupError, match=f"port {port}"):
            async with start_service("echo", other, kit.settings, kit.assemble(kit.echo())):
                pass


@pytest.mark.parametrize("how", ["raises", "returns"])
async def test_a_background_loop_that_ends_takes_the_service_down(kit: Any, how: str) -> None:
    async def loop() -> None:
        if how == "raises":
            raise NotADirectoryError

    assemble = kit.assemble(kit.echo(), background={"relay": loop})
    with pytest.raises(ExceptionGroup) as caught:
        async with start_service("echo", kit.platform(), kit.settings, assemble):
            await asyncio.Event().wait()

    assert isinstance(caught.value.exceptions[0], NotADirectoryError | BackgroundEndedError)


async def test_a_background_loop_that_loses_its_cancellation_still_ends(
    kit: Any,
) -> None:
    begun = asyncio.Event()

    async def loop() -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    assemble = kit.assemble(kit.echo(), background={"relay": loop})
    async with asyncio.timeout(30):
        async with start_service("echo", kit.platform(), kit.settings, assemble):
            await begun.wait()

    assert begun.is_set()
