"""Writes deployments and prediction events."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.serving.v1 import serving_service_pb2 as serving
from mltrainer.serving.v1.events_pb2 import PredictionLogged

from mltrainer_serving.application.ports import Prediction
from mltrainer_serving.domain.deployment import DeployedAlias, Deployment


def to_deployment(deployment: Deployment, feature_names: Sequence[str]) -> serving.Deployment:
    """Translates a deployment."""
    aliases = [_alias(deployed) for _, deployed in sorted(deployment.aliases.items())]
    return serving.Deployment(
        name=f"deployments/{deployment.model}", aliases=aliases, feature_names=feature_names
    )


def _alias(deployed: DeployedAlias) -> serving.DeployedAlias:
    message = serving.DeployedAlias(
        alias=deployed.alias,
        version=deployed.version.name if deployed.version else "",
        wanted_version=deployed.wanted.name,
        error=deployed.error,
        revision=deployed.revision,
    )
    if deployed.load_time:
        message.load_time.FromDatetime(deployed.load_time)
    return message


def to_prediction_logged(prediction: Prediction) -> PredictionLogged:
    """Translates one answered call."""
    predict_time = Timestamp()
    predict_time.FromDatetime(prediction.predict_time)
    message = PredictionLogged(
        deployment=f"deployments/{prediction.model}",
        version=prediction.version,
        request_id=prediction.request_id,
        feature_names=prediction.feature_names,
        features=prediction.features.reshape(-1),
        predictions=prediction.predictions,
        symbols=prediction.symbols,
        predict_time=predict_time,
        unit=prediction.unit,
        variant=prediction.variant,
        latency_ms=prediction.latency_ms,
    )
    if prediction.event_time:
        message.event_time.FromDatetime(prediction.event_time)
    return message
