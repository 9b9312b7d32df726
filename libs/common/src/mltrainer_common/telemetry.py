"""Starts what makes a process observable: spans, metrics and logs."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

from mltrainer_common.errors import StartupError
from mltrainer_common.logs import configured_logs
from mltrainer_common.settings import Environment, PlatformSettings
from mltrainer_common.traces import current_traceparent, tracer_provider, use_traceparent

__all__ = ["Telemetry", "current_traceparent", "start_telemetry", "use_traceparent"]

_SCOPE = "mltrainer"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the parts of a process need to be observable.

    Attributes:
        tracer: Makes spans.
        registry: Holds the metrics that `/metrics` of `metrics_address` answers.
    """

    tracer: Tracer
    registry: CollectorRegistry
    metrics_address: str


@contextmanager
def start_telemetry(platform: PlatformSettings, slug: str) -> Iterator[Telemetry]:
    """Starts spans, metrics and logs of a service; on leaving, spans are flushed and the port is closed.

    The first provider of a process also becomes the global one, for libraries that ask for it.
    """
    development = platform.environment is Environment.DEVELOPMENT
    resource = Resource(
        {
            "service.name": slug,
            "service.namespace": "mltrainer",
            "service.instance.id": platform.instance,
            "process.pid": os.getpid(),
        }
    )
    with ExitStack() as stack:
        stack.enter_context(configured_logs(slug, platform.instance, platform.log_level))
        provider = tracer_provider(
            resource,
            platform.trace_ratio,
            file=platform.data_directory / "traces" / f"{slug}.jsonl" if development else None,
            otlp_endpoint=platform.otlp_endpoint,
        )
        stack.callback(provider.shutdown)
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(provider)
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        address = stack.enter_context(_metrics_server(platform.bind_host, registry))
        yield Telemetry(provider.get_tracer(_SCOPE), registry, address)


@contextmanager
def _metrics_server(host: str, registry: CollectorRegistry) -> Iterator[str]:
    try:
        server, thread = start_http_server(0, addr=host, registry=registry)
    except OSError as error:
        raise StartupError(f"{host} is no address of this machine: set MLTRAINER_BIND_HOST to one") from error
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
