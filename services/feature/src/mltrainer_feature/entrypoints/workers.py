"""Does the work that requests leave behind, one piece after another, for as long as the process lives."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from mltrainer_common.content_store import ContentNotFoundError, DigestMismatchError
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError

from mltrainer_feature.application.collect_datasets import CollectDatasetsHandler
from mltrainer_feature.application.datasets import WriteNextDataset
from mltrainer_feature.application.definitions import FollowDefinitions
from mltrainer_feature.application.import_bars import RunNextImport
from mltrainer_feature.application.online_plans import ChangingSchemas
from mltrainer_feature.application.ports import OnlineRows
from mltrainer_feature.application.queries import PageRequest, Queries
from mltrainer_feature.application.take_files import TakeDroppedFiles
from mltrainer_feature.application.wakeup import Wakeup
from mltrainer_feature.domain.dropped_files import DropOutcome, DropState
from mltrainer_feature.domain.errors import (
    FeatureServiceError,
    ReferencesUnknownError,
    UnreadableRegistryError,
)
from mltrainer_feature.entrypoints.instruments import FeatureInstruments

# Work may also be left by another replica, or by this process before it was killed.
_POLL_S = 1.0
_BACKOFF_S = 1.0
_REFRESH_S = 0.5
_AGES_S = 15.0
_PASSING = (DatabaseUnavailableError, DatabaseConflictError, OSError)
_LASTING = (FeatureServiceError, ContentNotFoundError, DigestMismatchError, ValueError)
_log = structlog.get_logger()


async def write_datasets(write_next: WriteNextDataset, wakeup: Wakeup) -> None:
    """Writes datasets until cancelled; one that cannot be written is given up."""

    async def step() -> bool:
        dataset = await write_next()
        if dataset is not None:
            _log.info(
                "dataset_finished", dataset=dataset.name, state=dataset.state.value, rows=dataset.row_count
            )
        return dataset is not None

    await _work(step, write_next.fail, wakeup)


async def collect_datasets(collect: CollectDatasetsHandler, interval_s: float) -> None:
    """Collects datasets again and again until cancelled; an outage only delays it."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            report = await collect(dry_run=False)
        except (*_PASSING, ReferencesUnknownError) as error:
            _log.warning("datasets_not_collected", error=str(error))
            continue
        if report.collected_count:
            _log.info(
                "datasets_collected", datasets=report.collected_count, size_bytes=report.collected_bytes
            )


async def run_imports(run_next: RunNextImport, wakeup: Wakeup) -> None:
    """Runs bulk loads until cancelled; one that cannot be read is given up."""

    async def step() -> bool:
        finished = await run_next()
        if finished is not None:
            _log.info(
                "import_finished",
                bar_import=finished.name,
                state=finished.state.value,
                accepted=finished.accepted_count,
                refused=finished.refused_count,
            )
        return finished is not None

    await _work(step, run_next.fail, wakeup)


async def take_files(take: TakeDroppedFiles) -> None:
    """Takes files out of the drop folder until cancelled; a problem is logged when it is new."""
    problems: set[str] = set()
    while True:
        found: set[str] = set()
        try:
            async for outcome in take():
                if outcome.state is DropState.POSTPONED:
                    found.add(f"{outcome.file.name}: {outcome.message}")
                else:
                    _log_file(outcome)
        except _PASSING as error:
            found.add(repr(error))
        for problem in found - problems:
            _log.warning("drop_folder_problem", error=problem)
        problems = found
        await asyncio.sleep(_POLL_S)


def _log_file(outcome: DropOutcome) -> None:
    _log.info(
        "file_taken" if outcome.state is DropState.TAKEN else "file_refused",
        file=outcome.file.name,
        reason=outcome.reason,
        message=outcome.message,
        bar_import=outcome.bar_import.name if outcome.bar_import else None,
    )


async def follow_online_rows(online: OnlineRows) -> None:
    """Takes over rows that another replica has written."""
    while True:
        await asyncio.sleep(_REFRESH_S)
        try:
            await online.refresh()
        except _PASSING as error:
            _log.warning("online_refresh_failed", error=repr(error))


async def follow_registry(schemas: ChangingSchemas) -> None:
    """Serves what a changed registry says; what cannot be read leaves everything as it was."""
    problem = ""
    while True:
        await asyncio.sleep(_POLL_S)
        try:
            await schemas.refresh()
            problem = ""
        except UnreadableRegistryError as error:
            if str(error) != problem:
                _log.warning("registry_unreadable", error=str(error))
            problem = str(error)


async def follow_definitions(follow: FollowDefinitions) -> None:
    """Serves what another replica was told to."""
    while True:
        await asyncio.sleep(_POLL_S)
        try:
            await follow()
        except _PASSING as error:
            _log.warning("definitions_unknown", error=repr(error))


async def watch_ages(queries: Queries, instruments: FeatureInstruments) -> None:
    """Shows how old every view is, for alerts on its objective."""
    while True:
        try:
            instruments.show_ages((await queries.feature_views(PageRequest())).items)
        except _PASSING as error:
            _log.warning("ages_unknown", error=repr(error))
        await asyncio.sleep(_AGES_S)


async def _work(
    step: Callable[[], Awaitable[bool]], give_up: Callable[[str], Awaitable[None]], wakeup: Wakeup
) -> None:
    while True:
        try:
            if not await step():
                await wakeup.wait(_POLL_S)
        except _PASSING as error:
            _log.warning("work_postponed", error=repr(error))
            await asyncio.sleep(_BACKOFF_S)
        except _LASTING as error:
            _log.exception("work_given_up")
            await give_up(str(error))
