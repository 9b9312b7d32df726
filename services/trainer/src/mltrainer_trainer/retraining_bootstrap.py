"""Puts retrainings together."""

from mltrainer.experiment.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer_common.database import Database
from mltrainer_common.service import ServiceContext
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions

from mltrainer_trainer.adapters.challengers import RpcExperiments, RpcModelAliases
from mltrainer_trainer.adapters.exchange_days import ExchangeDays
from mltrainer_trainer.adapters.retraining_unit_of_work import SqlRetrainingUnitOfWorkFactory
from mltrainer_trainer.application.retrain import (
    BeginRunsHandler,
    FollowTrainingHandler,
    PairRunsHandler,
    RetrainingHandler,
)
from mltrainer_trainer.entrypoints.retraining_api import Retrainings
from mltrainer_trainer.wire.retrainings import to_request


def open_retrainings(context: ServiceContext, database: Database, signal: OutboxSignal) -> Retrainings:
    """Builds what keeps retrainings and carries them out."""
    transactions = EventTransactions(database, context.slug, signal, to_request, context.clock)
    uow, clock, market = SqlRetrainingUnitOfWorkFactory(transactions), context.clock, context.market_clock
    registry, experiment = context.channel("registry"), context.channel("experiment")
    calendars = ExchangeDays()
    return Retrainings(
        RetrainingHandler(uow, market, calendars),
        BeginRunsHandler(uow, clock, market, calendars),
        FollowTrainingHandler(uow, clock),
        PairRunsHandler(
            uow,
            clock,
            RpcModelAliases(RegistryServiceStub(registry)),
            RpcExperiments(ExperimentServiceStub(experiment)),
        ),
        clock,
    )
