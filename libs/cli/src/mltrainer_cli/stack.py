"""Says which processes make up the local stack, and with what settings each of them runs."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mltrainer_cli import kafka
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.processes import STACK_VARIABLE
from mltrainer_cli.supervisor import ProcessDefinition

KAFKA_VARIABLE = "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS"
KAFKA = "kafka"
SERVICES = (
    "registry",
    "feature",
    "experiment",
    "scheduler",
    "trainer",
    "serving",
    "monitor",
    "cost-optimizer",
    "chaos",
)
_HEALTH_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What a user may choose about a stack.

    Attributes:
        services: Slugs to run; all that are installed when None.
        replicas: How many instances of a service, where not one.
        environment: Further settings of every service.
    """

    services: tuple[str, ...] | None = None
    replicas: Mapping[str, int] = field(default_factory=dict)
    kafka_port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "StackOptions":
        content = json.loads(text)
        services = content.pop("services")
        return cls(services=None if services is None else tuple(services), **content)


@dataclass(frozen=True, slots=True)
class Stack:
    """The processes to keep running and where their broker is."""

    kafka_bootstrap_servers: str
    definitions: tuple[ProcessDefinition, ...]


def define_stack(data: DataDirectory, options: StackOptions) -> Stack:
    """Prepares the broker and lists every process.

    Raises:
        CliError: the broker cannot be prepared, yours does not answer, or a service is not installed.
    """
    slugs = chosen_services(options)
    broker = _define_broker(data, options)
    servers = os.environ[KAFKA_VARIABLE] if broker is None else broker.kafka_bootstrap_servers
    shared = _environment(data, servers, options)
    services = (
        _define_service(data, slug, instance, shared, after=() if broker is None else (KAFKA,))
        for slug in slugs
        for instance in range(options.replicas.get(slug, 1))
    )
    return Stack(servers, (*(broker.definitions if broker else ()), *services))


def installed_services() -> tuple[str, ...]:
    """Returns the slugs of the services that can be run from this installation."""
    return tuple(slug for slug in SERVICES if _is_runnable(package_of(slug)))


def chosen_services(options: StackOptions) -> tuple[str, ...]:
    """Returns the slugs to run.

    Raises:
        CliError: one of them is unknown or not installed.
    """
    installed = installed_services()
    if options.services is None:
        return installed
    for slug in options.services:
        if slug not in installed:
            known = ", ".join(installed) or "none"
            raise CliError(f"There is no service {slug!r} to run: installed are {known}.", ExitCode.USAGE)
    return options.services


def package_of(slug: str) -> str:
    """Returns the import name of a service."""
    return f"mltrainer_{slug.replace('-', '_')}"


def process_name(slug: str, instance: int | str) -> str:
    """Returns the name of an instance in records, logs and tables."""
    return f"{slug}-{instance}"


def _is_runnable(package: str) -> bool:
    try:
        return importlib.util.find_spec(f"{package}.__main__") is not None
    except ModuleNotFoundError:
        return False


def _define_broker(data: DataDirectory, options: StackOptions) -> Stack | None:
    if yours := os.environ.get(KAFKA_VARIABLE):
        if not kafka.answers(yours, timeout_s=5.0):
            raise CliError(f"No Kafka broker answers at {yours}: start it, or unset {KAFKA_VARIABLE}.")
        return None
    prepared = kafka.prepare(data.kafka, port=options.kafka_port)
    servers = prepared.bootstrap_servers

    async def is_ready(_pid: int) -> bool:
        return await asyncio.to_thread(kafka.answers, servers)

    environment = {**os.environ, **_mark(data)}
    return Stack(servers, (ProcessDefinition(KAFKA, prepared.command, environment, is_ready),))


def _define_service(
    data: DataDirectory, slug: str, instance: int, shared: Mapping[str, str], after: tuple[str, ...]
) -> ProcessDefinition:
    async def is_ready(pid: int) -> bool:
        return await _serves(data.endpoints_file, slug, str(instance), pid)

    return ProcessDefinition(
        name=process_name(slug, instance),
        command=(sys.executable, "-P", "-m", package_of(slug)),
        environment={**shared, "MLTRAINER_INSTANCE": str(instance)},
        is_ready=is_ready,
        after=after,
    )


def _environment(data: DataDirectory, servers: str, options: StackOptions) -> dict[str, str]:
    return {
        **os.environ,
        **options.environment,
        **_mark(data),
        "MLTRAINER_DATA_DIRECTORY": str(data.path),
        KAFKA_VARIABLE: servers,
        "MLTRAINER_TOKEN_KEY_FILE": str(data.token_key_file),
    }


def _mark(data: DataDirectory) -> dict[str, str]:
    return {STACK_VARIABLE: data.stack_id or ""}


async def _serves(endpoints_file: Path, slug: str, instance: str, pid: int) -> bool:
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from mltrainer_common.discovery import read_endpoints

    endpoint = read_endpoints(endpoints_file).get(slug, {}).get(instance)
    if endpoint is None or endpoint.pid != pid:
        return False
    try:
        async with grpc.aio.insecure_channel(endpoint.address) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            answer = await check(HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_S)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == HealthCheckResponse.SERVING)
