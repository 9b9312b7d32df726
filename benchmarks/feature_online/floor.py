"""Measures what a call costs before anything of ours runs: two kinds of server, with and without Redis.

    python benchmarks/feature_online/floor.py --seconds 2 --rounds 3

Each server answers the same bytes; `redis` means that it first asks Redis for eleven fields of a hash, as a
read of ten features does. No interceptor, no token, no plan, no metrics.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import hiredis
from mltrainer_testkit.redis import redis_server

METHOD = "/floor.Floor/Read"
REQUEST, ANSWER = b"q" * 300, b"a" * 700
FIELDS = [f"field{number}".encode() for number in range(11)]
_WORDS: Any = (b"HMGET", b"key", *FIELDS)
COMMAND = hiredis.pack_command(_WORDS)
SERVERS = ("asyncio", "asyncio, redis", "threads", "threads, redis")
CALLERS = (8, 32)
_TICKS = os.sysconf("SC_CLK_TCK")


class ThreadClients(threading.local):
    """A connection to Redis for each thread."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader()

    def read(self) -> None:
        self.socket.sendall(COMMAND)
        while self.reader.gets() is False:
            self.reader.feed(self.socket.recv(65_536))


class SharedConnection(asyncio.Protocol):
    """One connection to Redis, whose replies come in the order of the commands."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: list[asyncio.Future[Any]] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.pop(0).set_result(reply)

    async def read(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(COMMAND)
        await future


def handler_of(behaviour: Callable[..., Any]) -> grpc.GenericRpcHandler:
    method: Any = grpc.unary_unary_rpc_method_handler(behaviour)
    return grpc.method_handlers_generic_handler("floor.Floor", {"Read": method})


async def serve_asyncio(redis_port: int | None) -> None:
    loop = asyncio.get_running_loop()
    read: Callable[[], Awaitable[None]] | None = None
    if redis_port is not None:
        _, connection = await loop.create_connection(SharedConnection, "127.0.0.1", redis_port)
        read = connection.read

    async def answer(_request: bytes, _context: Any) -> bytes:
        if read is not None:
            await read()
        return ANSWER

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handler_of(answer)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def serve_threads(redis_port: int | None) -> None:
    clients = None if redis_port is None else ThreadClients(redis_port)

    def answer(_request: bytes, _context: Any) -> bytes:
        if clients is not None:
            clients.read()
        return ANSWER

    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([handler_of(answer)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


async def load(port: int, callers: int, seconds: float) -> int:
    """Calls in a closed loop and returns how often."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(METHOD)
        until_s, count = time.perf_counter() + seconds, 0

        async def caller() -> None:
            nonlocal count
            while time.perf_counter() < until_s:
                await call(REQUEST)
                count += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
    return count


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(kind: str, redis_port: int, options: argparse.Namespace) -> dict[int, list[float]]:
    """Returns the CPU of a server in microseconds per call, by the number of callers."""
    command = [sys.executable, __file__, "--serve", kind, "--redis-port", str(redis_port)]
    costs: dict[int, list[float]] = {callers: [] for callers in CALLERS}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        asyncio.run(load(port, 8, 0.5))
        for _ in range(options.rounds):
            for callers in CALLERS:
                before_s = cpu_s(server.pid)
                count = asyncio.run(load(port, callers, options.seconds))
                costs[callers].append((cpu_s(server.pid) - before_s) / count * 1e6)
        server.terminate()
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=SERVERS, help="what a child process does")
    parser.add_argument("--redis-port", type=int, help="for a child process")
    options = parser.parse_args()
    if options.serve:
        port = options.redis_port if "redis" in options.serve else None
        if options.serve.startswith("asyncio"):
            asyncio.run(serve_asyncio(port))
        else:
            serve_threads(port)
        return
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as redis:
        redis_port = int(redis.url.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", redis_port)) as connection:
            values = [part for field in FIELDS for part in (field, b"12345678901")]
            hset: Any = (b"HSET", b"key", *values)
            connection.sendall(hiredis.pack_command(hset))
            connection.recv(100)
        print("server CPU in microseconds per call, median (lowest to highest)")
        for kind in SERVERS:
            for callers, costs in measure(kind, redis_port, options).items():
                spread = f"({min(costs):.0f} to {max(costs):.0f})"
                print(f"{kind:16} {callers:3} callers {statistics.median(costs):6.0f} {spread}")


if __name__ == "__main__":
    main()
