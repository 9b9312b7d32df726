"""Answers the calls of `mltrainer.chaos.v1.ChaosService`."""

from dataclasses import dataclass
from typing import Any

import structlog
from mltrainer.chaos.v1 import chaos_service_pb2 as api
from mltrainer.chaos.v1 import resources_pb2 as resources
from mltrainer.chaos.v1.chaos_service_pb2_grpc import ChaosServiceServicer
from mltrainer_common.rpc_server import current_call

from mltrainer_chaos.application.browse import BrowseHandler, ShownRun
from mltrainer_chaos.application.kill_switch import ReleaseHandler, StopAllHandler
from mltrainer_chaos.application.request_run import RequestRun, RequestRunHandler
from mltrainer_chaos.entrypoints.loops import Wake
from mltrainer_chaos.wire import pages
from mltrainer_chaos.wire import resources as wire

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ChaosApi(ChaosServiceServicer):
    """Decodes, calls one use case, encodes."""

    request: RequestRunHandler
    browse: BrowseHandler
    stop_all: StopAllHandler
    release: ReleaseHandler
    wake: Wake

    async def CreateChaosRun(self, request: api.CreateChaosRunRequest, context: Any) -> resources.ChaosRun:
        """Checks an experiment, and starts it unless this is a dry run."""
        command = RequestRun(request.experiment_json, _actor(), request.reason, request.request_id)
        if request.dry_run:
            return wire.encode_plan(command, *await self.request.plan(command))
        run = await self.request(command)
        self.wake.notify()
        _log.info("chaos_run_requested", run=run.name, actor=run.actor, reason=run.reason)
        return wire.encode_run(ShownRun(run, ()))

    async def GetChaosRun(self, request: api.GetChaosRunRequest, context: Any) -> resources.ChaosRun:
        """Returns a run."""
        return wire.encode_run(await self.browse.get(request.name))

    async def ListChaosRuns(
        self, request: api.ListChaosRunsRequest, context: Any
    ) -> api.ListChaosRunsResponse:
        """Lists runs, newest first, without experiments, probes and journals."""
        size = pages.page_size(request)
        found = await self.browse.page(size + 1, pages.before(request))
        shown = found[:size]
        return api.ListChaosRunsResponse(
            chaos_runs=map(wire.encode_entry, shown),
            next_page_token=str(shown[-1].run.ordinal) if len(found) > size else "",
        )

    async def StopAllChaosRuns(
        self, request: api.StopAllChaosRunsRequest, context: Any
    ) -> api.StopAllChaosRunsResponse:
        """Ends every run and refuses new ones."""
        stopped = await self.stop_all(_actor(), request.reason)
        _log.warning("kill_switch_on", actor=_actor(), reason=request.reason, runs=len(stopped))
        return api.StopAllChaosRunsResponse(stopped_chaos_runs=stopped)

    async def ReleaseKillSwitch(
        self, request: api.ReleaseKillSwitchRequest, context: Any
    ) -> api.ReleaseKillSwitchResponse:
        """Allows runs again."""
        await self.release(_actor(), request.reason)
        _log.warning("kill_switch_released", actor=_actor(), reason=request.reason)
        return api.ReleaseKillSwitchResponse()


def _actor() -> str:
    principal = current_call().principal
    return principal.subject if principal else ""
