"""Translates served vectors and how they compare."""

from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.serving.v1.events_pb2 import PredictionLogged

from mltrainer_feature.domain.skew import Difference, FeatureSkew, Match, ServedVector, SkewReport
from mltrainer_feature.wire.times import read_time, write_time


def to_served_vectors(event_id: str, message: PredictionLogged) -> list[ServedVector]:
    """Reads the vectors of a call; one that names no symbols has none that could be compared.

    Raises:
        ValueError: Its parts do not fit together, or it has no time.
    """
    count, width = len(message.predictions), len(message.feature_names)
    if len(message.features) != count * width or len(message.symbols) not in {0, count}:
        raise ValueError("features, predictions and symbols have different numbers of rows")
    served_time = read_time(message, "predict_time")
    if served_time is None:
        raise ValueError("predict_time is missing")
    event_time, names = read_time(message, "event_time"), tuple(message.feature_names)
    return [
        ServedVector(
            event_id,
            row,
            message.version,
            symbol,
            event_time,
            served_time,
            names,
            tuple(message.features[row * width : (row + 1) * width]),
        )
        for row, symbol in enumerate(message.symbols)
    ]


def from_skew(report: SkewReport) -> service_pb2.CompareServedVectorsResponse:
    """Writes how vectors compare."""
    message = service_pb2.CompareServedVectorsResponse(
        exact_count=report.matches.get(Match.EXACT, 0),
        stale_count=report.matches.get(Match.STALE, 0),
        provisional_count=report.matches.get(Match.PROVISIONAL, 0),
        different_count=report.matches.get(Match.DIFFERENT, 0),
        missing_count=report.matches.get(Match.MISSING, 0),
        features=map(_from_feature, report.features),
        examples=map(_from_difference, report.examples),
        unknown_features=report.unknown_features,
    )
    for name in ("first_served_time", "last_served_time"):
        if (moment := getattr(report, name)) is not None:
            getattr(message, name).CopyFrom(write_time(moment))
    return message


def _from_feature(skew: FeatureSkew) -> service_pb2.FeatureSkew:
    return service_pb2.FeatureSkew(
        feature=skew.feature,
        compared_count=skew.compared_count,
        different_count=skew.different_count,
        largest_difference=skew.largest_difference,
        mean_shift=skew.mean_shift,
        stability_index=skew.stability_index,
    )


def _from_difference(difference: Difference) -> service_pb2.ServedDifference:
    vector = difference.vector
    message = service_pb2.ServedDifference(
        version=vector.version,
        symbol=vector.symbol,
        feature=difference.feature,
        served=difference.served,
        recomputed=difference.recomputed,
        served_time=write_time(vector.served_time),
    )
    if vector.event_time is not None:
        message.event_time.CopyFrom(write_time(vector.event_time))
    return message
