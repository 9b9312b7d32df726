"""Fits what was never fitted, and recalls what was: predictions and models of equal fits, whoever made them.

A fit is named by all that decides it: code, environment, catalogue entry, parameters, seed, and the content
of the rows it learns from; its predictions by that name and the content of the rows they are for, its model
by that name alone. So equal folds and equal last fits are computed once, over trials, trainings and studies,
whatever dataset they were cut from. What is recalled is charged with the CPU time it once took: a search
under a budget takes the same course.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from mltrainer_models import ModelDescription
from mltrainer_models.content import ContentError, content_digest
from numpy.typing import NDArray

from mltrainer_trainer.domain.catalogue import CatalogueEntry
from mltrainer_trainer.domain.learners import Fit, FitRequest, Learner, LearnerFactory
from mltrainer_trainer.domain.packed_models import pack_model, unpack_model
from mltrainer_trainer.domain.training_data import Floats


@dataclass(frozen=True, eq=False, slots=True)
class Recalled:
    """Predictions, or a packed model, and the CPU time that they took."""

    content: NDArray[Any]
    cpu_seconds: float


class FitResults(Protocol):
    """Keeps results of fits by their name."""

    def find(self, key: str) -> Recalled | None:
        """Returns what was kept."""
        ...

    def keep(self, key: str, result: Recalled) -> None:
        """Keeps a result, in place of what was there."""
        ...

    def lead(self, key: str) -> AbstractContextManager[object]:
        """Has one process at a time compute; a dead one is replaced."""
        ...


@dataclass(slots=True)
class ReuseMeter:
    """What a training computed, recalled and audited.

    Attributes:
        saved_cpu_seconds: CPU time that recalled results once took.
        mismatched: Audited results that another computation did not repeat bit by bit.
    """

    computed: int = 0
    recalled: int = 0
    audited: int = 0
    mismatched: int = 0
    saved_cpu_seconds: float = 0.0

    def add(self, other: "ReuseMeter") -> None:
        """Counts what another process has counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def since(self, earlier: "ReuseMeter") -> "ReuseMeter":
        """Returns what has been counted since."""
        return ReuseMeter(*(getattr(self, it.name) - getattr(earlier, it.name) for it in fields(self)))


@dataclass(frozen=True, slots=True)
class Recall:
    """Where results are kept and how they are named and audited.

    Attributes:
        context: Digests of code and environment, and what else all fits share.
        is_audited: Whether a recalled result is computed again, by its name.
        cpu_seconds: Reads the CPU time used so far.
        smallest_cpu_seconds: Cheaper results are not worth their place.
    """

    results: FitResults
    context: Mapping[str, str]
    is_audited: Callable[[str], bool]
    cpu_seconds: Callable[[], float]
    smallest_cpu_seconds: float = 0.001
    meter: ReuseMeter = field(default_factory=ReuseMeter)

    def charged_cpu_seconds(self) -> float:
        """Returns the CPU time used so far, with that of what was recalled."""
        return self.cpu_seconds() + self.meter.saved_cpu_seconds


def recalling(load: LearnerFactory, recall: Recall) -> LearnerFactory:
    """Has every learner recall what was computed before."""

    def load_recalling(entry: CatalogueEntry) -> Learner:
        return RecallingLearner(entry, load(entry), recall)

    return load_recalling


@dataclass(frozen=True, slots=True)
class RecallingLearner:
    """Puts a fit off until something is asked of it that nobody knows."""

    entry: CatalogueEntry
    learner: Learner
    recall: Recall

    def __call__(self, request: FitRequest) -> Fit:
        """Names the fit; fits at once where it cannot be named."""
        inputs = {one.name: getattr(request, one.name) for one in fields(request)}
        named = {f"request.{name}": value for name, value in inputs.items()}
        context = {"entry": self.entry.digest, **self.recall.context}
        try:
            name = content_digest({**named, "context": context})
        except ContentError:
            return self.learner(request)
        return RecalledFit(self.learner, request, self.recall, name)


class RecalledFit:
    """A fit that is made when it is needed."""

    def __init__(self, learner: Learner, request: FitRequest, recall: Recall, name: str) -> None:
        self._learner = learner
        self._request = request
        self._recall = recall
        self._name = name
        self._fit: Fit | None = None
        self._fit_cpu_seconds = 0.0

    def predict(self, matrix: Floats) -> Floats:
        """Recalls predictions or computes them."""
        key = content_digest({"fit": self._name, "matrix": matrix})
        return self._result(key, lambda: self._fitted().predict(matrix))

    def to_model(self, description: ModelDescription) -> Any:
        """Recalls the model that serving loads, or turns the fit into it."""
        key = content_digest({"fit": self._name, "form": "model"})
        packed = self._result(key, lambda: pack_model(self._fitted().to_model(description)))
        return unpack_model(packed, description) or self._fitted().to_model(description)

    def __getattr__(self, name: str) -> Any:
        """Asks the fit for what else it can do."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._fitted(), name)

    def _fitted(self) -> Fit:
        if self._fit is None:
            started = self._recall.cpu_seconds()
            self._fit = self._learner(self._request)
            self._fit_cpu_seconds = self._recall.cpu_seconds() - started
        return self._fit

    def _result(self, key: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        found = self._recall.results.find(key)
        if found is None:
            with self._recall.results.lead(key):
                found = self._recall.results.find(key)
                if found is None:
                    return self._compute(key, compute)
        return self._take(key, compute, found)

    def _compute(self, key: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        started = self._recall.cpu_seconds()
        content = compute()
        cpu_seconds = self._recall.cpu_seconds() - started
        self._recall.meter.computed += 1
        # What is cheap once there is a fit is worth its place where it spares the fit.
        if len(content) and max(cpu_seconds, self._fit_cpu_seconds) >= self._recall.smallest_cpu_seconds:
            self._recall.results.keep(key, Recalled(content, cpu_seconds))
        return content

    def _take(self, key: str, compute: Callable[[], NDArray[Any]], found: Recalled) -> NDArray[Any]:
        meter = self._recall.meter
        if self._recall.is_audited(key):
            meter.audited += 1
            again = self._compute(key, compute)
            meter.mismatched += not _is_equal(found.content, again)
            return again
        meter.recalled += 1
        meter.saved_cpu_seconds += found.cpu_seconds
        return found.content


def _is_equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()
