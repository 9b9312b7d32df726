"""Measures online reads over one Redis: ours beside `feast listen` (gRPC) and `feast serve` (HTTP).

It prints server CPU per call, and exits with 1 where values differ or a bound of `ranges.toml` breaks.
"""

import argparse
import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from mltrainer_common.authorization import Role
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_testkit.peers import peer_environment
from mltrainer_testkit.ports import free_port
from mltrainer_testkit.redis import redis_server
from shapes import Request, draw, values_of_document, values_of_message

HERE = Path(__file__).parent
FEAST = "0.67.0"
PEER_PACKAGES = (f"feast[redis,grpcio]=={FEAST}",)
SYMBOLS = 200
SHAPES = {"20 x 50": (20, 50), "1 x 10": (1, 10)}
NO_READ = "no read"
_START_TIMEOUT_S = 180.0
Call = Callable[[Request], Awaitable[bytes]]


@dataclass(frozen=True)
class Server:
    """A server that runs: how it is called, and how its answers are read."""

    name: str
    process: psutil.Process
    call: Call
    read: Callable[[bytes], dict[str, list[float]]]

    def cpu_s(self) -> float:
        """Returns the CPU time of the process and its children, also of those that have ended."""
        tree = [self.process, *self.process.children(recursive=True)]
        return sum(sum(process.cpu_times()[:4]) for process in tree)


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[psutil.Process]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
    tree = psutil.Process(process.pid)
    try:
        yield tree
    finally:
        children = tree.children(recursive=True) if tree.is_running() else []
        process.terminate()
        for child in children:
            if child.is_running():
                child.terminate()
        process.wait()


def wait_for(is_ready: Callable[[], bool], process: psutil.Process, log: Path) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not is_ready():
        if time.monotonic() > deadline_s or process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"a server did not start:\n{log.read_text()[-3_000:]}")
        time.sleep(0.1)


def is_listening(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.connect()
    except OSError:
        return False
    connection.close()
    return True


def grpc_call(port: int, method: str, metadata: tuple[tuple[str, str], ...]) -> Call:
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=(("grpc.max_receive_message_length", 64 * 1024 * 1024),)
    )
    callable_: Any = channel.unary_unary(method)

    async def call(request: Request) -> bytes:
        answer: bytes = await callable_(request.message, metadata=metadata, timeout=60)
        return answer

    return call


