"""Answers health checks like serving; announces itself where the platform looks. Argument: data directory."""

import asyncio
import os
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from mltrainer_common.discovery import Endpoint, StaticPublisher


async def serve(directory: Path) -> None:
    server = grpc.aio.server()
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    endpoint = Endpoint(f"127.0.0.1:{port}", "", os.getpid())
    StaticPublisher(directory / "endpoints.json", "serving", "0").publish(endpoint)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
