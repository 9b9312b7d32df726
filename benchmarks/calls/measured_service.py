"""Runs one service as its `__main__` does, and serves the same servicers once more without the interceptor.

    python benchmarks/calls/measured_service.py registry /tmp/registry.port

Both servers share one process and one event loop, so a call costs the same work on either, and what the
process's CPU clock shows more on the service's own port is the cost of the chain.
"""

import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from mltrainer_cli.stack import package_of
from mltrainer_common.service import Loop, ServiceContext, ServiceParts, run_service

CPU_METHOD = "/bench.v1.Process/CpuTime"


async def cpu_time(_request: bytes, _context: Any) -> bytes:
    return time.process_time_ns().to_bytes(8, "little")


async def serve_bare(parts: ServiceParts, port_file: Path) -> None:
    server = grpc.aio.server(
        options=parts.limits.options(), maximum_concurrent_rpcs=parts.limits.maximum_concurrent_rpcs
    )
    for add in parts.servicers:
        add(server)
    _, service, method = CPU_METHOD.split("/")
    handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(cpu_time)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    draft = port_file.with_suffix(".draft")
    draft.write_text(str(port))
    draft.replace(port_file)
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(None)


def with_bare_port(
    assemble: Callable[..., Coroutine[Any, Any, ServiceParts]], port_file: Path
) -> Callable[[ServiceContext, Any], Coroutine[Any, Any, ServiceParts]]:
    async def assemble_both(context: ServiceContext, settings: Any) -> ServiceParts:
        parts = await assemble(context, settings)
        bare: Loop = partial(serve_bare, parts, port_file)
        return replace(parts, background={**parts.background, "bare": bare})

    return assemble_both


def main() -> int:
    slug, port_file = sys.argv[1], Path(sys.argv[2])
    package = package_of(slug)
    settings = getattr(import_module(f"{package}.settings"), f"{slug.title().replace('-', '')}Settings")
    assemble = import_module(f"{package}.bootstrap").assemble
    return run_service(slug, settings, with_bare_port(assemble, port_file))


if __name__ == "__main__":
    raise SystemExit(main())
