"""Names the metrics of calls; `docs/telemetry.yaml` lists them."""

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class ServerMetrics:
    """Calls answered, by method and code, and how long the answers took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "mltrainer_rpc_server_calls", "Calls answered.", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "mltrainer_rpc_server_seconds",
            "Time from the first look at a call to its end.",
            ["method", "code"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._children: dict[tuple[str, grpc.StatusCode], tuple[Counter, Histogram]] = {}

    def record(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Counts one call."""
        children = self._children.get((method, code))
        if children is None:
            children = (self._calls.labels(method, code.name), self._seconds.labels(method, code.name))
            self._children[method, code] = children
        children[0].inc()
        children[1].observe(seconds)


class ClientMetrics:
    """Calls made, by peer, method and code, and the state of the breakers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "mltrainer_rpc_client_calls", "Calls made.", ["peer", "method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "mltrainer_rpc_client_seconds",
            "Time from asking for a call to its end, retries included.",
            ["peer", "method"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._breaker_closed = Gauge(
            "mltrainer_breaker_closed",
            "1 while calls to the peer are let through.",
            ["peer"],
            registry=registry,
        )

    def record(self, peer: str, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Counts one call."""
        self._calls.labels(peer, method, code.name).inc()
        self._seconds.labels(peer, method).observe(seconds)

    def breaker(self, peer: str, *, closed: bool) -> None:
        """Notes a change of a breaker."""
        self._breaker_closed.labels(peer).set(closed)
