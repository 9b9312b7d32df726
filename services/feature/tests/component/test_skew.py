"""What models were given, from the event of a prediction to the answer about skew."""

import numpy as np
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer_feature.settings import FeatureSettings
from mltrainer_feature.wire.times import write_time

from .conftest import StartFeature
from .quotes import day, market

SETTINGS = FeatureSettings(skew_share=1.0, skew_vectors=4)
LAST = 24


def prediction(
    symbols: list[str], rows: list[service_pb2.FeatureRow], shift: float = 0.0
) -> PredictionLogged:
    names = ["return_1", "return_5"]
    return PredictionLogged(
        deployment="deployments/m",
        version="models/m/versions/1",
        feature_names=names,
        features=[value + shift for row in rows for value in row.values[:2]],
        predictions=[0.0] * len(symbols),
        symbols=symbols,
        predict_time=write_time(day(LAST + 1)),
        event_time=write_time(day(LAST)),
    )


async def test_vectors_are_compared_as_they_were_served_and_only_the_newest_are_kept(
    start_feature: StartFeature,
) -> None:
    async with start_feature(settings=SETTINGS) as feature:
        await feature.send(market(3, LAST + 1))
        symbols = ["S0", "S1", "S2"]
        found = [
            await feature.api.ListFeatureRows(
                service_pb2.ListFeatureRowsRequest(
                    parent="featureViews/market_returns", symbol=symbol, start_time=write_time(day(LAST))
                )
            )
            for symbol in symbols
        ]
        rows = [page.rows[0] for page in found]
        for message in (prediction(symbols, rows), prediction(symbols, rows, shift=0.5)):
            await feature.broker.send(message)
        await feature.broker.settle()

        report = await feature.api.CompareServedVectors(service_pb2.CompareServedVectorsRequest())
        none = await feature.api.CompareServedVectors(
            service_pb2.CompareServedVectorsRequest(version="models/m/versions/2")
        )

    assert (report.exact_count, report.different_count) == (1, 3)
    assert [skew.feature for skew in report.features] == ["return_1", "return_5"]
    assert np.isclose(report.features[0].largest_difference, 0.5)
    assert {example.symbol for example in report.examples} == set(symbols)
    assert none == service_pb2.CompareServedVectorsResponse()
