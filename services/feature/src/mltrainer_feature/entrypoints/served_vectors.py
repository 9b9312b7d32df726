"""Takes what models were given from events, and shows how it compares."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer_common.database import Database, DatabaseConflictError, DatabaseUnavailableError
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe_batch

from mltrainer_feature.application.skew import CompareServedVectorsHandler, RecordServedVectorsHandler
from mltrainer_feature.entrypoints.instruments import FeatureInstruments
from mltrainer_feature.wire.skew import to_served_vectors

_SHOWN_EVERY_S = 60.0
_SHOWN_VECTORS = 1_000
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnPredictionsLogged:
    """Keeps a sample of the vectors."""

    record: RecordServedVectorsHandler

    async def __call__(self, events: Sequence[Event[PredictionLogged]]) -> None:
        await self.record([one for event in events for one in to_served_vectors(event.id, event.message)])


def served_vectors_group(
    instance: str, database: Database, record: RecordServedVectorsHandler
) -> ConsumerGroup:
    """Says who reads predictions: a group of its own, so that bars never wait behind them."""
    return ConsumerGroup(
        name="mltrainer-feature-skew",
        instance=instance,
        database=database,
        subscriptions=(subscribe_batch(PredictionLogged, OnPredictionsLogged(record)),),
    )


async def watch_skew(compare: CompareServedVectorsHandler, instruments: FeatureInstruments) -> None:
    """Shows how the newest vectors compare, for alerts."""
    while True:
        try:
            instruments.show_skew(await compare(_SHOWN_VECTORS))
        except (DatabaseUnavailableError, DatabaseConflictError, OSError) as error:
            _log.warning("skew_unknown", error=repr(error))
        await asyncio.sleep(_SHOWN_EVERY_S)
