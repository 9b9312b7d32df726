"""Takes the reports of attempts."""

from dataclasses import dataclass
from typing import Any

import structlog
from mltrainer.trainer.v1 import trainer_service_pb2 as contract
from mltrainer.trainer.v1.trainer_service_pb2_grpc import AttemptReportServiceServicer

from mltrainer_trainer.application.list_finished_steps import ListFinishedStepsHandler
from mltrainer_trainer.application.ports import Clock
from mltrainer_trainer.application.record_trials import RecordTrialsHandler
from mltrainer_trainer.application.report_attempt import (
    ReportFailureHandler,
    ReportProgressHandler,
    ReportSuccessHandler,
)
from mltrainer_trainer.wire.pages import cut_page
from mltrainer_trainer.wire.reports import (
    from_step,
    to_list_finished_steps,
    to_record_trials,
    to_report_failure,
    to_report_progress,
    to_report_success,
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AttemptReportApi(AttemptReportServiceServicer):
    """Implements `AttemptReportService`."""

    progress: ReportProgressHandler
    trials: RecordTrialsHandler
    steps: ListFinishedStepsHandler
    success: ReportSuccessHandler
    failure: ReportFailureHandler
    clock: Clock

    async def ReportProgress(
        self,
        request: contract.ReportProgressRequest,
        context: Any,
    ) -> contract.ReportProgressResponse:
        """Says whether the attempt shall go on and for how long."""
        permission = await self.progress(to_report_progress(request))
        return contract.ReportProgressResponse(proceed=permission.proceed, lease_s=permission.lease_s)

    async def RecordTrials(
        self,
        request: contract.RecordTrialsRequest,
        context: Any,
    ) -> contract.RecordTrialsResponse:
        """Records trials; one recorded twice counts once."""
        count = await self.trials(to_record_trials(request, self.clock.now()))
        return contract.RecordTrialsResponse(study_trial_count=count)

    async def ListFinishedSteps(
        self,
        request: contract.ListFinishedStepsRequest,
        context: Any,
    ) -> contract.ListFinishedStepsResponse:
        """Lists what earlier attempts of the training have finished."""
        command = to_list_finished_steps(request)
        steps, token = cut_page(await self.steps(command), command.page)
        return contract.ListFinishedStepsResponse(
            steps=[from_step(step) for step in steps], next_page_token=token
        )

    async def ReportSuccess(
        self,
        request: contract.ReportSuccessRequest,
        context: Any,
    ) -> contract.ReportSuccessResponse:
        """Ends the attempt with a result."""
        await self.success(to_report_success(request))
        _log.info("attempt_succeeded", attempt=request.attempt.name, manifest=request.manifest_digest)
        return contract.ReportSuccessResponse()

    async def ReportFailure(
        self,
        request: contract.ReportFailureRequest,
        context: Any,
    ) -> contract.ReportFailureResponse:
        """Ends the attempt without one."""
        await self.failure(to_report_failure(request))
        _log.info("attempt_failed", attempt=request.attempt.name, reason=request.reason)
        return contract.ReportFailureResponse()
