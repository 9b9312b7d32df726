"""Names the metrics and spans of events; `docs/telemetry.yaml` lists them."""

from opentelemetry import trace
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class EventInstruments:
    """Counts what a process consumes and publishes; make one per process, from its telemetry."""

    def __init__(self, registry: CollectorRegistry | None = None, tracer: Tracer | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.tracer = tracer or trace.get_tracer("mltrainer")
        self.consumed = Counter(
            "mltrainer_events_consumed",
            "Events done with, by outcome.",
            ["consumer", "topic", "outcome"],
            registry=registry,
        )
        self.failures = Counter(
            "mltrainer_event_failures",
            "Failed attempts to handle events.",
            ["consumer", "topic", "error"],
            registry=registry,
        )
        self.handler_seconds = Histogram(
            "mltrainer_event_handler_seconds",
            "Time in a handler, per call.",
            ["consumer", "topic"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self.lag = Gauge(
            "mltrainer_consumer_lag_events",
            "Events of a partition that wait behind the last batch.",
            ["consumer", "topic", "partition"],
            registry=registry,
        )
        self.published = Counter(
            "mltrainer_outbox_published", "Events the relay published.", ["service"], registry=registry
        )
        self.outbox_depth = Gauge(
            "mltrainer_outbox_depth_events", "Events waiting in the outbox.", ["service"], registry=registry
        )
