"""Collects what a report of one training shows, from the services that know it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrainer_models import ArtifactError
from mltrainer_models.artifact import DIAGNOSTICS_FILE
from mltrainer_models.diagnostics import ModelDiagnostics, read_diagnostics

from mltrainer_cli.calls import all_pages
from mltrainer_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from mltrainer.cost_optimizer.v1.resources_pb2 import BillLine
    from mltrainer.registry.v1.resources_pb2 import ModelVersion
    from mltrainer.scheduler.v1.resources_pb2 import Training
    from mltrainer.trainer.v1.resources_pb2 import AttemptResult, Trial
    from mltrainer_sdk import Client

_MOST_TRIALS = 10_000


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What is known of a training that has a result.

    Attributes:
        training: As it was asked for.
        source: The training whose attempt computed the result; the same unless it was deduplicated.
        trials: Those that the source recorded, in the order of the ledger.
        version: Absent where the registry has none.
        diagnostics: Absent where the version has none, as those of earlier releases.
        bill: Absent where nothing was billed, or nobody could say.
    """

    training: "Training"
    source: "Training"
    result: "AttemptResult"
    trials: "Sequence[Trial]"
    version: "ModelVersion | None"
    diagnostics: ModelDiagnostics | None
    bill: "BillLine | None"


async def collect(client: "Client", training: "Training") -> ReportFacts:
    """Asks the services.

    Raises:
        CliError: The training has no result.
    """
    source = await _source(client, training)
    result = await _result(client, source)
    version = await _version(client, source.name)
    return ReportFacts(
        training,
        source,
        result,
        await _trials(client, source),
        version,
        await _diagnostics(client, version) if version else None,
        await _bill(client, source),
    )


async def _source(client: "Client", training: "Training") -> "Training":
    from mltrainer.scheduler.v1.resources_pb2 import Training
    from mltrainer.scheduler.v1.scheduler_service_pb2 import GetTrainingRequest

    if training.state == Training.STATE_COMPLETED:
        return training
    if training.state == Training.STATE_DEDUPLICATED:
        return await client.scheduler.GetTraining(GetTrainingRequest(name=training.duplicate_of))
    state = Training.State.Name(training.state).removeprefix("STATE_").lower()
    raise CliError(f"{training.name} is {state}: it has no result to report.", ExitCode.CLAIM_FAILED)


async def _result(client: "Client", source: "Training") -> "AttemptResult":
    from mltrainer.trainer.v1.resources_pb2 import Attempt

    from mltrainer_cli.commands.train import list_attempts

    for attempt in reversed(await list_attempts(client, source.name)):
        if attempt.state == Attempt.STATE_SUCCEEDED:
            return attempt.result
    raise CliError(f"The trainer knows no result of {source.name}.", ExitCode.CLAIM_FAILED)


async def _trials(client: "Client", source: "Training") -> "Sequence[Trial]":
    from mltrainer.trainer.v1.trainer_service_pb2 import ListTrialsRequest

    async def fetch(size: int, token: str) -> "tuple[list[Trial], str]":
        request = ListTrialsRequest(parent=source.spec.study, page_size=size, page_token=token)
        page = await client.trainer.ListTrials(request)
        return list(page.trials), page.next_page_token

    return [one for one in await all_pages(fetch, _MOST_TRIALS) if one.training == source.name]


async def _version(client: "Client", training: str) -> "ModelVersion | None":
    from mltrainer.registry.v1.registry_service_pb2 import ListModelVersionsRequest
    from mltrainer_sdk import RpcFailure

    request = ListModelVersionsRequest(parent="models/-", page_size=1, filter=f'training = "{training}"')
    try:
        page = await client.registry.ListModelVersions(request)
    except RpcFailure:
        return None
    return page.model_versions[0] if page.model_versions else None


async def _diagnostics(client: "Client", version: "ModelVersion") -> ModelDiagnostics | None:
    from mltrainer.registry.v1.registry_service_pb2 import DownloadArtifactRequest

    if DIAGNOSTICS_FILE not in {file.path for file in version.manifest.files}:
        return None
    request = DownloadArtifactRequest(version=version.name, path=DIAGNOSTICS_FILE)
    content = b"".join([piece.data async for piece in client.registry.DownloadArtifact(request)])
    try:
        return read_diagnostics(content)
    except ArtifactError:
        return None


async def _bill(client: "Client", source: "Training") -> "BillLine | None":
    from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2 import GetBillRequest
    from mltrainer_sdk import RpcFailure

    try:
        bill = await client.cost_optimizer.GetBill(GetBillRequest(study=source.spec.study))
    except RpcFailure:
        return None
    return next((line for line in bill.lines if line.training == source.name), None)
