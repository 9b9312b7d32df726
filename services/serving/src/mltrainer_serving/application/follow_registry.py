"""Keeps what answers equal to what the registry's aliases name."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from mltrainer_serving.application.ports import (
    AliasChange,
    CaughtUp,
    Clock,
    DeploymentRepository,
    FeatureViews,
    FeatureViewsUnknownError,
    Model,
    ModelLoader,
    ModelLoadError,
    ModelRefusedError,
    RegistryFeed,
)
from mltrainer_serving.application.route_table import Route, RouteTable
from mltrainer_serving.domain.deployment import DeployedAlias, Version, require_views
from mltrainer_serving.domain.errors import FeatureViewsDifferError

LoadObserver = Callable[[DeployedAlias], AbstractContextManager[None]]
"""Surrounds one load with a span that continues the trace of its change."""


@dataclass(slots=True)
class FollowRegistry:
    """Restores the last state, then follows every change; a failed load leaves the old version answering.

    Loads that fail are tried again at every bookmark, refused models are not (ADR 0116).

    `views` is None where versions are served whatever their features are.
    """

    routes: RouteTable
    loader: ModelLoader
    repository: DeploymentRepository
    feed: RegistryFeed
    clock: Clock
    observe: LoadObserver
    views: FeatureViews | None = None
    revision: int = field(default=0, init=False)

    async def restore(self) -> None:
        """Loads what was served before the last stop, so that answers need no registry."""
        for deployed in await self.repository.load():
            target = deployed.version or deployed.wanted
            try:
                model = await self.loader.load(target)
            except ModelRefusedError as error:
                refused = deployed.failed if deployed.version else deployed.refused
                self.routes.put(Route(refused(str(error)), None))
                continue
            except ModelLoadError as error:
                self.routes.put(Route(deployed.failed(str(error)), None))
                continue
            self.routes.put(Route(deployed, model))

    async def follow(self) -> None:
        """Applies changes until the stream breaks; raises RegistryUnavailableError then."""
        await self._retry_unsettled()
        async for change in self.feed.changes(self.revision):
            if isinstance(change, CaughtUp):
                self.revision = max(self.revision, change.revision)
                self.routes.is_complete = True
                await self._retry_unsettled()
            else:
                # Not before the next bookmark: a stream that breaks inside the present state must repeat it.
                await self.apply(change)

    async def apply(self, change: AliasChange) -> None:
        """Loads the version that an alias names now, and swaps it in."""
        route = self.routes.get(change.version.model, change.alias)
        if route is None:
            deployed = DeployedAlias(
                change.version.model,
                change.alias,
                change.version,
                change.revision,
                traceparent=change.traceparent,
            )
        else:
            deployed = route.deployed.pointed_to(change.version, change.revision, change.traceparent)
            if deployed is route.deployed:
                return
        await self._load(deployed)

    async def _retry_unsettled(self) -> None:
        for route in list(self.routes):
            if not route.deployed.is_settled:
                await self._load(route.deployed)

    async def _load(self, deployed: DeployedAlias) -> None:
        present = self.routes.get(deployed.model, deployed.alias)
        model = present.model if present else None
        if present is None or not deployed.is_settled:
            with self.observe(deployed):
                try:
                    model = await self._matching(deployed.wanted)
                except ModelRefusedError as error:
                    deployed = deployed.refused(str(error))
                except (ModelLoadError, FeatureViewsDifferError) as error:
                    deployed = deployed.failed(str(error))
                else:
                    deployed = deployed.loaded(self.clock.now())
        self.routes.put(Route(deployed, model))
        await self.repository.save(deployed)

    async def _matching(self, version: Version) -> Model:
        model = await self.loader.load(version)
        if self.views is not None and model.feature_views:
            try:
                defined = await self.views.digests()
            except FeatureViewsUnknownError as error:
                raise ModelLoadError(
                    f"{version.name} waits for the definitions of its views: {error}"
                ) from error
            require_views(version, model.feature_views, defined)
        return model
