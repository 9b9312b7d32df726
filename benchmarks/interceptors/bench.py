"""Measures the CPU that server interceptor and client channel add to a call, against bare gRPC.

Server and client run in processes of their own and report their own CPU time. Each round runs every
variant once, so that all of them meet the same load; the medians over rounds and the spread are printed.

    python benchmarks/interceptors/bench.py --rounds 7 --calls 4000 --concurrency 8
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
from mltrainer_common.authorization import Role, RoleTable
from mltrainer_common.discovery import Endpoint, StaticPublisher, StaticResolver
from mltrainer_common.rpc_client import Caller, ServiceChannel
from mltrainer_common.rpc_interceptor import CallInterceptor, CallPolicy
from mltrainer_common.rpc_metrics import ClientMetrics, ServerMetrics
from mltrainer_common.settings import PlatformSettings
from mltrainer_common.telemetry import Telemetry, start_telemetry
from mltrainer_common.tokens import TokenIssuer, TokenVerifier

METHOD = "/bench.v1.Echo/Echo"
KEY = b"k" * 48
PAYLOAD = b"x" * 256


async def echo(request: bytes, _context: Any) -> bytes:
    return request


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def policy(telemetry: Telemetry) -> CallPolicy:
    return CallPolicy(
        slug="bench",
        tracer=telemetry.tracer,
        metrics=ServerMetrics(telemetry.registry),
        verifier=TokenVerifier(KEY, "bench"),
        roles=RoleTable({METHOD: {Role.SERVICE}}),
        map_error=lambda _: None,
    )


async def serve(pipe: Connection, with_interceptor: bool, platform: PlatformSettings) -> None:
    with start_telemetry(platform, "bench") as telemetry:
        interceptors = [CallInterceptor(policy(telemetry))] if with_interceptor else []
        server = grpc.aio.server(interceptors=interceptors)
        handler = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bench.v1.Echo", {"Echo": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pipe.send(port)
        while await asyncio.to_thread(pipe.recv) != "stop":
            pipe.send(cpu_s())
        await server.stop(0)


def server_process(pipe: Connection, with_interceptor: bool, platform: PlatformSettings) -> None:
    asyncio.run(serve(pipe, with_interceptor, platform))


async def call_many(call: Callable[[], Awaitable[bytes]], calls: int, concurrency: int) -> list[float]:
    waits: list[float] = []

    async def caller() -> None:
        for _ in range(calls // concurrency):
            started = time.perf_counter()
            await call()
            waits.append(time.perf_counter() - started)

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return waits


class Servers:
    def __init__(self, platform: PlatformSettings) -> None:
        self._pipes: dict[bool, Connection] = {}
        self.ports: dict[bool, int] = {}
        self._processes = []
        context = multiprocessing.get_context("spawn")
        for with_interceptor in (False, True):
            mine, theirs = context.Pipe()
            process = context.Process(target=server_process, args=(theirs, with_interceptor, platform))
            process.start()
            self._processes.append(process)
            self._pipes[with_interceptor] = mine
            self.ports[with_interceptor] = mine.recv()

    def cpu_s(self, with_interceptor: bool) -> float:
        self._pipes[with_interceptor].send("cpu")
        return float(self._pipes[with_interceptor].recv())

    def stop(self) -> None:
        for pipe, process in zip(self._pipes.values(), self._processes, strict=True):
            pipe.send("stop")
            process.join()


async def make_calls(
    servers: Servers, telemetry: Telemetry, directory: Path, stack: AsyncExitStack
) -> dict[str, tuple[bool, Callable[[], Awaitable[bytes]]]]:
    issuer = TokenIssuer(KEY, "services/caller", [Role.SERVICE])
    metadata = (("authorization", f"Bearer {issuer.token('bench')}"),)
    bare = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{servers.ports[False]}"))
    guarded = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{servers.ports[True]}"))
    StaticPublisher(directory / "endpoints.json", "bench", "0").publish(
        Endpoint(f"127.0.0.1:{servers.ports[True]}", "127.0.0.1:1", 1)
    )
    channel = ServiceChannel(
        "bench",
        StaticResolver(directory / "endpoints.json"),
        Caller(issuer, telemetry.tracer, ClientMetrics(telemetry.registry)),
    )
    await stack.enter_async_context(channel)
    return {
        "bare": (False, partial(bare.unary_unary(METHOD), PAYLOAD, metadata=metadata, timeout=5.0)),
        "interceptor": (True, partial(guarded.unary_unary(METHOD), PAYLOAD, metadata=metadata, timeout=5.0)),
        "interceptor+channel": (True, partial(channel.unary_unary(METHOD), PAYLOAD)),
    }


Rounds = dict[str, list[tuple[float, float, float]]]


async def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    platform = PlatformSettings(data_directory=directory, trace_ratio=options.trace_ratio)
    servers = Servers(platform)
    rounds: Rounds = {}
    try:
        with start_telemetry(platform, "caller") as telemetry:
            async with AsyncExitStack() as stack:
                calls = await make_calls(servers, telemetry, directory, stack)
                for number in range(options.rounds + 1):
                    for name, (which, call) in calls.items():
                        result = await measure_once(servers, which, call, options)
                        if number:  # the first round warms up
                            rounds.setdefault(name, []).append(result)
    finally:
        servers.stop()
    return report(rounds, options)


async def measure_once(
    servers: Servers, which: bool, call: Callable[[], Awaitable[bytes]], options: argparse.Namespace
) -> tuple[float, float, float]:
    server_before_s, client_before_s = servers.cpu_s(which), cpu_s()
    waits = await call_many(call, options.calls, options.concurrency)
    client_s = cpu_s() - client_before_s
    server_s = servers.cpu_s(which) - server_before_s
    p99_ms = sorted(waits)[int(0.99 * len(waits))] * 1e3
    return server_s / len(waits) * 1e6, client_s / len(waits) * 1e6, p99_ms


def report(rounds: Rounds, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "trace_ratio": options.trace_ratio,
        "calls_per_round": options.calls,
        "concurrency": options.concurrency,
        "variants": {
            name: {
                title: spread(list(column))
                for title, column in zip(
                    ("server_cpu_us", "client_cpu_us", "p99_ms"), zip(*values, strict=True), strict=True
                )
            }
            for name, values in rounds.items()
        },
        "interceptor_added_us": spread(added(rounds, "interceptor", 0)),
        "channel_added_us": spread(added(rounds, "interceptor+channel", 1)),
    }


def added(rounds: Rounds, name: str, column: int) -> list[float]:
    return [ours[column] - bare[column] for ours, bare in zip(rounds[name], rounds["bare"], strict=True)]


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 1),
        "minimum": round(min(values), 1),
        "maximum": round(max(values), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--trace-ratio", type=float, default=0.01)
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(asyncio.run(measure(parser.parse_args(), Path(directory))), indent=1))


if __name__ == "__main__":
    main()
