"""What the use cases need from outside."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mltrainer_serving.domain.deployment import DeployedAlias, Version

Matrix = Any
"""A float64 array of rows × features; numpy stays outside this layer."""


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


class Model(Protocol):
    """A loaded version."""

    @property
    def feature_names(self) -> Sequence[str]:
        """Columns of the matrix, in order."""
        ...

    @property
    def feature_views(self) -> Mapping[str, str]:
        """Digest of the definition of each view it was trained on; empty where it names none."""
        ...

    def predict(self, matrix: Matrix) -> Matrix:
        """Returns one value per row; row-wise and batch calls agree bit for bit."""
        ...


class ModelLoader(Protocol):
    """Turns a version into something that predicts."""

    async def load(self, version: Version) -> Model:
        """Verifies the bytes against their digests, then parses them.

        Raises:
            ModelRefusedError: This release never serves such a model.
            ModelLoadError: Bytes are missing, altered or not a model.
        """
        ...


class ModelLoadError(Exception):
    """A version cannot be loaded; the text says why in one sentence."""


class ModelRefusedError(ModelLoadError):
    """A version is no model that this release serves: to try again changes nothing."""


class FeatureViews(Protocol):
    """Knows how feature views are defined now."""

    async def digests(self) -> Mapping[str, str]:
        """Returns the digest of every view's definition.

        Raises:
            FeatureViewsUnknownError: Nobody can tell now.
        """
        ...


class FeatureViewsUnknownError(Exception):
    """The feature service cannot be reached."""


@dataclass(frozen=True, slots=True)
class AliasChange:
    """The registry says that an alias names a version."""

    alias: str
    version: Version
    revision: int
    traceparent: str


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Every change up to the revision was delivered."""

    revision: int


class RegistryFeed(Protocol):
    """The registry's changes."""

    def changes(self, from_revision: int) -> AsyncIterator[AliasChange | CaughtUp]:
        """Yields changes after a revision until the stream breaks with RegistryUnavailableError."""
        ...


class RegistryUnavailableError(Exception):
    """The stream of changes broke or cannot be opened."""


class DeploymentRepository(Protocol):
    """Remembers over restarts what is served."""

    async def load(self) -> Sequence[DeployedAlias]:
        """Returns every alias."""
        ...

    async def save(self, deployed: DeployedAlias) -> None:
        """Stores one alias durably."""
        ...


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answered call, as it is logged."""

    model: str
    version: str
    request_id: str
    feature_names: Sequence[str]
    features: Matrix
    predictions: Matrix
    symbols: Sequence[str]
    predict_time: datetime
    event_time: datetime | None
    unit: str
    variant: str
    latency_ms: float


class PredictionLog(Protocol):
    """Takes answered calls without ever delaying an answer."""

    def add(self, prediction: Prediction) -> None:
        """Accepts a prediction; a full buffer drops it and counts the loss."""
        ...


class PredictionSink(Protocol):
    """Where logged predictions become events."""

    def open(self) -> AbstractAsyncContextManager["PredictionTransaction"]:
        """Opens a transaction; leaving it without `commit` publishes nothing."""
        ...


class PredictionTransaction(Protocol):
    """One transaction of the sink."""

    def add(self, prediction: Prediction) -> None:
        """Adds an event."""
        ...

    async def commit(self) -> None:
        """Makes all of them durable."""
        ...