def http_call(port: int, stack: ExitStack) -> Call:
    pool = stack.enter_context(ThreadPoolExecutor(64))
    free: list[http.client.HTTPConnection] = []

    def ask(request: Request) -> bytes:
        connection = free.pop() if free else http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request(
                "POST",
                "/get-online-features",
                request.document,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            body = response.read()
        except (http.client.HTTPException, OSError):
            # The server closes connections now and then, when it replaces its workers.
            connection.close()
            return ask(request)
        free.append(connection)
        if response.status != http.client.OK:
            raise RuntimeError(body.decode())
        return body

    async def call(request: Request) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(pool, ask, request)

    return call


def start_ours(folder: Path, redis_url: str, stack: ExitStack) -> list[Server]:
    """Starts our service; the second of the two is the same, asked for what needs no reading at all."""
    data, log, port = folder / "data", folder / "ours.log", free_port()
    environment = {
        "MLTRAINER_DATA_DIRECTORY": str(data),
        "MLTRAINER_GRPC_PORT": str(port),
        "MLTRAINER_FEATURE_REDIS_URL": redis_url,
        "MLTRAINER_FEATURE_ONLINE_REGISTRY": str(folder / "registry.db"),
        "MLTRAINER_LOG_LEVEL": "warning",
        "MLTRAINER_TRACE_RATIO": "0.01",
    }
    process = stack.enter_context(running([sys.executable, "-m", "mltrainer_feature"], log, **environment))
    wait_for(lambda: is_listening(port), process, log)
    key = load_or_create_token_key(data / "token.key")
    token = TokenIssuer(key, "bench", [Role.TRADER], lifetime_s=7_200).token("feature")
    metadata = (("authorization", f"Bearer {token}"),)
    call = grpc_call(port, "/feast.serving.ServingService/GetOnlineFeatures", metadata)
    info = grpc_call(port, "/feast.serving.ServingService/GetFeastServingInfo", metadata)
    return [
        Server("ours", process, call, values_of_message),
        Server(NO_READ, process, info, values_of_message),
    ]


def start_listen(folder: Path, feast: str, stack: ExitStack) -> Server:
    log, port = folder / "listen.log", free_port()
    command = [feast, "-c", str(folder / "peer"), "listen", "--address", f"127.0.0.1:{port}"]
    process = stack.enter_context(running(command, log))
    wait_for(lambda: is_listening(port), process, log)
    call = grpc_call(port, "/GrpcFeatureServer/GetOnlineFeatures", ())
    return Server("feast listen", process, call, values_of_message)


def start_serve(folder: Path, feast: str, stack: ExitStack) -> Server:
    log, port = folder / "serve.log", free_port()
    command = [feast, "-c", str(folder / "peer"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    process = stack.enter_context(running([*command, "--no-access-log"], log))
    wait_for(lambda: is_listening(port), process, log)
    return Server("feast serve", process, http_call(port, stack), values_of_document)


async def drive(
    server: Server, requests: Sequence[Request], callers: int, seconds: float
) -> tuple[float, int]:
    """Calls as often as possible; returns the server's CPU seconds and the number of calls."""
    end_s = time.monotonic() + seconds
    counts = [0] * callers

    async def caller(number: int) -> None:
        place = number * 131
        while time.monotonic() < end_s:
            await server.call(requests[place % len(requests)])
            place += 1
            counts[number] += 1

    before = server.cpu_s()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return server.cpu_s() - before, sum(counts)


async def check_equal(servers: Sequence[Server], requests: Sequence[Request]) -> int:
    """Compares the values of every server with those of the first; returns how many were equal."""
    compared = 0
    for request in requests:
        answers = [server.read(await server.call(request)) for server in servers]
        for server, answer in zip(servers, answers, strict=True):
            if answer != answers[0] or len(answer) != len(request.features):
                raise RuntimeError(f"{server.name} answers otherwise than {servers[0].name}")
        compared += sum(map(len, answers[0].values()))
    return compared


async def measure(
    options: argparse.Namespace, servers: Sequence[Server]
) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    readers = [server for server in servers if server.name != NO_READ]
    for shape, (entities, width) in SHAPES.items():
        requests = draw(entities, width, SYMBOLS, 2_000, seed=11)
        compared = await check_equal(readers, requests[:40])
        print(f"{shape}: {compared:,} values of {len(readers)} servers equal", flush=True)
        for server in servers:
            await drive(server, requests, 8, 1.0)
        for _ in range(options.rounds):
            for callers in options.callers:
                for server in servers:
                    cpu_s, calls = await drive(server, requests, callers, options.seconds)
                    cell = found.setdefault(f"{shape}, {callers} callers", {})
                    cell.setdefault(server.name, []).append(cpu_s / calls * 1e6)
        fresh = draw(entities, width, SYMBOLS, 2_000, seed=12, lists=2_000)
        cpu_s, calls = await drive(servers[0], fresh, 8, options.seconds)
        found.setdefault(f"{shape}, 8 callers, mostly new lists", {})["ours"] = [cpu_s / calls * 1e6]
    return found


def report(found: dict[str, dict[str, list[float]]]) -> list[str]:
    """Prints the table and returns which bounds are broken."""
    bounds = tomllib.loads((HERE / "ranges.toml").read_text())["bounds"]
    broken = []
    print("\nserver CPU µs per call: median (lowest to highest)")
    for cell, by_server in found.items():
        medians = {name: statistics.median(values) for name, values in by_server.items()}
        for name, values in by_server.items():
            ratio = f"  {medians[name] / medians['ours']:5.1f} x ours" if name != "ours" else ""
            print(f"{cell:36} {name:13} {medians[name]:8.0f} ({min(values):.0f} to {max(values):.0f}){ratio}")
        for bound in bounds:
            if not cell.startswith(bound["shape"]) or "new" in cell:
                continue
            value = (
                medians["ours"] if "at_most_us" in bound else medians.get(bound["peer"], 0) / medians["ours"]
            )
            is_kept = value <= bound["at_most_us"] if "at_most_us" in bound else value >= bound["at_least"]
            if bound.get("peer", "ours") in medians and not is_kept:
                broken.append(f"{cell}: {bound} is broken by {value:.1f}")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--callers", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    parser.add_argument("--output", type=Path, help="also write everything as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltrainer-online-") as directory, ExitStack() as stack:
        folder = Path(directory)
        redis = stack.enter_context(redis_server(folder))
        prepare = [sys.executable, str(HERE / "prepare.py"), str(folder), str(redis.port), str(SYMBOLS)]
        subprocess.run(prepare, check=True)

        async def run() -> dict[str, dict[str, list[float]]]:
            servers = start_ours(folder, redis.url, stack)
            if not options.no_peer:
                feast = str(peer_environment(f"feast-redis-{FEAST}", PEER_PACKAGES) / "bin" / "feast")
                servers += [start_listen(folder, feast, stack), start_serve(folder, feast, stack)]
            return await measure(options, servers)

        found = asyncio.run(run())
    broken = report(found)
    print("\n".join(broken) if broken else "values equal, bounds kept")
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
