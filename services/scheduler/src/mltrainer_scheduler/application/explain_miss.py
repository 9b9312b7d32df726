"""Says why the result of an earlier training was not taken, input by input."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mltrainer_models.computation_key import FieldDifference, explain_documents

from mltrainer_scheduler.application.ports import UnitOfWorkFactory, View
from mltrainer_scheduler.domain.errors import NoComputationKeyError, TrainingNotFoundError
from mltrainer_scheduler.domain.training import Training, TrainingState

# Finished computations that are looked at, those of the training's study first.
_MOST_COMPARED = 500


@dataclass(frozen=True, slots=True)
class Miss:
    """A training, the one that it was compared with, and every input in which they differ."""

    training: Training
    against: str = ""
    against_key: str = ""
    message: str = ""
    differences: tuple[FieldDifference, ...] = ()
    compared_count: int = 0


@dataclass(frozen=True, slots=True)
class _Compared:
    leader: str
    key: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExplainMissHandler:
    """Compares a training with the nearest that had a result before it, or with a given one."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, name: str, against: str = "") -> Miss:
        """Explains one training.

        Raises:
            TrainingNotFoundError: One of the two does not exist.
            NoComputationKeyError: The inputs of one are not known.
        """
        async with self.unit_of_work.view() as view:
            training = await _training(view, name)
            own = await _document(view, training)
            if against:
                other = await _training(view, against)
                compared = [_Compared(other.name, other.computation_key, await _document(view, other))]
            else:
                compared = await _finished(view, training)
        return _explain(training, own, compared)


async def _training(view: View, name: str) -> Training:
    training = await view.trainings.get(name)
    if training is None:
        raise TrainingNotFoundError(name)
    return training


async def _document(view: View, training: Training) -> Mapping[str, Any]:
    inputs = await view.computations.inputs({training.computation_key})
    if training.computation_key not in inputs:
        raise NoComputationKeyError(training.name)
    spec = training.spec
    return _owned(inputs[training.computation_key], spec.study, spec.propose_alias)


async def _finished(view: View, training: Training) -> list[_Compared]:
    found = await view.computations.finished(training.spec.study, training.name, _MOST_COMPARED)
    documents = await view.computations.inputs({item.id.key for item in found})
    return [
        _Compared(
            item.leader, item.id.key, _owned(documents[item.id.key], item.id.study, item.id.propose_alias)
        )
        for item in found
        if item.id.key in documents
    ]


def _owned(document: bytes, study: str, alias: str) -> Mapping[str, Any]:
    """Adds what belongs to a computation beside its key."""
    return {**json.loads(document), "study": study, "propose_alias": alias}


def _explain(training: Training, own: Mapping[str, Any], compared: list[_Compared]) -> Miss:
    if training.state in {TrainingState.DEDUPLICATED, TrainingState.JOINED}:
        message = f"not a miss: it takes the result of {training.duplicate_of}"
        return Miss(training, training.duplicate_of, training.computation_key, message)
    if not compared:
        return Miss(training, message="no earlier training has a result to compare with")
    explained = [(explain_documents(own, other.document), other) for other in compared]
    # Of equally near ones the first: the study's own, then the newest.
    differences, nearest = min(explained, key=lambda item: _distance(item[0]))
    return Miss(
        training,
        nearest.leader,
        nearest.key,
        _sentence(training, nearest.leader, differences),
        differences,
        len(compared),
    )


def _distance(differences: tuple[FieldDifference, ...]) -> tuple[int, int]:
    return len({one.field.partition(".")[0] for one in differences}), len(differences)


def _sentence(training: Training, leader: str, differences: tuple[FieldDifference, ...]) -> str:
    if leader == training.name:
        return "compared with itself"
    if not differences:
        if training.audit_of:
            return f"an audit: it computes the result of {leader} again, to compare"
        return f"no input differs from {leader}; its result came later, or was found wrong by an audit"
    parts = ", ".join(dict.fromkeys(one.field.partition(".")[0] for one in differences))
    return f"differs from {leader} in {parts}"
