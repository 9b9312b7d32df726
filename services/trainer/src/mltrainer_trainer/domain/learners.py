"""What a learner is to the search: something that fits, and a fit that can be served."""

from dataclasses import dataclass
from typing import Protocol

from mltrainer_models import LinearModel, ModelDescription, TreesModel

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Parameters
from mltrainer_trainer.domain.errors import TrainerError
from mltrainer_trainer.domain.training_data import Floats


class LearnerUnavailableError(TrainerError):
    """The code of a model does not load here."""

    def __init__(self, catalogue_id: str, reason: str) -> None:
        super().__init__(catalogue_id)
        self.catalogue_id = catalogue_id
        self.reason = reason


@dataclass(frozen=True, eq=False, slots=True)
class FitRequest:
    """Rows and settings of one fit; `parameters` include the fixed ones."""

    matrix: Floats
    labels: Floats
    parameters: Parameters
    horizon_bars: int
    seed: int


class Fit(Protocol):
    """A fitted model."""

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row."""
        ...

    def to_model(self, description: ModelDescription) -> LinearModel | TreesModel:
        """Turns the fit into what serving loads; it predicts the same bits."""
        ...


class Learner(Protocol):
    """Fits one kind of model."""

    def __call__(self, request: FitRequest) -> Fit:
        """Fits."""
        ...


class LearnerFactory(Protocol):
    """Finds the code behind a catalogue entry."""

    def __call__(self, entry: CatalogueEntry) -> Learner:
        """Loads it.

        Raises:
            LearnerUnavailableError: it does not load here.
        """
        ...
