"""Reads the counters of calls from a Prometheus exposition."""

from google.protobuf.descriptor import ServiceDescriptor
from mltrainer.registry.v1 import registry_service_pb2
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mltrainer_monitor.domain.counters import CounterReading
from mltrainer_monitor.domain.objectives import Counts, Indicator

# The caller can do nothing about these; the other codes say that the call was wrong or withdrawn.
SERVER_FAULTS = frozenset({"INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNKNOWN"})
_CALLS = "mltrainer_rpc_server_calls"
_SECONDS = "mltrainer_rpc_server_seconds"
_START = "process_start_time_seconds"
_PREFIXES = tuple(f"{comment}{name}" for comment in ("", "# TYPE ") for name in (_CALLS, _SECONDS, _START))
_UNPROMISED_SERVICES = ("/grpc.",)


def _server_streams(service: ServiceDescriptor) -> set[str]:
    return {f"/{service.full_name}/{method.name}" for method in service.methods if method.server_streaming}


SERVER_STREAMS = frozenset(
    _server_streams(registry_service_pb2.DESCRIPTOR.services_by_name["RegistryService"])
    | {"/flagd.evaluation.v1.Service/EventStream", "/flagd.evaluation.v2.Service/EventStream"}
)


def to_reading(text: str, threshold_ms: float) -> CounterReading:
    """Reads one process; calls slower than the largest bucket within the threshold count as slow.

    Raises:
        ValueError: The text is no exposition of one of our processes.
    """
    lines = [line for line in text.splitlines() if line.startswith(_PREFIXES)]
    families = {family.name: family for family in text_string_to_metric_families("\n".join(lines) + "\n")}
    try:
        start_s = families[_START].samples[0].value
    except (KeyError, IndexError):
        raise ValueError(f"{_START} is missing") from None
    availability = _availability(families[_CALLS]) if _CALLS in families else Counts()
    latency = _latency(families[_SECONDS], threshold_ms / 1000) if _SECONDS in families else Counts()
    return CounterReading(start_s, {Indicator.AVAILABILITY: availability, Indicator.LATENCY: latency})


def _availability(family: Metric) -> Counts:
    samples = [
        (sample.labels["code"] not in SERVER_FAULTS, int(sample.value))
        for sample in family.samples
        if sample.name == f"{_CALLS}_total" and not sample.labels["method"].startswith(_UNPROMISED_SERVICES)
    ]
    return Counts(sum(value for good, value in samples if good), sum(value for _, value in samples))


def _latency(family: Metric, threshold_s: float) -> Counts:
    timed = [sample for sample in family.samples if _is_timed(sample.labels)]
    counts = [int(sample.value) for sample in timed if sample.name == f"{_SECONDS}_count"]
    buckets = [
        (float(sample.labels["le"]), int(sample.value))
        for sample in timed
        if sample.name == f"{_SECONDS}_bucket"
    ]
    bound = max((le for le, _ in buckets if le <= threshold_s), default=None)
    return Counts(sum(value for le, value in buckets if le == bound), sum(counts))


def _is_timed(labels: dict[str, str]) -> bool:
    method = labels["method"]
    return (
        labels["code"] not in SERVER_FAULTS
        and method not in SERVER_STREAMS
        and not method.startswith(_UNPROMISED_SERVICES)
    )
