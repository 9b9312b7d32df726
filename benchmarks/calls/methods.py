"""Measures what methods that nobody calls add to a call: registered with grpc.aio, and left unregistered.

One process serves every variant on a port of its own, so that a round compares them under the same load.

    python benchmarks/calls/methods.py --rounds 7 --calls 2000
    python benchmarks/calls/methods.py --loop uvloop
"""

import argparse
import asyncio
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import grpc

SERVICE = "bench.v1.Many"
COUNTS = (1, 20, 40)
PAYLOAD = b"x" * 256


async def echo(request: bytes, _context: Any) -> bytes:
    return request


def add_methods(server: grpc.aio.Server, count: int, *, registered: bool) -> None:
    handlers: Any = {f"M{number}": grpc.unary_unary_rpc_method_handler(echo) for number in range(count)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if registered:
        server.add_registered_method_handlers(SERVICE, handlers)


async def serve(pipe: Connection) -> None:
    servers, ports = [], {}
    for count in COUNTS:
        for registered in (True, False):
            server = grpc.aio.server()
            add_methods(server, count, registered=registered)
            ports[count, registered] = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            servers.append(server)
    pipe.send(ports)
    while await asyncio.to_thread(pipe.recv) != "stop":
        pipe.send(time.process_time())
    await asyncio.gather(*(server.stop(None) for server in servers))


def run_server(pipe: Connection, loop: str) -> None:
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve(pipe))
    else:
        asyncio.run(serve(pipe))


async def cpu_us(pipe: Connection, port: int, calls: int, callers: int) -> float:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(f"/{SERVICE}/M0")
        await call(PAYLOAD, wait_for_ready=True)

        async def caller() -> None:
            for _ in range(calls // callers):
                await call(PAYLOAD)

        pipe.send("cpu")
        before_s = pipe.recv()
        await asyncio.gather(*(caller() for _ in range(callers)))
        pipe.send("cpu")
        spent_s: float = pipe.recv() - before_s
    return spent_s / (calls // callers * callers) * 1e6


async def measure(options: argparse.Namespace, pipe: Connection) -> dict[tuple[int, bool], list[float]]:
    ports: dict[tuple[int, bool], int] = pipe.recv()
    found: dict[tuple[int, bool], list[float]] = {variant: [] for variant in ports}
    for number in range(options.rounds + 1):
        order = list(ports)[:: -1 if number % 2 else 1]
        for variant in order:
            value = await cpu_us(pipe, ports[variant], options.calls, options.callers)
            if number:  # the first round warms up
                found[variant].append(value)
    return found


def report(found: dict[tuple[int, bool], list[float]]) -> None:
    print("methods | registered: server CPU µs per call | unregistered | saved, pair by pair")
    for count in COUNTS:
        pairs = list(zip(found[count, True], found[count, False], strict=True))
        columns = [*map(list, zip(*pairs, strict=True)), [before - after for before, after in pairs]]
        cells = [f"{statistics.median(cell):.0f} ({min(cell):.0f} to {max(cell):.0f})" for cell in columns]
        print(f"{count} | " + " | ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="of the server")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=run_server, args=(theirs, options.loop))
    process.start()
    try:
        report(asyncio.run(measure(options, pipe)))
    finally:
        pipe.send("stop")
        process.join()


if __name__ == "__main__":
    main()
