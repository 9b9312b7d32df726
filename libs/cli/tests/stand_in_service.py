"""A service that only says it serves, or refuses to start when `REFUSE` is set."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from mltrainer_common.discovery import Endpoint, StaticPublisher


async def main(slug: str) -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    file = Path(os.environ["MLTRAINER_DATA_DIRECTORY"]) / "endpoints.json"
    publisher = StaticPublisher(file, slug, os.environ["MLTRAINER_INSTANCE"])
    publisher.publish(Endpoint(f"127.0.0.1:{port}", "127.0.0.1:0", os.getpid()))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    publisher.withdraw()
    await server.stop(0)


if os.environ.get("REFUSE"):
    sys.stderr.write(f"mltrainer chaos: {os.environ['REFUSE']}\n")
    sys.exit(2)
asyncio.run(main("chaos"))
