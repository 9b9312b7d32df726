"""Surrounds a load with a span of the trace that made the version, so that a training's trace ends here."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import structlog
from mltrainer_common.telemetry import use_traceparent
from opentelemetry.trace import Tracer

from mltrainer_serving.domain.deployment import DeployedAlias

_log = structlog.get_logger()


def load_spans(tracer: Tracer) -> Callable[[DeployedAlias], AbstractContextManager[None]]:
    """Returns an observer of loads."""

    @contextmanager
    def observe(deployed: DeployedAlias) -> Iterator[None]:
        attributes = {"mltrainer.version": deployed.wanted.name, "mltrainer.alias": deployed.alias}
        with (
            use_traceparent(deployed.traceparent or None),
            tracer.start_as_current_span("load_version", attributes=attributes),
        ):
            yield
            _log.info("version_loaded", version=deployed.wanted.name, alias=deployed.alias)

    return observe
