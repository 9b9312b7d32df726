"""Answers calls about retrainings and handles the events that begin and end their runs."""

from dataclasses import dataclass
from typing import Any

import structlog
from mltrainer.monitor.v1.events_pb2 import DriftDetected
from mltrainer.scheduler.v1.events_pb2 import (
    TrainingCompleted,
    TrainingDeduplicated,
    TrainingFailed,
    TrainingRejected,
)
from mltrainer.trainer.v1 import retraining_service_pb2 as contract
from mltrainer.trainer.v1.retraining_service_pb2_grpc import RetrainingServiceServicer
from mltrainer_common.errors import RpcFailure
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import Subscription, subscribe

from mltrainer_trainer.application.ports import Clock
from mltrainer_trainer.application.retrain import (
    BeginRunsHandler,
    FollowTrainingHandler,
    PairRunsHandler,
    RetrainingHandler,
)
from mltrainer_trainer.domain.errors import InvalidFieldError
from mltrainer_trainer.domain.retraining import Run
from mltrainer_trainer.wire.pages import cut_page, to_page_request
from mltrainer_trainer.wire.retrainings import (
    TrainingEnded,
    from_retraining,
    from_run,
    to_retraining,
    to_training_end,
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retrainings:
    """What can be done with retrainings."""

    keep: RetrainingHandler
    begin: BeginRunsHandler
    follow: FollowTrainingHandler
    pair: PairRunsHandler
    clock: Clock

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Lists the events that begin and end runs."""
        return (
            subscribe(DriftDetected, self.on_drift),
            subscribe(TrainingCompleted, self.on_end),
            subscribe(TrainingDeduplicated, self.on_end),
            subscribe(TrainingFailed, self.on_end),
            subscribe(TrainingRejected, self.on_end),
        )

    async def on_drift(self, event: Event[DriftDetected]) -> None:
        """Handles the drift of a model."""
        message = event.message
        _log_runs(await self.begin.drifted(event.id, message.model, message.revision))

    async def on_end(self, event: Event[TrainingEnded]) -> None:
        """Handles the end of a training."""
        run = await self.follow(to_training_end(event.message, event.id))
        _log_runs([run] if run else [])

    async def turn(self) -> None:
        """Begins what is due and follows what goes on; peers that are away are asked again later."""
        _log_runs(await self.begin.due())
        try:
            _log_runs(await self.pair())
        except RpcFailure as failure:
            _log.warning("runs_not_paired", peer=failure.peer, code=failure.code.name)


def _log_runs(runs: list[Run]) -> None:
    for run in runs:
        _log.info("retraining_run", run=run.name, state=run.state.value, message=run.message)


class RetrainingApi(RetrainingServiceServicer):
    """Implements `RetrainingService`."""

    def __init__(self, retrainings: Retrainings) -> None:
        self._retrainings = retrainings

    async def CreateRetraining(
        self, request: contract.CreateRetrainingRequest, context: Any
    ) -> contract.Retraining:
        """Creates a retraining."""
        name = f"retrainings/{request.retraining_id}"
        new = to_retraining(request.retraining, name, self._retrainings.clock.now())
        return from_retraining(await self._retrainings.keep.create(new))

    async def GetRetraining(
        self, request: contract.GetRetrainingRequest, context: Any
    ) -> contract.Retraining:
        """Returns one by name."""
        return from_retraining(await self._retrainings.keep.get(request.name))

    async def ListRetrainings(
        self, request: contract.ListRetrainingsRequest, context: Any
    ) -> contract.ListRetrainingsResponse:
        """Lists them by name."""
        page = to_page_request(request.page_size, request.page_token)
        found = await self._retrainings.keep.page(page.size, page.after)
        kept, token = cut_page([(item.name, item) for item in found], page)
        return contract.ListRetrainingsResponse(
            retrainings=[from_retraining(item) for item in kept], next_page_token=token
        )

    async def UpdateRetraining(
        self, request: contract.UpdateRetrainingRequest, context: Any
    ) -> contract.Retraining:
        """Replaces what one says."""
        asked = request.retraining
        changed = to_retraining(asked, asked.name, self._retrainings.clock.now())
        return from_retraining(await self._retrainings.keep.change(changed, asked.etag))

    async def DeleteRetraining(
        self, request: contract.DeleteRetrainingRequest, context: Any
    ) -> contract.Retraining:
        """Removes one."""
        return from_retraining(await self._retrainings.keep.remove(request.name))

    async def StartRetraining(
        self, request: contract.StartRetrainingRequest, context: Any
    ) -> contract.RetrainingRun:
        """Begins a run at once."""
        if not request.request_id:
            raise InvalidFieldError("request_id", "is required")
        return from_run(await self._retrainings.begin.asked(request.name, request.request_id))

    async def ListRetrainingRuns(
        self, request: contract.ListRetrainingRunsRequest, context: Any
    ) -> contract.ListRetrainingRunsResponse:
        """Lists runs, newest first."""
        page = to_page_request(request.page_size, request.page_token)
        if page.after and not page.after.isdecimal():
            raise InvalidFieldError("page_token", "use the next_page_token of the page before")
        found = await self._retrainings.keep.runs(request.parent, page.size, page.after)
        kept, token = cut_page(found, page)
        return contract.ListRetrainingRunsResponse(
            runs=[from_run(run) for run in kept], next_page_token=token
        )
