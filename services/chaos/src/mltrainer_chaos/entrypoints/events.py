"""Handles requests for runs that come by event."""

from dataclasses import dataclass

import structlog
from mltrainer.chaos.v1.events_pb2 import RunRequested
from mltrainer_common.database import Database
from mltrainer_messaging.envelope import Event
from mltrainer_messaging.subscriptions import ConsumerGroup, subscribe

from mltrainer_chaos.application.request_run import RequestRunHandler
from mltrainer_chaos.entrypoints.loops import Wake
from mltrainer_chaos.wire.events import to_request

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OnRunRequested:
    """Takes requests in."""

    request: RequestRunHandler
    wake: Wake

    async def __call__(self, event: Event[RunRequested]) -> None:
        """Handles one event."""
        run = await self.request.from_event(to_request(event.message), event.id)
        if run is not None:
            _log.info("chaos_run_requested", run=run.name, actor=run.actor, state=run.state)
            self.wake.notify()


def consumer_group(slug: str, instance: str, database: Database, handler: OnRunRequested) -> ConsumerGroup:
    """Describes everything that chaos consumes."""
    return ConsumerGroup(
        name=f"mltrainer-{slug}",
        instance=instance,
        database=database,
        subscriptions=(subscribe(RunRequested, handler),),
    )
