"""What our use of every library has in common: one thread, silence, scaled features, checked input."""

import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from mltrainer_models import Layer, LayersModel, LinearModel, ModelDescription, ModelTarget, TreesModel

from mltrainer_trainer.domain.catalogue import CatalogueEntry, LabelSign, Scaling, Task
from mltrainer_trainer.domain.learners import (
    BadTrainingInputError,
    Fit,
    FitFailedError,
    FitRequest,
    Learner,
    require_learnable,
)
from mltrainer_trainer.domain.training_data import Floats

RowModel = LinearModel | TreesModel | LayersModel
UNDESCRIBED = ModelDescription("", ModelTarget("", 0), ())
FEWEST_ROWS = 30


@cache
def import_quietly(module: str) -> Any:
    """Imports a library whose import warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


@contextmanager
def foreign_code() -> Iterator[None]:
    """Runs a library on one thread of linear algebra, without its warnings and its prints."""
    limits = import_quietly("threadpoolctl").threadpool_limits(limits=1)
    with (
        limits,
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123 - the null device is no path
        redirect_stdout(nowhere),
    ):
        warnings.simplefilter("ignore")
        yield


def first_line(error: Exception) -> str:
    """Says what a library raised without the traces that some put into their messages."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:300]}"


@contextmanager
def one_fit(catalogue_id: str) -> Iterator[None]:
    """Runs a library, and turns whatever it raises into one error that ends one fit only.

    Raises:
        FitFailedError: the library gave up; libraries have error classes of their own.
    """
    try:
        with foreign_code():
            yield
    except MemoryError:
        raise
    except Exception as error:
        raise FitFailedError(catalogue_id, first_line(error)) from error


@dataclass(frozen=True, slots=True)
class CheckedLearner:
    """Fits after a look at the input, and turns whatever the library raises into one error."""

    entry: CatalogueEntry
    learner: Learner

    def __call__(self, request: FitRequest) -> Fit:
        """Fits.

        Raises:
            BadTrainingInputError: the input cannot be learned from.
            FitFailedError: the library gave up.
        """
        require_learnable(self.entry.id, request, FEWEST_ROWS)
        self._require_labels(request)
        with one_fit(self.entry.id):
            return self.learner(request)

    def _require_labels(self, request: FitRequest) -> None:
        reason = ""
        if self.entry.task is Task.CLASSIFICATION and set(np.unique(request.labels)) != {0.0, 1.0}:
            reason = "the labels must be 0 and 1, and both must occur"
        elif self.entry.task is Task.RANKING and request.groups is None:
            reason = "rows to rank need the date they belong to"
        elif self.entry.label_sign is LabelSign.POSITIVE and request.labels.max() > 700:
            reason = "the exponential of a label is not finite"
        if reason:
            raise BadTrainingInputError(self.entry.id, reason)


@dataclass(frozen=True, eq=False, slots=True)
class Standardiser:
    """Mean and scale of each column; a constant column has scale one."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, matrix: Floats) -> "Standardiser":
        """Measures the rows that are learned from."""
        mean, scale = matrix.mean(axis=0), matrix.std(axis=0)
        return cls(mean, np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1.0), scale, 1.0))

    @classmethod
    def none(cls, width: int) -> "Standardiser":
        """Changes nothing."""
        return cls(np.zeros(width), np.ones(width))

    def apply(self, matrix: Floats) -> Floats:
        """Scales rows."""
        return np.asarray((matrix - self.mean) / self.scale)

    @property
    def layer(self) -> Layer:
        """Says the same as a step of a model."""
        return Layer("standardise", (self.mean, self.scale))


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """The rows a library is given."""

    matrix: Floats
    labels: Floats
    standardiser: Standardiser
    groups: Any


def prepare(entry: CatalogueEntry, request: FitRequest) -> Prepared:
    """Takes the last rows the entry allows, scales them and makes labels positive where it says so."""
    start = max(0, len(request.matrix) - entry.max_rows) if entry.max_rows else 0
    matrix, labels = request.matrix[start:], request.labels[start:]
    groups = None if request.groups is None else request.groups[start:]
    if entry.scaling is Scaling.NONE:
        standardiser = Standardiser.none(matrix.shape[1])
    else:
        standardiser = Standardiser.of(matrix)
        matrix = standardiser.apply(matrix)
    if entry.label_sign is LabelSign.POSITIVE:
        labels = np.exp(labels)
    return Prepared(np.ascontiguousarray(matrix), labels, standardiser, groups)


@dataclass(frozen=True, eq=False, slots=True)
class ConvertedFit:
    """A fit in the form that serving loads; it predicts through the very code that serving uses.

    `by_library` is what the library itself predicts, for tests to compare.
    """

    model: RowModel
    by_library: Callable[[Floats], Floats]

    def predict(self, matrix: Floats) -> Floats:
        """Predicts one number per row."""
        return self.model.evaluate(np.ascontiguousarray(matrix))

    def to_model(self, description: ModelDescription) -> RowModel:
        """Adds the description."""
        return replace(self.model, description=description)


def build(estimator_class: Any, parameters: Mapping[str, Any], seed: int, entry: CatalogueEntry) -> Any:
    """Makes an estimator, seeded where the entry says so."""
    seeded = {"random_state": seed % 2**31} if entry.is_seeded else {}
    return estimator_class(**{**parameters, **seeded})
