"""Holds the loaded versions, replaced one by one: a call in progress keeps the model it began with."""

from collections.abc import Iterator
from dataclasses import dataclass

from mltrainer_serving.application.ports import Model
from mltrainer_serving.domain.deployment import CHAMPION, DeployedAlias, Deployment
from mltrainer_serving.domain.errors import DeploymentNotFoundError, ModelNotReadyError, ModelNotServedError


@dataclass(frozen=True, slots=True)
class Route:
    """An alias and the model that answers for it; None before the first version is loaded."""

    deployed: DeployedAlias
    model: Model | None


@dataclass(frozen=True, slots=True)
class Answerer:
    """What answers one call."""

    model: Model
    deployed: DeployedAlias
    number: int


class RouteTable:
    """Routes by model and alias, and by version number for what some alias has loaded.

    Attributes:
        is_complete: Whether the registry has told everything once, so that an unknown model does not exist.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._routes: dict[str, dict[str, Route]] = {}

    def __iter__(self) -> Iterator[Route]:
        """Yields every route, by model and alias."""
        for model in sorted(self._routes):
            for alias in sorted(self._routes[model]):
                yield self._routes[model][alias]

    def get(self, model: str, alias: str) -> Route | None:
        """Returns a route."""
        return self._routes.get(model, {}).get(alias)

    def put(self, route: Route) -> None:
        """Adds or replaces a route."""
        self._routes.setdefault(route.deployed.model, {})[route.deployed.alias] = route

    def resolve(self, model: str, version: str) -> Answerer:
        """Finds what answers for a version number, an alias, or the champion where neither is given.

        Raises:
            ModelNotServedError: Nothing here has that name.
            ModelNotReadyError: The alias is known and nothing is loaded for it, or nobody can tell yet.
        """
        routes = self._routes.get(model)
        if routes is None and not self.is_complete:
            raise ModelNotReadyError(model, version or CHAMPION, "the registry has not been reached yet")
        if routes is None:
            raise ModelNotServedError(model, version)
        route = routes.get(version or CHAMPION) or _by_number(routes, version)
        if route is None:
            raise ModelNotServedError(model, version or CHAMPION)
        answering = route.deployed.version
        if route.model is None or answering is None:
            raise ModelNotReadyError(
                model, route.deployed.alias, route.deployed.error or "it is being loaded"
            )
        return Answerer(route.model, route.deployed, answering.number)

    def deployment(self, model: str) -> Deployment:
        """Returns a model with its aliases.

        Raises:
            DeploymentNotFoundError: The model is not served.
        """
        if model not in self._routes:
            raise DeploymentNotFoundError(f"deployments/{model}")
        return Deployment(model, {alias: route.deployed for alias, route in self._routes[model].items()})

    def models(self) -> list[str]:
        """Returns the served models in order."""
        return sorted(self._routes)


def _by_number(routes: dict[str, Route], version: str) -> Route | None:
    if not version.isdecimal():
        return None
    answering = (route for route in routes.values() if route.deployed.version is not None)
    return next(
        (r for r in answering if r.deployed.version and r.deployed.version.number == int(version)), None
    )
