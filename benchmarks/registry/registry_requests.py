"""Makes the bytes of calls to our registry."""

from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.types.v1 import types_pb2 as types

SERVICE = "/mltrainer.registry.v1.RegistryService"
METHODS = {"alias": f"{SERVICE}/GetAlias", "create": f"{SERVICE}/CreateModelVersion"}


def get_alias(model: str) -> bytes:
    return api.GetAliasRequest(name=f"models/{model}/aliases/live").SerializeToString()


def create_version(model: str, training: str, manifest_digest: str) -> bytes:
    return version_request(model, training, manifest_digest).SerializeToString()


def version_request(model: str, training: str, manifest_digest: str) -> api.CreateModelVersionRequest:
    """Describes a version as a training does, with its whole lineage and some metrics."""
    version = resources.ModelVersion(training=training)
    version.manifest.digest = manifest_digest
    lineage = version.lineage
    lineage.training, lineage.attempt, lineage.study = training, 1, f"studies/{model}"
    lineage.dataset, lineage.dataset_sha256 = "datasets/d1", "d" * 64
    lineage.feature_view_versions.extend(["bars@1", "market_volatility@2"])
    lineage.code_digest, lineage.environment_digest = "c" * 64, "e" * 64
    lineage.computation_key = "k" * 64
    lineage.as_of.CopyFrom(Timestamp(seconds=1_700_000_000))
    version.result.verdict = types.VERDICT_EDGE
    for name, value in (("r2", 0.5), ("mae", 0.01), ("rmse", 0.02)):
        version.result.metrics.add(name=name, value=value)
    version.target.kind, version.target.horizon_bars = types.TARGET_KIND_LOG_REALIZED_VARIANCE, 5
    return api.CreateModelVersionRequest(parent=f"models/{model}", model_version=version, fencing_token=1)


def number(answer: bytes) -> int:
    return resources.ModelVersion.FromString(answer).number
