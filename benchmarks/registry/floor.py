"""Answers alias lookups with nothing but gRPC: the part of a call's time that no registry can save.

    python benchmarks/registry/floor.py

Prints its port. The message is decoded and one of the same size encoded; there are no interceptors, no tokens
and no other work in the process.
"""

import asyncio
import gc
from typing import Any

import grpc
import registry_requests
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources

ANSWER = resources.Alias(
    name="models/model-0/aliases/live", version="models/model-0/versions/5", revision=1_000
)


async def get_alias(_request: api.GetAliasRequest, _context: Any) -> resources.Alias:
    return ANSWER


async def main() -> None:
    service, method = registry_requests.METHODS["alias"][1:].split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        get_alias, api.GetAliasRequest.FromString, resources.Alias.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.collect()
    gc.freeze()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
