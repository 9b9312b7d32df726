"""Asks registry and experiment about champions and challengers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from mltrainer.experiment.v1.experiment_service_pb2 import (
    CreateExperimentRequest,
    GetExperimentRequest,
    StartExperimentRequest,
)
from mltrainer.experiment.v1.resources_pb2 import Experiment, Variant
from mltrainer.registry.v1.registry_service_pb2 import GetAliasRequest, GetModelVersionRequest
from mltrainer_common.errors import RpcFailure

from mltrainer_trainer.application.retrain import Challenger
from mltrainer_trainer.domain.retraining import Retraining

if TYPE_CHECKING:
    from mltrainer.experiment.v1.experiment_service_pb2_grpc import ExperimentServiceAsyncStub
    from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


@dataclass(frozen=True, slots=True)
class RpcModelAliases:
    """Asks the registry."""

    registry: "RegistryServiceAsyncStub"

    async def get(self, model: str, alias: str) -> Challenger | None:
        """Returns where an alias points; None where there is none."""
        try:
            found = await self.registry.GetAlias(GetAliasRequest(name=f"{model}/aliases/{alias}"))
            version = await self.registry.GetModelVersion(GetModelVersionRequest(name=found.version))
        except RpcFailure as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return Challenger(version.name, version.training)


@dataclass(frozen=True, slots=True)
class RpcExperiments:
    """Asks the experiment service."""

    experiment: "ExperimentServiceAsyncStub"

    async def start(self, experiment_id: str, retraining: Retraining) -> str:
        """Creates and starts an experiment, once, and returns its name."""
        variants = [
            Variant(variant=alias, alias=alias, weight=1.0)
            for alias in (retraining.champion, retraining.challenger)
        ]
        definition = Experiment(
            model=retraining.model, variants=variants, traffic=retraining.traffic, metric=retraining.metric
        )
        created = await self.experiment.CreateExperiment(
            CreateExperimentRequest(
                experiment_id=experiment_id, experiment=definition, request_id=experiment_id
            )
        )
        if created.state == Experiment.STATE_DRAFT:
            await self.experiment.StartExperiment(StartExperimentRequest(name=created.name))
        return created.name

    async def outcome(self, experiment: str) -> str:
        """Returns how an experiment ended; empty while it goes on."""
        try:
            found = await self.experiment.GetExperiment(GetExperimentRequest(name=experiment))
        except RpcFailure as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND:
                return f"{experiment} is gone"
            raise
        match found.state:
            case Experiment.STATE_DECIDED:
                return f"{experiment} was decided for {found.decision}"
            case Experiment.STATE_STOPPED:
                return f"{experiment} was stopped undecided"
        return ""
