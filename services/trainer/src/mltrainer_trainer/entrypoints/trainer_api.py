"""Answers readers of attempts, studies and the catalogue."""

from dataclasses import dataclass
from typing import Any

from mltrainer.trainer.v1 import trainer_service_pb2 as contract
from mltrainer.trainer.v1.resources_pb2 import Attempt, Study
from mltrainer.trainer.v1.trainer_service_pb2_grpc import TrainerServiceServicer

from mltrainer_trainer.application.ports import TrainerQueries
from mltrainer_trainer.domain.errors import AttemptNotFoundError, StudyNotFoundError
from mltrainer_trainer.domain.release import Release
from mltrainer_trainer.wire.events import to_catalogue_entry
from mltrainer_trainer.wire.pages import cut_page, to_page_request
from mltrainer_trainer.wire.resources import to_attempt_message, to_study_message, to_trial_message


@dataclass(frozen=True, slots=True)
class TrainerApi(TrainerServiceServicer):
    """Implements `TrainerService`."""

    queries: TrainerQueries
    release: Release

    async def GetStudy(self, request: contract.GetStudyRequest, context: Any) -> Study:
        """Returns a study."""
        study = await self.queries.study(request.name)
        if study is None:
            raise StudyNotFoundError(request.name)
        return to_study_message(study)

    async def ListStudies(
        self,
        request: contract.ListStudiesRequest,
        context: Any,
    ) -> contract.ListStudiesResponse:
        """Lists studies by name."""
        page = to_page_request(request.page_size, request.page_token)
        studies, token = cut_page(await self.queries.studies(page), page)
        return contract.ListStudiesResponse(
            studies=[to_study_message(study) for study in studies], next_page_token=token
        )

    async def ListTrials(
        self,
        request: contract.ListTrialsRequest,
        context: Any,
    ) -> contract.ListTrialsResponse:
        """Lists the trials of a study, oldest first."""
        page = to_page_request(request.page_size, request.page_token)
        trials, token = cut_page(await self.queries.trials(request.parent, page), page)
        return contract.ListTrialsResponse(
            trials=[to_trial_message(trial) for trial in trials], next_page_token=token
        )

    async def GetAttempt(self, request: contract.GetAttemptRequest, context: Any) -> Attempt:
        """Returns an attempt."""
        attempt = await self.queries.attempt(request.name)
        if attempt is None:
            raise AttemptNotFoundError(request.name)
        return to_attempt_message(attempt)

    async def ListAttempts(
        self,
        request: contract.ListAttemptsRequest,
        context: Any,
    ) -> contract.ListAttemptsResponse:
        """Lists the attempts of a training, oldest first; of all trainings, newest first."""
        page = to_page_request(request.page_size, request.page_token)
        attempts, token = cut_page(await self.queries.attempts(request.parent, page), page)
        return contract.ListAttemptsResponse(
            attempts=[to_attempt_message(attempt) for attempt in attempts], next_page_token=token
        )

    async def ListCatalogueEntries(
        self,
        request: contract.ListCatalogueEntriesRequest,
        context: Any,
    ) -> contract.ListCatalogueEntriesResponse:
        """Lists the models this trainer can fit, and those it cannot, with the reason."""
        page = to_page_request(request.page_size, request.page_token)
        models = [(model.id, model) for model in self.release.models if model.id > page.after]
        found = sorted(models, key=lambda item: item[0])[: page.size]
        entries, token = cut_page(found, page)
        return contract.ListCatalogueEntriesResponse(
            catalogue_entries=[to_catalogue_entry(model) for model in entries], next_page_token=token
        )
